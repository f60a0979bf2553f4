package probe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// userInfo is what podwatch.ParseImage leaves of credentials before a host.
const userInfo = diagnosis.Redacted + "@"

// wrong returns what is wrong with a reference, in words that repeat at most a
// placeholder or a character of it; "" if it parses.
func wrong(image string) string {
	if _, err := podwatch.ParseImage(image); err == nil {
		return ""
	}
	name, digest, pinned := strings.Cut(image, "@")
	slash := strings.LastIndex(name, "/") + 1
	last, tag, tagged := strings.Cut(name[slash:], ":")
	name = name[:slash] + last
	host, path, found := strings.Cut(name, "/")
	if !found || host == strings.ToLower(host) && !strings.ContainsAny(host, ".:[") { // the runtime adds docker.io
		host, path = "", name
	}
	return cmp.Or(
		when(image == "", "it is empty"),
		when(strings.Contains(image, "://"+userInfo), "it begins with a URL's scheme and credentials"),
		when(strings.Contains(image, userInfo), "it begins with credentials"),
		when(strings.Contains(image, "://"), "it begins with a URL's scheme"),
		when(len(image) > longest, "it is longer than a name can be"),
		placeholder(image),
		stray(image, "._-:/@+[]", "it"),
		when(len(image) == hexDigits["sha256"] && isHex(image), "64 hexadecimal digits are the ID of an image, not its name"),
		when(strings.HasPrefix(image, "/"), "it begins with a slash"),
		when(strings.HasSuffix(name, "/"), "it has nothing after its last slash"),
		when(strings.Contains(name, "//"), "it has two slashes in a row"),
		when(last == "", "it has no name before the tag or digest"),
		when(pinned, wrongDigest(digest)),
		when(tagged, wrongTag(tag)),
		when(host != "", wrongHost(host)),
		wrongPath(path),
		"it does not have the form HOST:PORT/REPOSITORY:TAG@DIGEST",
	)
}

// when returns what is wrong if it is.
func when(is bool, what string) string {
	if is {
		return what
	}
	return ""
}

// The parts of a reference can be as long as this.
const (
	longestHost = 253 + len(":65535")
	longestPath = 255
	longestTag  = 128
	longest     = longestHost + len("/") + longestPath + len(":") + longestTag + len("@sha512:") + 128
)

// placeholder names a variable of a template that was not replaced by its value, such
// as ${TAG} or {{ .Tag }}.
func placeholder(image string) string {
	const text, most = "the placeholder %s has not been replaced", 32
	for _, marks := range [][2]string{{"${", "}"}, {"$(", ")"}, {"{{", "}}"}, {"<", ">"}} {
		_, after, opened := strings.Cut(image, marks[0])
		if inner, _, closed := strings.Cut(after, marks[1]); opened && closed {
			return fmt.Sprintf(text, diagnosis.Clip(marks[0]+inner+marks[1], most))
		}
	}
	_, after, found := strings.Cut(image, "$")
	variable := after[:len(after)-len(strings.TrimLeftFunc(after, func(r rune) bool { return r == '_' || isAlphanumeric(r) }))]
	return when(found && variable != "", fmt.Sprintf(text, diagnosis.Clip("$"+variable, most)))
}

// stray names the first character that is no letter, no digit and none of those allowed.
func stray(s, allowed, whose string) string {
	i := strings.IndexFunc(s, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune(allowed, r) })
	if i < 0 {
		return ""
	}
	switch r, _ := utf8.DecodeRuneInString(s[i:]); {
	case r == ' ':
		return whose + " contains a space"
	case r == '\n', r == '\r':
		return whose + " contains a line break"
	case r > '~': // some look like others, or like nothing
		return fmt.Sprintf("%s contains the character %q (%U), which is not ASCII", whose, r, r)
	default:
		return fmt.Sprintf("%s contains the character %q", whose, r)
	}
}

func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// hexDigits has the lengths of digests by their algorithm.
var hexDigits = map[string]int{"sha256": 64, "sha384": 96, "sha512": 128} //nolint:gochecknoglobals // never written

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

func wrongDigest(digest string) string {
	algorithm, value, _ := strings.Cut(digest, ":")
	digits := hexDigits[algorithm]
	return cmp.Or(
		when(digest == "", "it has no digest after the @"),
		when(digits == 0, "its digest does not begin with sha256:"),
		when(len(value) != digits, fmt.Sprintf("its digest has %d hexadecimal digits, but one of %s has %d", len(value), algorithm, digits)),
		when(!isHex(value), "its digest has other characters than 0 to 9 and a to f"),
	)
}

