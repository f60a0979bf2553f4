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
