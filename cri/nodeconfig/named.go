package nodeconfig

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// RuntimeContainerd is containerd's name for itself (CRI, Version).
const RuntimeContainerd = "containerd"

// newestPatch is a patch that is newer than every released one.
const newestPatch = 999

// ParseRuntime parses the name and version of a runtime, as in containerd=1.7, and
// returns them in the form of Options. A version without a patch is the newest of its
// minor version.
func ParseRuntime(s string) (name, number string, err error) {
	name, number, _ = strings.Cut(s, "=")
	v, err := version.ParseGeneric(number)
	valid := err == nil && regexp.MustCompile(`^v?\d{1,3}\.\d{1,3}(\.\d{1,4})?$`).MatchString(number)
	var ranges []string
	for _, known := range []struct { // versions whose rules are known
		name                  string
		major, oldest, newest uint
	}{{RuntimeContainerd, 1, 6, 7}, {RuntimeContainerd, 2, 0, 4}, {RuntimeCRIO, 1, 20, 37}} {
		if known.name != name {
			continue
		}
		ranges = append(ranges, fmt.Sprintf("%d.%d to %d.%d", known.major, known.oldest, known.major, known.newest))
		if valid && v.Major() == known.major && known.oldest <= v.Minor() && v.Minor() <= known.newest {
			if len(v.Components()) < 3 {
				v = v.WithPatch(newestPatch)
			}
			return name, v.String(), nil
		}
	}
	if ranges == nil {
		return "", "", fmt.Errorf("runtime %q: want containerd=VERSION or cri-o=VERSION, such as containerd=1.7", name)
	}
	return "", "", fmt.Errorf("version %q of %s: want %s", number, name, strings.Join(ranges, " or "))
}
