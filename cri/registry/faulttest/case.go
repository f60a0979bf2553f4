package faulttest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/credential"
)

// The runtimes of Case.TruthOn.
const (
	Containerd16 = "containerd 1.6"
	Containerd17 = "containerd 1.7"
	Containerd24 = "containerd 2.4"
	CRIO137      = "CRI-O 1.37"
)

// Case is one image of the world.
type Case struct {
	// Name is also the path of the repository.
	Name string
	// Image is the reference, with the port of this world.
	Image string
	// Credentials are the pod's, in the kubelet's order.
	Credentials []Credential
	// Truth is what is really wrong; Works if nothing is. Where it depends on
	// the runtime, it is that of containerd 2.4.
	Truth Truth
	// TruthOn is the truth for runtimes that have another one.
	TruthOn map[string]Truth
	// Slow: a runtime waits here for its own time limits, tens of seconds.
	Slow bool
	// Policy is the pull policy.
	Policy string
}

// Credential is an entry of a pull secret.
type Credential struct {
	// Source is the name of the secret.
	Source string
	// Key is the registry key in it.
	Key string
	credential.Credential
}

// On is what is really wrong for a runtime, "containerd 1.7" for example.
func (c Case) On(runtime string) Truth {
	if cause, differs := c.TruthOn[runtime]; differs {
		return cause
	}
	return c.Truth
}

// spec is a case and what the world does for it.
type spec struct {
	Case
	// host is the image's registry: one of the world's hosts; "" is the good
	// one.
	host string
	// credentials are the pod's, in their order.
	credentials []credential.Credential
	// object is what is asked for of the repository; "" is the tag.
	object string
	// repo is what the image's registry has at the path of the case; nil:
	// nothing at all.
	repo *repository
	// mirror is what the mirror has there.
	mirror *repository
	// files are those of the host's folder below certs.d, by name.
	files map[string]string
	// crio is what a node with CRI-O has instead of these files.
	crio crioSettings
}

func byName(a, b Case) int { return strings.Compare(a.Name, b.Name) }

// finish fills in what follows from the rest, and sorts.
func (w *World) finish(specs []spec) []Case {
	out := make([]Case, 0, len(specs))
	for _, s := range specs {
		c := s.Case
		c.Image = w.hostport(s.host) + "/" + c.Name + cmp.Or(s.object, ":"+tag)
		if c.Policy == "" {
			c.Policy = "IfNotPresent"
		}
		for i, l := range s.credentials {
			c.Credentials = append(c.Credentials, Credential{
				Source: "login-" + string(rune('a'+i)), Key: w.hostport(s.host), Credential: l,
			})
		}
		out = append(out, c)
	}
	slices.SortFunc(out, byName)
	return out
}
