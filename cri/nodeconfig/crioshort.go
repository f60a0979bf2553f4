package nodeconfig

import (
	"errors"
	"slices"
	"strings"

	"github.com/distribution/reference"
	theirs "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	"k8s.io/apimachinery/pkg/util/version"
)

// ShortNameRefusal is why the runtime does not resolve a short name. The
// values are a closed set.
type ShortNameRefusal string

// The refusals of short names.
const (
	// ShortNameAmbiguous: there are several candidate registries, and the mode
	// "enforcing" forbids trying one after another.
	ShortNameAmbiguous ShortNameRefusal = "Ambiguous"
	// ShortNameNoRegistries: there is no alias and no registry to search.
	ShortNameNoRegistries ShortNameRefusal = "NoRegistries"
	// ShortNameInvalid: the runtime's image library takes no such name, though the
	// kubelet does: one whose registry is a literal IPv6 address.
	ShortNameInvalid ShortNameRefusal = "Invalid"
	// ShortNameUnresolvable: the name is invalid, or the configuration cannot be
	// read.
	ShortNameUnresolvable ShortNameRefusal = "Unresolvable"
)

// ShortName is how the runtime resolves an image's name.
type ShortName struct {
	// Short is true if the name has no registry, so that the runtime has to
	// find one. containerd never has to: it takes docker.io (and Short is
	// false).
	Short bool
	// Candidates are the full names that the runtime tries, in its order.
	Candidates []string
	// Alias is true if the only candidate is from an alias.
	Alias bool
	// Refused is why the runtime tries none of them; "" if it does.
	Refused ShortNameRefusal
	// Source is the file of the node that lists the registries or has the
	// alias; "" if there is none.
	Source string
}

// ShortName returns how the runtime resolves an image's name as written in a pod.
// CRI-O uses an alias from registries.conf or the cache of short names,
// else every registry of unqualified-search-registries (pkg/shortnames,
// Resolve). CRI-O 1.34 and later refuse several unless short_name_mode in
// crio.conf is "disabled"; before, all were tried whatever registries.conf
// says of short-name-mode.
func (c *Config) ShortName(name string) ShortName {
	normalized, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ShortName{Refused: ShortNameUnresolvable}
	}
	// The other library has no literal IPv6 addresses (docker/reference).
	if _, err := asTheirs(normalized); c.opts.isCRIO() && err != nil {
		return ShortName{Refused: ShortNameInvalid}
	}
	if !c.opts.isCRIO() || !isShort(name) {
		return ShortName{Candidates: []string{reference.TagNameOnly(normalized).String()}}
	}
	s := ShortName{Short: true}
	err = c.withRegistries(func(sys *types.SystemContext) error { return c.resolveShort(sys, name, &s) })
	if err != nil {
		return ShortName{Short: true, Refused: ShortNameUnresolvable}
	}
	return s
}

// isShort reports whether a name has no registry: the part before the first slash is
// not a host (parseUnnormalizedShortName). "docker.io/nginx" has one, although it is not
// normalized.
func isShort(name string) bool {
	parsed, err := reference.Parse(name)
	if err != nil {
		return true
	}
	named, ok := parsed.(reference.Named)
	if !ok {
		return true
	}
	domain := reference.Domain(named)
	return !strings.ContainsAny(domain, ".:") && domain != "localhost"
}

func (c *Config) resolveShort(sys *types.SystemContext, name string, s *ShortName) error {
	parsed, err := reference.Parse(name)
	if err != nil {
		return err
	}
	short, ok := parsed.(reference.Named)
	if !ok {
		return errors.New("not a name")
	}
	alias, from, err := sysregistriesv2.ResolveShortNameAlias(sys, short.Name())
	if err != nil {
		return err
	}
	if alias != nil {
		full := alias.String()
		if suffix := name[len(short.Name()):]; suffix != "" {
			full += suffix
		}
		s.Alias, s.Source = true, c.copyNames(sys)[from]
		return s.add(full)
	}
	registries, from, err := sysregistriesv2.UnqualifiedSearchRegistriesWithOrigin(sys)
	if err != nil {
		return err
	}
	if len(registries) == 0 {
		s.Refused = ShortNameNoRegistries
		return nil
	}
	s.Source = c.copyNames(sys)[from]
	for _, r := range registries {
		if err := s.add(r + "/" + name); err != nil {
			return err
		}
	}
	if len(s.Candidates) > 1 && c.shortNameMode() == shortNameEnforcing {
		s.Refused = ShortNameAmbiguous
	}
	return nil
}

func (s *ShortName) add(name string) error {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return err
	}
	s.Candidates = append(s.Candidates, reference.TagNameOnly(named).String())
	return nil
}

// shortNameMode returns the mode in crio.conf, not the one in registries.conf.
func (c *Config) shortNameMode() string {
	known := []string{shortNameEnforcing, shortNameDisabled}
	if slices.Contains(known, c.crio.ShortNameMode) {
		return c.crio.ShortNameMode
	}
	if c.crioVersion().atLeast(1, 34) {
		return shortNameEnforcing
	}
	return shortNameDisabled
}

func (c *Config) crioVersion() runtimeVersion {
	if c.opts.RuntimeVersion == "" {
		return runtimeVersion{version.MajorMinor(1, 37)}
	}
	return parseVersion(c.opts.RuntimeVersion)
}

// asTheirs converts a reference to the type of the containers libraries.
func asTheirs(ref reference.Named) (theirs.Named, error) { return theirs.ParseNamed(ref.String()) }