func wrongTag(tag string) string {
	return cmp.Or(
		when(tag == "", "it has no tag after the colon"),
		when(strings.HasPrefix(tag, "sha256:"), "its digest follows a colon, not an @"),
		when(strings.Contains(tag, ":"), "it has more than one tag"),
		stray(tag, "._-", "its tag"),
		when(strings.HasPrefix(tag, ".") || strings.HasPrefix(tag, "-"), "its tag begins with a dot or hyphen"),
		when(len(tag) > longestTag, fmt.Sprintf("its tag has %d characters, and at most %d are allowed", len(tag), longestTag)),
	)
}

func wrongHost(host string) string {
	name, port, hasPort := strings.Cut(host, ":")
	labels := "." + name + "."
	return cmp.Or(
		when(strings.HasPrefix(host, "["), "its registry is not a valid IPv6 address in brackets"),
		when(strings.Contains(port, ":"), "its registry has more than one colon; an IPv6 address belongs in brackets"),
		when(hasPort && port == "", "its registry has a colon, but no port"),
		when(strings.Trim(port, "0123456789") != "", "the port of its registry is not a number, or its tag contains a slash"),
		when(name == "", "it has no registry before the port"),
		when(strings.HasSuffix(name, "."), "the name of its registry ends with a dot"),
		when(strings.Contains(labels, ".."), "the name of its registry has a dot with nothing before it"),
		when(strings.Contains(labels, ".-") || strings.Contains(labels, "-."), "a part of its registry's name begins or ends with a hyphen"),
		stray(name, ".-", "the name of its registry"),
		when(len(host) > longestHost, "the name of its registry is longer than DNS allows"),
	)
}

// wrongPath returns what is wrong with the path on the registry.
func wrongPath(path string) string {
	w := cmp.Or(
		when(strings.Contains(path, ":"), "its tag contains a slash"),
		stray(path, "._-/", "its repository"),
		when(path != strings.ToLower(path), "its repository has upper-case letters"),
		when(len(path) > longestPath, fmt.Sprintf("its repository has %d characters, and at most %d are allowed", len(path), longestPath)),
	)
	for part := range strings.SplitSeq(path, "/") {
		w = cmp.Or(w, when(part != strings.Trim(part, "._-"), "a part of its repository begins or ends with a dot, hyphen or underscore"))
		for separator := range strings.FieldsFuncSeq(part, isAlphanumeric) {
			single := separator == "." || separator == "_" || separator == "__" || strings.Trim(separator, "-") == ""
			w = cmp.Or(w, when(!single, "its repository has a dot or underscore beside another, or beside a hyphen"))
		}
	}
	return w
}

// corrections returns a valid reference that was probably meant, with the usual
// mistakes fixed; nil if there is none.
func corrections(image string) []string {
	s := strings.Trim(pasted(strings.TrimSpace(diagnosis.Printable(image))), "\"'`")
	for _, scheme := range []string{"https://", "http://", "docker://", "oci://"} {
		s = strings.TrimPrefix(s, scheme)
	}
	if _, after, found := strings.Cut(s, userInfo); found {
		s = after
	}
	s = cmp.Or(diagnosis.ImageOfPage(s), s)
	s = strings.Replace(strings.TrimRight(s, ":/@"), ":sha256:", "@sha256:", 1)
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	meant := diagnosis.Image{Written: plainHost(s)}
	tag := meant.Suffix()
	if !strings.Contains(tag, "@") { // such as the + of a version with build metadata
		tag = strings.ReplaceAll(tag, "+", "-")
	}
	s = strings.ToLower(meant.Untagged()) + tag
	if s == image || s == "" {
		return nil
	}
	if _, err := podwatch.ParseImage(s); err != nil {
		return nil
	}
	return []string{s}
}

// plainHost removes the dot at the end of a host. A single label without it would be no
// host, but a name on Docker Hub.
func plainHost(s string) string {
	host, _, found := strings.Cut(s, "/")
	name, _, hasPort := strings.Cut(host, ":")
	plain := strings.TrimSuffix(name, ".")
	if !found || !hasPort && !strings.Contains(plain, ".") {
		return s
	}
	return plain + s[len(name):]
}

// pasted returns the image of a line that was copied whole: a command that pulls it, or the
// line of a manifest or Dockerfile.
func pasted(s string) string {
	words := strings.Fields(s)
	if len(words) < 2 {
		return s
	}
	last := len(words) - 1
	if last == 1 && (words[0] == "image:" || words[0] == "FROM") || slices.Contains(words[:last], "pull") {
		return words[last]
	}
	return s
}
