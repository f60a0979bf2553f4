package keyring

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Doubt is what looks wrong about a credential that the kubelet accepts.
type Doubt string

// The doubts.
const (
	TokenOnly         Doubt = "TokenOnly"         // a token that the kubelet does not read, no user and password
	NoCredential      Doubt = "NoCredential"      //nolint:gosec // a name, not a secret; neither user nor password
	NoUser            Doubt = "NoUser"            // a password without a user
	NoPassword        Doubt = "NoPassword"        // a user without a password
	LineBreak         Doubt = "LineBreak"         // user or password begins or ends with a space or line break
	Placeholder       Doubt = "Placeholder"       // user or password is a placeholder, such as <password>
	AuthWins          Doubt = "AuthWins"          // "auth" differs from "username" and "password"
	HubCredentialLeak Doubt = "HubCredentialLeak" //nolint:gosec // a name, not a secret; Docker Hub's credential goes to a registry that is not Docker Hub
	RobotName         Doubt = "RobotName"         // a Harbor robot's user without the part from the "$" on
	OtherFolder       Doubt = "OtherFolder"       // the key's path ends within a part of the image's path
)

// entry is one credential of a secret with its registry key.
type entry struct {
	key       string // as written: may have a credential before an "@"
	effective string // as the kubelet indexes it
	address   bool   // the key parses
	fault     string // why the kubelet rejects the secret because of it; empty if it does not
	token     bool
	overruled bool
	username  string
	password  string
	email     string // goes into the kubelet's hash of the credential
}

// usable reports whether the kubelet has the entry in its index
// (BasicDockerKeyring.Add drops those whose key does not parse).
func (e entry) usable() bool { return e.address && e.fault == "" }

func (e entry) empty() bool { return e.fault == "" && e.username == "" && e.password == "" }

// newEntry decodes an entry as DockerConfigEntry.UnmarshalJSON does.
func newEntry(key string, value json.RawMessage) entry {
	e := entry{key: key}
	e.effective, e.address = effectiveKey(key)
	e.fault = e.decode(value)
	return e
}

func (e *entry) decode(value json.RawMessage) string {
	var f struct {
		Username      string          `json:"username"`
		Password      string          `json:"password"`
		Email         string          `json:"email"`
		Auth          string          `json:"auth"`
		IdentityToken json.RawMessage `json:"identitytoken"`
		RegistryToken json.RawMessage `json:"registrytoken"`
	}
	if err := json.Unmarshal(value, &f); err != nil {
		return mistyped(err, e.where())
	}
	e.token = len(f.IdentityToken)+len(f.RegistryToken) > 0
	e.username, e.password, e.email = f.Username, f.Password, f.Email
	if f.Auth == "" {
		return ""
	}
	return e.decodeAuth(f.Auth)
}

// decodeAuth follows decodeDockerConfigFieldAuth: "auth" overrides the other fields,
// and the last character decides whether it is padded.
func (e *entry) decodeAuth(auth string) string {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(strings.TrimSpace(auth), "=") {
		encoding = base64.StdEncoding
	}
	plain, err := encoding.DecodeString(auth)
	if err != nil {
		return fmt.Sprintf(`the "auth" field of %s is not base64%s`, e.where(), notBase64(auth, err))
	}
	username, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return fmt.Sprintf(`the "auth" field of %s is not the base64 of user:password%s`, e.where(), notPair(plain))
	}
	e.overruled = e.username+e.password != "" && (e.username != username || e.password != password)
	e.username, e.password = username, password
	return ""
}

// where returns the entry's name in sentences.
func (e entry) where() string { return "the entry for " + quote(safeKey(e.key)) }

// notBase64 returns what an "auth" field probably is instead. The offset is that in
// the kubelet's "illegal base64 data at input byte".
func notBase64(auth string, err error) string {
	hint := ""
	switch {
	case strings.ContainsAny(auth, "${<"):
		hint = ": it looks like a placeholder that was not filled in"
	case strings.Contains(auth, ":"):
		hint = ": it looks like user:password in the clear"
	case strings.ContainsAny(auth, " \t"):
		hint = ": it contains a blank"
	case strings.ContainsAny(auth, "-_"):
		hint = `: it contains "-" or "_" of the URL-safe alphabet`
	}
	if at := base64.CorruptInputError(0); errors.As(err, &at) {
		return fmt.Sprintf(" (at byte %d)%s", int64(at), hint)
	}
	return hint
}

