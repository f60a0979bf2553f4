package demo

import (
	"slices"

	"github.com/whypull/whypull/deploy/lab/registry"
)

const confirmed = "Confirmed"

// Scenarios returns the scenarios that the demo shows. The end-to-end tests run them
// too.
func Scenarios() []Scenario {
	return slices.DeleteFunc(All(), func(s Scenario) bool { return s.TestsOnly })
}

// All returns the scenarios of the end-to-end tests.
func All() []Scenario {
	return slices.Concat(secrets(), malformed(), policies(), names(), network(), access(), kinds(), rarer())
}

func secrets() []Scenario {
	return []Scenario{{
		Name: "secret-for-another-host", Title: "the secret is for hub.test…, but the image is on hub.test2…",
		Images: []string{registry.HubHost2 + "/demo/another-host:1.0"},
		Manifests: []string{manifests(Secret("regcred", registry.HubHost, registry.Alice, registry.AlicePassword),
			Pod("app", registry.HubHost2+"/demo/another-host:1.0", "", PullSecrets("regcred")))},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "PullSecretNoMatch", Confidence: confirmed,
			Summary: []string{"regcred", registry.HubHost, registry.HubHost2},
			Evidence: []Evidence{
				{"message", "Failed", "AuthenticationRequired", "no basic auth credentials"},
				{"image", "NotRun", "", "shown only to a pod"},
				{"credentials", "Failed", "NoMatchingCredential", "secret regcred has credentials for hub.test.company.com, but the image is on hub.test2.company.com"},
				{"nodeDNS", "Passed", "", registry.HubHost2},
				{"podDNS", "Passed", "", "the pod's DNS resolves " + registry.HubHost2 + " to "},
				{"registry", "Failed", "Unauthorized", "requires credentials: HTTP 401"},
				{"pull", "NotRun", "", ""},
			}}},
		Fill: credentials(registry.Alice, registry.AlicePassword),
	}, {
		Name: "no-secret", Title: "private image, but no secret", Images: []string{hub("no-secret")},
		Manifests: []string{Pod("app", hub("no-secret"), "", "")},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "AuthenticationRequired", Confidence: confirmed,
			Summary: []string{registry.HubHost, "demo/no-secret", "the pod has no pull secret"},
			Evidence: []Evidence{
				{"image", "NotRun", "", "shown only to a pod"},
				{"credentials", "Failed", "NoCredentials", "has no pull secret"},
				{"registry", "Failed", "Unauthorized", "HTTP 401"},
			}}},
		Fill: credentials(registry.Alice, registry.AlicePassword),
	}, {
		Name: "secret-missing", Title: "the pod's secret does not exist in its namespace", Images: []string{hub("secret-missing")},
		Manifests: []string{Pod("app", hub("secret-missing"), "", PullSecrets("regcred"))},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "PullSecretMissing", Confidence: confirmed,
			Summary: []string{"regcred", "secret-missing", registry.HubHost},
			Evidence: []Evidence{
				{"credentials", "Failed", "SecretNotFound", "secret regcred does not exist in namespace secret-missing"},
				{"registry", "Failed", "Unauthorized", "HTTP 401"},
			}}},
		Fill: credentials(registry.Alice, registry.AlicePassword),
	}, {
		Name: "wrong-password", Title: "the secret's password is wrong", Images: []string{hub("wrong-password")},
		Manifests: []string{manifests(Secret("regcred", registry.HubHost, registry.Alice, wrongPassword),
			Pod("app", hub("wrong-password"), "", PullSecrets("regcred")))},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "CredentialsRejected", Confidence: confirmed,
			Summary: []string{registry.HubHost, "rejects", "regcred"},
			Evidence: []Evidence{
				{"message", "Failed", "CredentialsRejected", "401 Unauthorized"},
				{"credentials", "Passed", "", "secret regcred has credentials for hub.test.company.com"},
				{"registry", "Failed", "Unauthorized", "rejects the credentials in secret regcred"},
			}}},
		Fill: credentials(registry.Alice, registry.AlicePassword),
	}, {
		Name: "two-secrets-both-wrong", Title: "the registry rejects both secrets", Images: []string{hub("both-wrong")},
		Manifests: []string{manifests(Secret("first", registry.HubHost, registry.Alice, wrongPassword),
			Secret("second", registry.HubHost, registry.Bob, wrongPassword),
			Pod("app", hub("both-wrong"), "", PullSecrets("first", "second")))},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "CredentialsRejected", Confidence: confirmed,
			Summary: []string{"first, second"},
			Evidence: []Evidence{
				{"credentials", "Passed", "", "secret first"},
				{"credentials", "Passed", "", "secret second"},
				{"registry", "Failed", "Unauthorized", "the credentials in secret first"},
				{"registry", "Failed", "Unauthorized", "the credentials in secret second"},
				{"registry", "Failed", "Unauthorized", "requires credentials"},
			}}},
		Fill: credentials(registry.Alice, registry.AlicePassword),
	}}
}

