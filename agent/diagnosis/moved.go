package diagnosis

import "strings"

// moved are images that their owner provides in another place now, by a prefix of their
// names with the registry that ends with a slash, or the whole name.
var moved = []struct{ from, to string }{ //nolint:gochecknoglobals // never written
	// Since 2025 Docker Hub has the versions of Bitnami's images in bitnamilegacy, without
	// updates, and a few with the tag latest in bitnami.
	{"docker.io/bitnami/", "docker.io/bitnamilegacy/"},
	// Container Registry is shut down since 2025, with what kubebuilder had there.
	{"gcr.io/kubebuilder/kube-rbac-proxy", "quay.io/brancz/kube-rbac-proxy"},
	// No image was added to k8s.gcr.io since 2023.
	{"k8s.gcr.io/", "registry.k8s.io/"},
}

// movedTo returns where the image may be now; "" if that is not known.
func (f Failure) movedTo() string {
	for _, m := range moved {
		rest, ok := strings.CutPrefix(f.Registry+"/"+f.Repository, m.from)
		if ok && (rest == "" || strings.HasSuffix(m.from, "/")) {
			return m.to + rest + f.Ref().Suffix()
		}
	}
	return ""
}

// withMoved puts in front of a remedy where an image that is not found may be now.
func (x *facts) withMoved(lines []string) []string {
	to := x.movedTo()
	if to == "" {
		return lines
	}
	return append([]string{comment("Images of this repository have moved: %s may have it.", to)}, lines...)
}
