package diagnosis

import (
	"regexp"
	"slices"
	"strings"
)

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

// cachePrefixes are the prefixes that people give the repositories of a pull through cache
// rule of ECR, those that its console proposes first.
var cachePrefixes = []string{ //nolint:gochecknoglobals // never written
	"ecr-public", "kubernetes", "quay", "docker-hub", "github", "azure", "gitlab", "chainguard",
	"dockerhub", "docker.io", "quay.io", "ghcr", "ghcr.io", "registry.k8s.io", "k8s", "public.ecr.aws", "mcr", "cache", "proxy",
}

// withCacheRule puts in front of a remedy what ECR wants of a pull of an image that it has
// not cached yet: without it, the answer is that of a repository or tag that is not there.
func (x *facts) withCacheRule(cause Cause, lines []string) []string {
	prefix, _, found := strings.Cut(x.Repository, "/")
	ecr := strings.Contains(x.Registry, ".dkr.ecr") || strings.Contains(x.Registry, ".dkr-ecr")
	if !found || !ecr || cause != TagNotFound && cause != RepositoryNotFound || !slices.Contains(cachePrefixes, prefix) {
		return lines
	}
	return append([]string{comment("If %s is the prefix of a pull through cache rule of %s, allow the IAM role of the pull ecr:BatchImportUpstreamImage and ecr:CreateRepository, because ECR fetches what it has not cached only for roles with these permissions.", prefix, x.Registry)}, lines...)
}

// pages are the addresses of web pages that registries have about an image, each with the
// image's name. Each address has the text in has.
var pages = []struct{ has, address, image string }{ //nolint:gochecknoglobals // never written
	{"docker.", `(?:(?:registry\.)?hub\.docker\.com|docker\.io)/_/([^/]+)`, "docker.io/library/$1"},
	{"docker.", `(?:(?:registry\.)?hub\.docker\.com|docker\.io)/(?:r|repository/docker)/([^/]+/[^/]+)`, "docker.io/$1"},
	{"hub.docker.com", `hub\.docker\.com/layers/(?:[^/]+/)?([^/]+/[^/]+)/([^/]+)/images/.+`, "docker.io/$1:$2"},
	{"hub.docker.com", `hub\.docker\.com/([^/]{4,}/[^/]+)`, "docker.io/$1"}, // no page, nor a registry
	{"hub.docker.com", `hub\.docker\.com/([^/]+)`, "docker.io/library/$1"},
	{"quay.io", `quay\.io/repository/([^/]+/.+?)`, "quay.io/$1"},
	{"/container/", `(?:github\.com|ghcr\.io)/([^/]+)/[^/]+/pkgs/container/(.+?)`, "ghcr.io/$1/$2"},
	{"/container/", `(?:github\.com|ghcr\.io)/(?:orgs|users)/([^/]+)/packages/container/(?:package/)?(.+?)`, "ghcr.io/$1/$2"},
	{"gallery.ecr.aws", `gallery\.ecr\.aws/([^/]+/.+?)`, "public.ecr.aws/$1"},
	{"console.aws.", `([^./]+)\.console\.aws\.amazon\.com/ecr/repositories/private/(\d+)/(.+?)`, "$2.dkr.ecr.$1.amazonaws.com/$3"},
	{"console.cloud.", `console\.cloud\.google\.com/gcr/images/([^/]+)/(?i:global)/(.+?)`, "gcr.io/$1/$2"},
	{"console.cloud.", `console\.cloud\.google\.com/gcr/images/([^/]+)/((?i:eu|us|asia))/(.+?)`, "$2.gcr.io/$1/$3"},
	{"console.cloud.", `console\.cloud\.google\.com/artifacts/docker/([^/]+)/([^/]+)/([^/]+/.+?)`, "$2-docker.pkg.dev/$1/$3"},
	{"mcr.microsoft.com", `mcr\.microsoft\.com/(?:[a-z]+-[a-z]+/)?(?:product|artifact/mar)/(.+?)`, "mcr.microsoft.com/$1"},
	{"ngc.nvidia.com", `catalog\.ngc\.nvidia\.com/orgs/([^/]+)/(?:teams/([^/]+/))?containers/(.+?)`, "nvcr.io/$1/$2$3"},
}

// partOfPage is what may follow on the address of a page: a part of it, or a version.
const partOfPage = `(?:/(?:tags?|manifest|about|general|_|\d+|sha256:[0-9a-f]+)(?:/.*)?)?/?`

// ImageOfPage returns the image that a web page of its registry is about, by the page's
// address without a scheme, which may have a tag or digest behind it; "" for any other
// address.
func ImageOfPage(address string) string {
	page, _, _ := strings.Cut(strings.ReplaceAll(address, "%2F", "/"), "?")
	page, _, _ = strings.Cut(page, "#")
	for _, p := range pages {
		if !strings.Contains(page, p.has) {
			continue
		}
		of := regexp.MustCompile(`^` + p.address + partOfPage + `$`)
		if match := of.FindStringSubmatchIndex(page); match != nil {
			return string(of.ExpandString(nil, p.image, page, match))
		}
	}
	return ""
}

// meant returns the image that the name in the pod certainly stands for; "" if that is
// not known, or if the cause does not depend on the name.
func (x *facts) meant(cause Cause) string {
	named := x.row(cause).ofManifest && cause != ImageNotPresent || cause == UnsupportedFormat
	if !named || x.works() || x.message().AfterManifest {
		return ""
	}
	return ImageOfPage(x.Image)
}
