package demo

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// Scenario is one way in which people break pods, with the verdict that whypull must
// reach and the values that a person fills into the remedy to fix it.
type Scenario struct {
	// Name is the namespace.
	Name string
	// Title is a short description of what is broken.
	Title string
	// Images are pushed first. No other scenario may use them.
	Images []string
	// Manifests are applied in order. The pods of each must run before the next is
	// applied.
	Manifests []string
	// Debug is the image of an ephemeral container that is added to the running pod.
	Debug string
	// Expect is the expected verdict for each failing container.
	Expect []Expectation
	// Fill maps the placeholders of the remedy to values.
	Fill map[string]string
	// TestsOnly excludes the scenario from the demo.
	TestsOnly bool
	// Prepare changes the node or a registry once the images are there. Fix does what
	// no command of the remedy can. Either may be nil.
	Prepare, Fix func(ctx context.Context, l *lab.Lab) error
	// Unfixable means that nothing in the lab fixes it.
	Unfixable bool
}

// Expectation is a verdict as the report shows it.
type Expectation struct {
	Pod, Container, Kind string
	Cause, Confidence    string
	// Summary lists words that the summary must contain, in this order.
	Summary []string
	// Evidence must be present, in this order. An empty field matches anything; Detail
	// matches a substring.
	Evidence []Evidence
}

// Evidence is an entry of the report's evidence.
type Evidence struct{ Check, Outcome, Fault, Detail string }

// Break creates the scenario's namespace, images and pods in the lab. It does not wait
// for anything to fail.
func (s Scenario) Break(ctx context.Context, l *lab.Lab) error {
	for _, ref := range s.Images {
		image, err := l.PauseImage(ref)
		if err != nil {
			return err
		}
		if err := l.Push(ctx, ref, image); err != nil {
			return err
		}
	}
	if s.Prepare != nil {
		if err := s.Prepare(ctx, l); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
	}
	if err := s.namespace(ctx, l); err != nil {
		return err
	}
	for i, manifest := range s.Manifests {
		if _, err := l.Kubectl(ctx, strings.NewReader(manifest), "-n", s.Name, "apply", "-f", "-"); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		if i == len(s.Manifests)-1 && s.Debug == "" {
			return nil
		}
		if !strings.Contains(manifest, "kind: Pod") {
			continue
		}
		if _, err := l.Kubectl(ctx, nil, "-n", s.Name, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=3m"); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
	}
	_, err := l.Kubectl(ctx, nil, "-n", s.Name, "debug", s.Expect[0].Pod, "--image="+s.Debug, "--container="+s.Expect[0].Container)
	return err
}

// namespace creates the namespace and waits for what a pod needs in it.
func (s Scenario) namespace(ctx context.Context, l *lab.Lab) error {
	if _, err := l.Kubectl(ctx, nil, "create", "namespace", s.Name); err != nil && !strings.Contains(err.Error(), "AlreadyExists") {
		return err
	}
	_, err := l.Kubectl(ctx, nil, "-n", s.Name, "wait", "--for=create", "serviceaccount/default", "--timeout=1m")
	return err
}

// credentials are what a person fills in for a user of a registry.
func credentials(user, password string) map[string]string {
	return map[string]string{ConfigFile: Config(user, password)}
}

// ConfigFile is the placeholder of a file with credentials; Fill has its content.
const ConfigFile = "<config.json>"

// Config is the content of a file with a user's credentials for every registry of
// the lab that has users.
func Config(user, password string) string {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	var entries []string
	for _, host := range []string{
		registry.HubHost, registry.HubHost2, registry.UntrustedHost, registry.TokenHost, registry.TokenHost2,
		registry.MirroredHost, registry.MisconfiguredHost, registry.NodeLoginHost,
	} {
		entries = append(entries, fmt.Sprintf("%q:{\"auth\":%q}", host, auth))
	}
	return `{"auths":{` + strings.Join(entries, ",") + `}}`
}

// Pod returns a manifest of a pod with one container, app, with the image. extra is
// added to the pod's spec.
func Pod(name, image, policy, extra string) string {
	if policy != "" {
		policy = "\n    imagePullPolicy: " + policy
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
spec:
  terminationGracePeriodSeconds: 0
%s
  containers:
  - name: app
    image: %q%s
`, name, indent(extra), image, policy)
}

func indent(s string) string {
	if s == "" {
		return "  # nothing more"
	}
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ")
}

// PullSecrets returns the part of a pod's spec that names the secrets.
func PullSecrets(secrets ...string) string {
	return "imagePullSecrets:\n- name: " + strings.Join(secrets, "\n- name: ")
}

// Secret returns a manifest of a pull secret, as kubectl create secret docker-registry
// creates it.
func Secret(name, server, user, password string) string {
	return rawSecret(name, "kubernetes.io/dockerconfigjson",
		fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, server, user, password))
}

func rawSecret(name, kind, content string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata:
  name: %s
type: %s
stringData:
  .dockerconfigjson: %q
`, name, kind, content)
}

func manifests(all ...string) string { return strings.Join(all, "---\n") }

// hub returns the name of an image for one scenario on the registry with passwords.
func hub(name string) string { return registry.HubHost + "/demo/" + name + ":1.0" }

func plain(name string) string { return registry.PlainHost + "/demo/" + name + ":1.0" }