// wrongPassword must not appear anywhere in whypull's output.
const wrongPassword = "Tr0ub4dor-and-3" // #nosec G101 -- wrong on purpose

// WrongPassword returns the password of the secrets that registries reject. The tests
// check that whypull never prints it.
func WrongPassword() string { return wrongPassword }

func malformed() []Scenario {
	one := func(name, title, kind, content, fault, detail string) Scenario {
		return Scenario{
			Name: name, Title: title, Images: []string{hub(name)},
			Manifests: []string{manifests(rawSecret("regcred", kind, content), Pod("app", hub(name), "", PullSecrets("regcred")))},
			Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "PullSecretMalformed", Confidence: confirmed,
				Summary:  []string{"regcred"},
				Evidence: []Evidence{{"credentials", "Failed", fault, detail}}}},
			Fill: credentials(registry.Alice, registry.AlicePassword),
		}
	}
	const json = "kubernetes.io/dockerconfigjson"
	return []Scenario{
		one("secret-bad-base64", "the secret's auth field is not base64", json,
			`{"auths":{"`+registry.HubHost+`":{"auth":"%%%"}}}`, "SecretMalformed", "base64"),
		one("secret-no-colon", "the secret's auth field has no colon in it", json,
			`{"auths":{"`+registry.HubHost+`":{"auth":"YWxpY2U="}}}`, "SecretMalformed", ""),
		one("secret-bad-shape", "the secret's auths is not an object", json,
			`{"auths":"`+registry.HubHost+`"}`, "SecretMalformed", ""),
		one("secret-wrong-type", "the secret is of type Opaque", "Opaque",
			`{"auths":{"`+registry.HubHost+`":{"username":"alice","password":"x"}}}`, "SecretWrongType", "Opaque"),
		one("secret-empty", "the secret names no registry", json, `{"auths":{}}`, "SecretWithoutCredentials", ""),
	}
}

func policies() []Scenario {
	granted := func(image string) string {
		return manifests(Secret("regcred", registry.HubHost, registry.Alice, registry.AlicePassword),
			Pod("first", image, "", PullSecrets("regcred")))
	}
	return []Scenario{{
		Name: "never-absent", Title: "policy Never, but the image is not on the node", Images: []string{plain("never-absent")},
		Manifests: []string{Pod("app", plain("never-absent"), "Never", "")},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "ImageNotPresent", Confidence: "Suspected",
			Summary: []string{"never-absent", "lab-node", "Never"},
			Evidence: []Evidence{
				{"message", "Failed", "ImageNotPresent", "not present with pull policy of Never"},
				{"image", "NotRun", "", "shown only to a pod"},
				{"registry", "NotRun", "", "Never"},
			}}},
	}, {
		Name: "never-present", Title: "policy Never, and the image is only verified for another pod", Images: []string{hub("never-present")},
		Manifests: []string{granted(hub("never-present")), Pod("app", hub("never-present"), "Never", "")},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "ImageNotVerifiedForPod", Confidence: confirmed,
			Summary: []string{"is on node lab-node", "credentials"},
			Evidence: []Evidence{
				{"message", "Failed", "ImageNotPresent", "not present with pull policy of Never"},
				{"image", "Failed", "NotVerifiedForPod", "the image is on node lab-node, but the kubelet does not let this pod use it"},
			}}},
		Fill: credentials(registry.Alice, registry.AlicePassword),
	}, {
		Name: "present-no-secret", Title: "the image is on the node, but the pod has no secret", Images: []string{hub("present")},
		Manifests: []string{granted(hub("present")), Pod("app", hub("present"), "IfNotPresent", "")},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "ImageNotVerifiedForPod", Confidence: confirmed,
			Summary: []string{"is on node lab-node", "credentials"},
			Evidence: []Evidence{
				{"image", "Failed", "NotVerifiedForPod", "the image is on node lab-node, but the kubelet does not let this pod use it"},
				{"credentials", "Failed", "NoCredentials", ""},
				{"registry", "Failed", "Unauthorized", "HTTP 401"},
			}}},
		Fill: credentials(registry.Alice, registry.AlicePassword),
	}}
}