func notPair(plain []byte) string {
	inner, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(plain)))
	if err == nil && strings.Contains(string(inner), ":") {
		return ": it is base64-encoded twice"
	}
	return ": it has no colon"
}

// doubt returns what looks wrong about the credential.
func (e entry) doubt() Doubt {
	switch {
	case e.fault != "":
		return ""
	case e.empty() && e.token:
		return TokenOnly
	case e.empty():
		return NoCredential
	case e.username == "":
		return NoUser
	case e.password == "":
		return NoPassword
	case e.padding() != "":
		return LineBreak
	case isPlaceholder(e.username) || isPlaceholder(e.password):
		return Placeholder
	case e.overruled:
		return AuthWins
	case e.username == "robot" || strings.HasPrefix(e.username, "robot+"):
		return RobotName
	default:
		return ""
	}
}

// isPlaceholder reports whether a text is only what a template, a shell or a person was to
// replace, what Helm prints for a value that is not set, or what a log shows for a secret.
func isPlaceholder(text string) bool {
	if name, found := strings.CutPrefix(text, "$"); found && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" ||
		len(text) > 2 && strings.Trim(text, "*") == "" {
		return true
	}
	for _, ends := range [][2]string{{"<", ">"}, {"${", "}"}, {"$(", ")"}, {"{{", "}}"}, {"%!", ")"}} {
		if len(text) > 4 && strings.HasPrefix(text, ends[0]) && strings.HasSuffix(text, ends[1]) {
			return true
		}
	}
	return false
}

// padding says which end of the user or password is a space or line break, such as
// "password ends with a line break"; "" if none is.
func (e entry) padding() string {
	for _, field := range []struct{ name, text string }{{"password", e.password}, {"user", e.username}} {
		if end := strings.TrimRightFunc(field.text, unicode.IsSpace); end != field.text {
			return field.name + " ends with " + space(field.text[len(end):])
		}
		if start := strings.TrimLeftFunc(field.text, unicode.IsSpace); start != field.text {
			return field.name + " begins with " + space(field.text[:len(field.text)-len(start)])
		}
	}
	return ""
}

// space names white space.
func space(s string) string {
	if strings.ContainsAny(s, "\r\n") {
		return "a line break"
	}
	return "a space"
}

// doubtTexts are the sentences on doubts, without the entry at their start.
var doubtTexts = map[Doubt]string{ //nolint:gochecknoglobals,gosec // never written, no secret
	TokenOnly:         "has only a token, which the kubelet does not read: it sends empty credentials",
	NoCredential:      "has neither user nor password: the kubelet sends empty credentials",
	NoUser:            "has a password and no user: the runtime sends neither",
	NoPassword:        "has a user and no password: the runtime sends neither",
	LineBreak:         "has credentials whose %s, which the kubelet sends too",
	Placeholder:       "has a user or password that looks like a placeholder that was not filled in, and the kubelet sends it as it is",
	AuthWins:          `has an "auth" that differs from its "username" and "password"; the kubelet uses "auth"`,
	RobotName:         `has the user robot; that of a Harbor robot account is robot$NAME, and a shell takes $NAME out unless the name is in single quotes`,
	OtherFolder:       "matches by the letters of the image's path alone, which goes on in the same word: with a slash at the end it would be for that project only",
	HubCredentialLeak: "is for Docker Hub; the kubelet uses it here too, because the image's host has no dot and no port",
}

// doubtText returns the sentence on a doubt, "" for none.
func doubtText(d Doubt, e entry) string {
	if d == "" {
		return ""
	}
	text := doubtTexts[d]
	if d == LineBreak {
		text = fmt.Sprintf(text, e.padding())
	}
	return e.where() + " " + text
}
