package diagnosis

import "testing"

func TestMovedTo(t *testing.T) {
	for image, want := range map[string]struct{ registry, repository, to string }{
		"bitnami/redis:7.2":                         {"docker.io", "bitnami/redis", "docker.io/bitnamilegacy/redis:7.2"},
		"docker.io/bitnami/redis":                   {"docker.io", "bitnami/redis", "docker.io/bitnamilegacy/redis"},
		"bitnamilegacy/redis:7.2":                   {"docker.io", "bitnamilegacy/redis", ""},
		"hub.example.com/bitnami/redis:7.2":         {"hub.example.com", "bitnami/redis", ""},
		"k8s.gcr.io/pause:3.9":                      {"k8s.gcr.io", "pause", "registry.k8s.io/pause:3.9"},
		"gcr.io/kubebuilder/kube-rbac-proxy:v1":     {"gcr.io", "kubebuilder/kube-rbac-proxy", "quay.io/brancz/kube-rbac-proxy:v1"},
		"gcr.io/kubebuilder/kube-rbac-proxy-old:v1": {"gcr.io", "kubebuilder/kube-rbac-proxy-old", ""},
	} {
		f := Failure{Image: image, Registry: want.registry, Repository: want.repository}
		if got := f.movedTo(); got != want.to {
			t.Errorf("%s: %q, want %q", image, got, want.to)
		}
	}
}

// Files that were not seen are in the report where credentials are the question.
func TestUnseenCredentialsWhereTheyMatter(t *testing.T) {
	unseen := Evidence{Check: CheckCredentials, Outcome: NotRun, Reason: ReasonNodeCredentialsUnseen, Body: &CredentialFacts{File: "/var/lib/kubelet/config.json"}}
	none := Evidence{Check: CheckCredentials, Outcome: Failed, Fault: FaultNoCredentials}
	at := Endpoint{URL: "https://hub.example.com"}
	for fault, want := range map[Fault]int{FaultUnauthorized: 1, FaultTagNotFound: 0} {
		v := Diagnose(ordinary(), []Evidence{none, unseen, {Check: CheckRegistry, Outcome: Failed, Fault: fault, Endpoint: at, Body: &RegistryFacts{Status: 404}}})
		found := 0
		for _, e := range v.Evidence {
			if e.Reason == ReasonNodeCredentialsUnseen {
				found++
			}
		}
		if found != want {
			t.Errorf("%s: %s with %d such pieces of evidence, want %d", fault, v.Cause, found, want)
		}
	}
}

// The address of a web page about an image has its name in it.
func TestImageOfPage(t *testing.T) {
	for address, want := range map[string]string{
		"hub.docker.com/_/nginx":                                          "docker.io/library/nginx",
		"hub.docker.com/_/nginx/tags":                                     "docker.io/library/nginx",
		"registry.hub.docker.com/_/nginx/":                                "docker.io/library/nginx",
		"docker.io/_/nginx:1":                                             "docker.io/library/nginx:1",
		"docker.io/r/org/app:1":                                           "docker.io/org/app:1",
		"hub.docker.com/r/org/app:1@sha256:0123":                          "docker.io/org/app:1@sha256:0123",
		"hub.docker.com/r/org/app/tags?page=1&name=x":                     "docker.io/org/app",
		"hub.docker.com/repository/docker/org/app/general":                "docker.io/org/app",
		"hub.docker.com/layers/library/nginx/1.25/images/sha256-01":       "docker.io/library/nginx:1.25",
		"hub.docker.com/layers/nginx/library/nginx/1.25/images/sha256-01": "docker.io/library/nginx:1.25",
		"hub.docker.com/library/nginx:1":                                  "docker.io/library/nginx:1",
		"hub.docker.com/nginx":                                            "docker.io/library/nginx",
		"quay.io/repository/org/app":                                      "quay.io/org/app",
		"quay.io/repository/org/app/manifest/sha256:0123":                 "quay.io/org/app",
		"quay.io/repository/org/group/app:v1":                             "quay.io/org/group/app:v1",
		"github.com/org/repo/pkgs/container/app":                          "ghcr.io/org/app",
		"github.com/org/repo/pkgs/container/charts%2Fapp":                 "ghcr.io/org/charts/app",
		"ghcr.io/org/repo/pkgs/container/app:v1":                          "ghcr.io/org/app:v1",
		"github.com/orgs/org/packages/container/package/app":              "ghcr.io/org/app",
		"github.com/users/joe/packages/container/app/12345?tag=v1":        "ghcr.io/joe/app",
		"gallery.ecr.aws/org/group/app":                                   "public.ecr.aws/org/group/app",
		"eu-west-1.console.aws.amazon.com/ecr/repositories/private/123456789012/team/app?region=eu-west-1": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app",
		"console.cloud.google.com/gcr/images/project/GLOBAL/app@sha256:0123":                               "gcr.io/project/app@sha256:0123",
		"console.cloud.google.com/artifacts/docker/project/us-central1/repo/app?project=project":           "us-central1-docker.pkg.dev/project/repo/app",
		"mcr.microsoft.com/en-us/artifact/mar/dotnet/sdk/about":                                            "mcr.microsoft.com/dotnet/sdk",
		"mcr.microsoft.com/product/dotnet/sdk/tags":                                                        "mcr.microsoft.com/dotnet/sdk",
		"catalog.ngc.nvidia.com/orgs/nvidia/containers/cuda":                                               "nvcr.io/nvidia/cuda",
		"catalog.ngc.nvidia.com/orgs/nvidia/teams/k8s/containers/app":                                      "nvcr.io/nvidia/k8s/app",

		"nginx": "", "docker.io/library/nginx": "", "registry.hub.docker.com/library/nginx": "", "quay.io/org/app": "", "quay.io/repository/app": "",
		"nexus.example.com/repository/org/app": "", "ghcr.io/org/app": "", "ghcr.io/org/repo/container/app": "", "mcr.microsoft.com/dotnet/sdk": "",
		"gallery.ecr.aws/app": "", "myhub.docker.com.example.com/r/org/app": "", "hub.docker.com/r/app": "", "public.ecr.aws/docker/library/nginx": "",
	} {
		if got := ImageOfPage(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}