func names() []Scenario {
	return []Scenario{{
		Name: "tag-missing", Title: "the tag does not exist", Images: []string{registry.PlainHost + "/demo/tags:1.12.1", registry.PlainHost + "/demo/tags:2.0.0"},
		Manifests: []string{Pod("app", registry.PlainHost+"/demo/tags:1.12.11", "", "")},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "TagNotFound", Confidence: confirmed,
			Summary: []string{"tag 1.12.11 does not exist in ", "/demo/tags", "closest tags: 1.12.1"},
			Evidence: []Evidence{
				{"message", "Failed", "TagNotFound", "not found"},
				{"registry", "Failed", "TagNotFound", "demo/tags"},
			}}},
	}, {
		Name: "repository-missing", Title: "the repository does not exist", Images: []string{plain("repository")},
		Manifests: []string{Pod("app", registry.PlainHost+"/demo/repositroy:1.0", "", "")},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "RepositoryNotFound", Confidence: confirmed,
			Summary:  []string{"repository demo/repositroy does not exist on "},
			Evidence: []Evidence{{"registry", "Failed", "RepositoryNotFound", "demo/repositroy"}}}},
		Fill: map[string]string{"<repository>": "demo/repository", "<tag>": "1.0"},
	}, {
		Name: "name-invalid", Title: "the image name has upper-case letters", Images: []string{plain("name-invalid")},
		Manifests: []string{Pod("app", registry.PlainHost+"/Demo/Name-Invalid:1.0", "", "")},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "InvalidImageName", Confidence: confirmed,
			Summary: []string{"image name ", "is not valid: its repository has upper-case letters", plain("name-invalid")},
			Evidence: []Evidence{
				{"message", "Failed", "InvalidImageName", ""},
				{"image", "Failed", "InvalidName", "upper-case"},
				{"registry", "NotRun", "", ""},
			}}},
	}}
}

func network() []Scenario {
	host := func(name, title, image, cause string, summary []string, evidence []Evidence, fill map[string]string, pushed ...string) Scenario {
		return Scenario{Name: name, Title: title, Images: pushed, Manifests: []string{Pod("app", image, "", "")},
			Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: cause, Confidence: confirmed, Summary: summary, Evidence: evidence}},
			Fill:   fill}
	}
	return []Scenario{
		host("registry-name-unknown", "the registry's name does not exist", registry.MissingHost+"/demo/unknown:1.0", "RegistryNameNotFound",
			[]string{"node lab-node cannot resolve " + registry.MissingHost, "NXDOMAIN"},
			[]Evidence{{"nodeDNS", "Failed", "NameNotFound", "NXDOMAIN"}, {"registry", "NotRun", "", "its name does not resolve"}},
			map[string]string{"<registry>": registry.PlainHost}, plain("unknown")),
		host("port-closed", "nothing listens at the registry's port", registry.ClosedHost+"/demo/closed:1.0", "ConnectionRefused",
			[]string{registry.ClosedHost, "refuses connections"},
			[]Evidence{{"nodeDNS", "Passed", "", "closed.lab.example"}, {"registry", "Failed", "ConnectionRefused", ""}},
			map[string]string{"<registry:port>": registry.PlainHost}, plain("closed")),
		withSecret(host("ca-unknown", "the node does not know the registry's CA", registry.UntrustedHost+"/demo/untrusted:1.0", "TLSUntrusted",
			[]string{registry.UntrustedHost, "is not trusted by the node"},
			[]Evidence{{"registry", "Failed", "TLSUntrusted", ""}},
			map[string]string{"<ca.crt>": registry.AuthorityFile}, registry.HubHost+"/demo/untrusted:1.0"),
			Secret("regcred", registry.UntrustedHost, registry.Alice, registry.AlicePassword)),
		host("plain-http", "the registry speaks plain HTTP, the node TLS", registry.PlainHost2+"/demo/http:1.0", "HTTPSMismatch",
			[]string{registry.PlainHost2, "plain HTTP"},
			[]Evidence{{"message", "Failed", "HTTPSMismatch", ""}, {"registry", "Failed", "HTTPSMismatch", "plain HTTP"}},
			nil, plain("http")),
	}
}

