package demo

import (
	"context"
	"fmt"
	"strings"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// Scenario is one way in which people break pods, with what whypull has to say
// of it and with what a person fills into the remedy to mend it.
type Scenario struct {
	// Name is the namespace.
	Name string
	// Title says in a few words what is broken.
	Title string
	// Images are pushed first; each is one that nobody else uses.
	Images []string
	// Manifests are applied one after the other. The pods of all but the last
	// have to run before the next is applied.
	Manifests []string
	// Debug is the image of an ephemeral container that is put into the pod
	// when it runs.
	Debug string
	// Expect is what is said of each failing container.
	Expect []Expectation
	// Fill replaces the placeholders of the remedy.
	Fill map[string]string
	// TestsOnly keeps the scenario out of the demo.
	TestsOnly bool
	// Prepare changes the node or a registry once the images are there, and Mend
	// mends what no command of the remedy can. Either may be nil.
	Prepare, Mend func(ctx context.Context, l *lab.Lab) error
	// Stays tells that nothing in the lab mends it.
	Stays bool
}

// Expectation is a verdict as the report has it.
type Expectation struct {
	Pod, Container, Kind string
	Cause, Confidence    string
	// Summary are words that must stand in the summary, in this order.
	Summary []string
	// Evidence must be there, in this order; an empty field fits anything, a
	// detail need only be contained.
	Evidence []Evidence
}

// Evidence is an entry of the report's evidence.
type Evidence struct{ Check, Outcome, Fault, Detail string }

// Break puts the scenario's namespace, images and pods into the lab. It does
// not wait for anything to fail.
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

// namespace makes the namespace and waits for what a pod needs in it.
func (s Scenario) namespace(ctx context.Context, l *lab.Lab) error {
	if _, err := l.Kubectl(ctx, nil, "create", "namespace", s.Name); err != nil && !strings.Contains(err.Error(), "AlreadyExists") {
		return err
	}
	_, err := l.Kubectl(ctx, nil, "-n", s.Name, "wait", "--for=create", "serviceaccount/default", "--timeout=1m")
	return err
}

// login is what a person fills in for a user of a registry.
func login(user, password string) map[string]string {
	return map[string]string{"<username>": user, "<password>": password}
}

// Pod makes a manifest of a pod whose one container has the image. extra is
// put into the pod's spec.
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

// PullSecrets is the part of a pod's spec that names secrets.
func PullSecrets(secrets ...string) string {
	return "imagePullSecrets:\n- name: " + strings.Join(secrets, "\n- name: ")
}

// Secret makes a manifest of a pull secret as kubectl create secret
// docker-registry does.
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

// hub is an image on the registry with passwords, made for one scenario.
func hub(name string) string { return registry.HubHost + "/demo/" + name + ":1.0" }

func plain(name string) string { return registry.PlainHost + "/demo/" + name + ":1.0" }
