package nodeconfig

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// RuntimeContainerd is containerd's name for itself (CRI, Version).
const RuntimeContainerd = "containerd"

// knownVersions are the oldest and newest minor versions of a major one whose rules are
// known.
type knownVersions struct {
	name                  string
	major, oldest, newest int
}

// newestPatch is a patch that is newer than every released one.
const newestPatch = ".999"

// ParseRuntime parses the name and version of a runtime, as in containerd=1.7, and
// returns them in the form of Options. A version without a patch is the newest of its
// minor version.
func ParseRuntime(s string) (name, version string, err error) {
	name, version, _ = strings.Cut(s, "=")
	major, minor, patch, valid := numbers(version)
	var ranges []string
	for _, k := range []knownVersions{{RuntimeContainerd, 1, 6, 7}, {RuntimeContainerd, 2, 0, 4}, {RuntimeCRIO, 1, 20, 37}} {
		if k.name != name {
			continue
		}
		ranges = append(ranges, fmt.Sprintf("%d.%d to %d.%d", k.major, k.oldest, k.major, k.newest))
		if valid && major == k.major && k.oldest <= minor && minor <= k.newest {
			return name, fmt.Sprintf("%d.%d%s", major, minor, cmp.Or(patch, newestPatch)), nil
		}
	}
	if ranges == nil {
		return "", "", fmt.Errorf("runtime %q: want containerd=VERSION or cri-o=VERSION, such as containerd=1.7", name)
	}
	return "", "", fmt.Errorf("version %q of %s: want %s", version, name, strings.Join(ranges, " or "))
}

// numbers returns the parts of a version; patch begins with its dot or is "".
func numbers(version string) (major, minor int, patch string, valid bool) {
	parts := regexp.MustCompile(`^v?(\d{1,3})\.(\d{1,3})(\.\d{1,4})?$`).FindStringSubmatch(version)
	if parts == nil {
		return 0, 0, "", false
	}
	major, errMajor := strconv.Atoi(parts[1])
	minor, errMinor := strconv.Atoi(parts[2])
	return major, minor, parts[3], errMajor == nil && errMinor == nil
}