// withSecret adds a pull secret to the scenario.
func withSecret(s Scenario, manifest string) Scenario {
	e := s.Expect[0]
	s.Manifests = []string{manifests(manifest, Pod(e.Pod, registry.UntrustedHost+"/demo/untrusted:1.0", "", PullSecrets("regcred")))}
	return s
}

func access() []Scenario {
	image, hidden := registry.TokenHost+"/team-b/demo:1.0", registry.TokenHost2+"/team-b/hidden:1.0"
	return []Scenario{{
		Name: "denied-with-credentials", Title: "the credentials are valid but have no access, and the registry does not say whether the repository exists", Images: []string{image},
		Manifests: []string{manifests(Secret("regcred", registry.TokenHost, registry.Reader, registry.ReaderPassword),
			Pod("app", image, "", PullSecrets("regcred")))},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "DeniedOrNotFound", Confidence: confirmed,
			Summary: []string{registry.TokenHost, "accepts the credentials", "regcred", "team-b/demo", "does not say whether it exists"},
			Evidence: []Evidence{
				{"credentials", "Passed", "", "secret regcred"},
				{"registry", "Failed", "InsufficientScope", "with the credentials in secret regcred"},
			}}},
		Fill: credentials(registry.Admin, registry.AdminPassword),
	}, {
		Name: "denied-or-not-found", Title: "no secret, and the registry does not reveal whether the repository exists", Images: []string{hidden},
		Manifests: []string{Pod("app", hidden, "", "")},
		Expect: []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: "DeniedOrNotFound", Confidence: confirmed,
			Summary: []string{registry.TokenHost2, "team-b/hidden", "does not say whether it exists"},
			Evidence: []Evidence{
				{"message", "Failed", "DeniedOrNotFound", "insufficient_scope"},
				{"credentials", "Failed", "NoCredentials", ""},
				{"registry", "Failed", "InsufficientScope", "without credentials"},
			}}},
		Fill: credentials(registry.Admin, registry.AdminPassword),
	}}
}

func kinds() []Scenario {
	tags := func(name string) []string {
		return []string{registry.PlainHost + "/demo/" + name + ":1.0", plain(name + "-app")}
	}
	missing := func(name string) string { return registry.PlainHost + "/demo/" + name + ":1.1" }
	expect := func(container, kind string) []Expectation {
		return []Expectation{{Pod: "app", Container: container, Kind: kind, Cause: "TagNotFound", Confidence: confirmed,
			Summary: []string{"tag 1.1", "1.0"}, Evidence: []Evidence{{"registry", "Failed", "TagNotFound", ""}}}}
	}
	return []Scenario{{
		Name: "init-container", Title: "an init container's tag does not exist", Images: tags("init"),
		Manifests: []string{Pod("app", plain("init-app"), "", "initContainers:\n- name: prepare\n  image: "+missing("init")+"\n  restartPolicy: Always")},
		Expect:    expect("prepare", "initContainer"),
	}, {
		Name: "ephemeral-container", Title: "a debug container's tag does not exist", Images: tags("debug"),
		Manifests: []string{Pod("app", plain("debug-app"), "", "")}, Debug: missing("debug"),
		Expect: expect("debugger", "ephemeralContainer"),
	}, {
		Name: "image-volume", Title: "an image volume's tag does not exist", Images: tags("volume"),
		Manifests: []string{`apiVersion: v1
kind: Pod
metadata:
  name: app
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: ` + plain("volume-app") + `
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    image: {reference: "` + missing("volume") + `"}
`},
		Expect: expect("data", "imageVolume"),
	}}
}
