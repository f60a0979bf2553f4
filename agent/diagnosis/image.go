package diagnosis

import "strings"

// Redacted stands for credentials that were taken out of a text or an image name.
const Redacted = "REDACTED"

// Image is an image reference as somebody wrote it, with its parts. It is made
// by podwatch.ParseImage; of one that does not parse only Written is set.
type Image struct {
	// Written is the whole reference, neither normalized nor completed.
	Written string
	// Registry is the normalized registry host[:port] and Repository the path on
	// it.
	Registry, Repository string
	// Tag and Digest are those that were written; empty if there is none.
	Tag, Digest string
}

// NewImage returns the image of a reference that parses to a normalized name,
// the registry and the repository.
func NewImage(written, name string) Image {
	i := Image{Written: written}
	i.Registry, i.Repository, _ = strings.Cut(name, "/")
	tag, digest, _ := strings.Cut(i.Suffix(), "@")
	i.Tag, i.Digest = strings.TrimPrefix(tag, ":"), digest
	return i
}

// Valid reports whether the reference parses.
func (i Image) Valid() bool { return i.Registry != "" }

// Name returns the normalized name without tag and digest, empty if the reference
// does not parse.
func (i Image) Name() string {
	if !i.Valid() {
		return ""
	}
	return i.Registry + "/" + i.Repository
}

// Reference returns the reference as the runtime completes it: the normalized
// name with tag and digest, and with the tag latest if it has neither.
func (i Image) Reference() string {
	switch {
	case !i.Valid():
		return ""
	case i.Tag == "" && i.Digest == "":
		return i.Name() + ":latest"
	}
	return i.Name() + i.Suffix()
}

// hasLogin reports whether somebody wrote credentials before the registry's host.
func (i Image) hasLogin() bool { return strings.Contains(i.Written, Redacted+"@") }

// Latest reports whether the tag is latest, written or implied.
func (i Image) Latest() bool { return i.Tag == "latest" || i.Valid() && i.Tag == "" && i.Digest == "" }

// Untagged returns the reference as written, without tag and digest.
func (i Image) Untagged() string { return strings.TrimSuffix(i.Written, i.Suffix()) }

// Suffix returns tag and digest as written, with the marks before them.
func (i Image) Suffix() string {
	slash := strings.LastIndex(i.Written, "/") + 1
	if at := strings.IndexAny(i.Written[slash:], ":@"); at >= 0 {
		return i.Written[slash+at:]
	}
	return ""
}

// WithTag returns the reference as written with another tag in the place of tag
// and digest.
func (i Image) WithTag(tag string) string { return i.Untagged() + ":" + tag }
