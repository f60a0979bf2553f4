package nodeconfig

import (
	"strings"

	"github.com/distribution/reference"
	theirs "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
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
	full := ShortName{Candidates: []string{reference.TagNameOnly(normalized).String()}}
	if !c.opts.isCRIO() {
		return full
	}
	// The other library has no literal IPv6 addresses (docker/reference).
	if _, err := asTheirs(normalized); err != nil {
		return ShortName{Refused: ShortNameInvalid}
	}
	short, ok := withoutRegistry(name)
	if !ok {
		return full
	}
	s := ShortName{Short: true}
	err = c.withRegistries(func(sys *types.SystemContext) error { return c.resolveShort(sys, short, &s) })
	if err != nil {
		return ShortName{Short: true, Refused: ShortNameUnresolvable}
	}
	return s
}

// withoutRegistry returns a name as written if it has no registry: the part before the
// first slash is not a host (parseUnnormalizedShortName). "docker.io/nginx" has one,
// although it is not normalized.
func withoutRegistry(name string) (short reference.Named, ok bool) {
	parsed, err := reference.Parse(name)
	if err != nil {
		return nil, false
	}
	if short, ok = parsed.(reference.Named); !ok {
		return nil, false
	}
	domain := reference.Domain(short)
	return short, !strings.ContainsAny(domain, ".:") && domain != "localhost"
}

func (c *Config) resolveShort(sys *types.SystemContext, short reference.Named, s *ShortName) error {
	alias, from, err := sysregistriesv2.ResolveShortNameAlias(sys, short.Name())
	if err != nil {
		return err
	}
	if alias != nil {
		s.Source = c.copyNames(sys)[from]
		return s.add(alias.String() + strings.TrimPrefix(short.String(), short.Name()))
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
		if err := s.add(r + "/" + short.String()); err != nil {
			return err
		}
	}
	if len(s.Candidates) > 1 && c.enforcesShortNames() {
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

// enforcesShortNames reports whether the mode is "enforcing" by crio.conf, whatever
// registries.conf says.
func (c *Config) enforcesShortNames() bool {
	switch c.crio.ShortNameMode {
	case "enforcing":
		return true
	case "disabled":
		return false
	}
	return c.version.atLeast(1, 34)
}

// asTheirs converts a reference to the type of the containers libraries.
func asTheirs(ref reference.Named) (theirs.Named, error) { return theirs.ParseNamed(ref.String()) }
