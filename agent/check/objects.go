package check

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/credential"
)

// defaultNamespace is the namespace of objects that set none, as in kubectl.
const defaultNamespace = "default"

// maxLists is how many lists may be inside each other: what is in them is read once for
// each.
const maxLists = 8

// key names an object of one kind.
type key struct{ namespace, name string }

// pod is a pod or a workload's pod template.
type pod struct {
	at        string // file and document
	from      *source
	kind      string // "Pod", "Deployment"
	namespace string
	name      string
	spec      corev1.PodSpec
}

// objects are the objects in the manifests.
type objects struct {
	namespace string // of objects that set none
	pods      []pod
	secrets   map[key]kube.Secret
	accounts  map[key][]string // the pull secrets of service accounts
	notes     []string         // on what was ignored
	skipped   []string         // objects without pods
}

// nothing returns the error for manifests without pods.
func (o *objects) nothing() error {
	const most = 10
	text := "no pod or workload in the manifests"
	switch n := len(o.skipped); {
	case n > most:
		text += fmt.Sprintf(" (%s; and %d more)", strings.Join(o.skipped[:most], "; "), n-most)
	case n > 0:
		text += " (" + strings.Join(o.skipped, "; ") + ")"
	}
	return errors.New(text)
}

// loadUnlessCanceled is load, but returns as soon as the context ends. A read from an
// idle pipe and the conversion of a large document cannot be interrupted; they are
// abandoned.
func loadUnlessCanceled(ctx context.Context, from Options, stdin io.Reader) (*objects, error) {
	var o *objects
	done := make(chan error, 1)
	go func() {
		var err error
		o, err = load(from, stdin)
		done <- err
	}()
	select {
	case err := <-done:
		return o, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// load reads the manifests. Errors name the file and the document in it.
func load(from Options, stdin io.Reader) (*objects, error) {
	files, err := manifests(from.Files, from.Recursive)
	if err != nil {
		return nil, err
	}
	o := &objects{namespace: cmp.Or(from.Namespace, defaultNamespace), secrets: map[key]kube.Secret{}, accounts: map[key][]string{}}
	size := 0
	for _, name := range files {
		data, err := read(name, stdin)
		if err != nil {
			return nil, err
		}
		if size += len(data); size > maxInput {
			return nil, fmt.Errorf("more than %d MiB of manifests", maxInput>>20)
		}
		docs, err := documents(name, data)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			if err := o.add(d, ""); err != nil {
				return nil, fmt.Errorf("%s: %w", d.at, err)
			}
		}
	}
	if len(o.pods) == 0 && !from.AllowEmpty {
		return nil, o.nothing()
	}
	return o, nil
}

func (o *objects) note(format string, args ...any) {
	o.notes = append(o.notes, fmt.Sprintf(format, args...))
}

// header holds the fields that all objects have.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
		Namespace    string `json:"namespace"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

// name returns the object's name, or generateName with "…" appended.
func (h header) name() string {
	if h.Metadata.Name == "" && h.Metadata.GenerateName != "" {
		return h.Metadata.GenerateName + "…"
	}
	return h.Metadata.Name
}

func (h header) group() string { return schema.FromAPIVersionAndKind(h.APIVersion, h.Kind).Group }

// workload holds the pod templates of all kinds of workloads.
type workload struct {
	Template corev1.PodTemplateSpec `json:"template"` // of a PodTemplate
	Spec     struct {
		Template    corev1.PodTemplateSpec `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template corev1.PodTemplateSpec `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"` // of a CronJob
	} `json:"spec"`
}

// add adds an object. kind is its default kind, for items of a list.
func (o *objects) add(d document, kind string) error {
	var h header
	if err := kjson.UnmarshalCaseSensitivePreserveInts(d.json, &h); err != nil {
		return fmt.Errorf("not a Kubernetes object: %w", err)
	}
	h.Kind = cmp.Or(h.Kind, kind)
	switch h.group() + "/" + h.Kind {
	case "/":
		return errors.New("not a Kubernetes object: it has no kind")
	case "/Pod":
		return addPods(o, d, h, "", func(p *corev1.Pod) corev1.PodSpec { return p.Spec })
	case "/Secret":
		return o.addSecret(d, h)
	case "/ServiceAccount":
		return o.addAccount(d, h)
	case "/PodTemplate":
		return addPods(o, d, h, "template.", func(w *workload) corev1.PodSpec { return w.Template.Spec })
	case "/ReplicationController", "apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "batch/Job":
		return addPods(o, d, h, "spec.template.", func(w *workload) corev1.PodSpec { return w.Spec.Template.Spec })
	case "batch/CronJob":
		return addPods(o, d, h, "spec.jobTemplate.spec.template.", func(w *workload) corev1.PodSpec { return w.Spec.JobTemplate.Spec.Template.Spec })
	}
	if of, isList := strings.CutSuffix(h.Kind, "List"); isList {
		return o.addList(d, h, of)
	}
	return o.addOther(d, h)
}

func (o *objects) addList(d document, h header, kind string) error {
	if d.lists++; d.lists > maxLists || len(h.Items) > maxDocuments {
		return fmt.Errorf("a list of more than %d objects, or inside more than %d others", maxDocuments, maxLists-1)
	}
	for i, item := range h.Items {
		if err := o.add(document{at: d.at, json: item, from: d.from, lists: d.lists}, kind); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return nil
}

// decode decodes an object as the API server does, with case-sensitive field
// names. Unknown fields that begin with prefix are noted.
func (o *objects) decode(d document, h header, into any, prefix string) error {
	strict, err := kjson.UnmarshalStrict(d.json, into)
	if err != nil {
		return fmt.Errorf("%s %s: %w", h.Kind, h.name(), err)
	}
	for _, e := range strict {
		field := strings.TrimPrefix(e.Error(), `unknown field "`)
		if at, misplaced := strings.CutSuffix(field, `imagePullSecrets"`); misplaced {
			o.note("%s: %s %s: nobody reads imagePullSecrets in %s; it belongs in %sspec, beside containers", d.at, h.Kind, h.name(), cmp.Or(strings.TrimSuffix(at, "."), "the object itself"), prefix)
			continue
		}
		if strings.HasPrefix(field, prefix) && !strings.HasPrefix(field, "status.") {
			o.note("%s: %s %s: %s ignored", d.at, h.Kind, h.name(), e)
		}
	}
	return nil
}

// in returns the namespace of an object.
func (o *objects) in(h header) string { return cmp.Or(h.Metadata.Namespace, o.namespace) }

// addPods adds the pods of an object of type T: itself, or those of its template, which is
// at prefix.
func addPods[T any](o *objects, d document, h header, prefix string, spec func(*T) corev1.PodSpec) error {
	var object T
	if err := o.decode(d, h, &object, prefix); err != nil {
		return err
	}
	pods := spec(&object)
	if containers(pods) == 0 {
		return fmt.Errorf("%s %s: no containers", h.Kind, h.name())
	}
	o.put(d, h, pods)
	return nil
}

func (o *objects) put(d document, h header, spec corev1.PodSpec) {
	o.pods = append(o.pods, pod{at: d.at.String(), from: d.from, kind: h.Kind, namespace: o.in(h), name: h.name(), spec: spec})
}

func (o *objects) addSecret(d document, h header) error {
	var s corev1.Secret
	if err := o.decode(d, h, &s, ""); err != nil {
		return err
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for name, text := range s.StringData { // as the API server does when it stores one
		s.Data[name] = []byte(text)
	}
	k := key{o.in(h), s.Name}
	if _, twice := o.secrets[k]; twice {
		o.note("%s: secret %s in namespace %s is defined twice; the last one counts", d.at, k.name, k.namespace)
	}
	o.secrets[k] = kube.Secret{
		Type: string(cmp.Or(s.Type, corev1.SecretTypeOpaque)), UID: string(s.UID),
		Changed: kube.Changed(s.ObjectMeta), Data: credential.Redact(s.Data),
	}
	return nil
}

func (o *objects) addAccount(d document, h header) error {
	var a corev1.ServiceAccount
	if err := o.decode(d, h, &a, ""); err != nil {
		return err
	}
	o.accounts[key{o.in(h), a.Name}] = named(a.ImagePullSecrets)
	return nil
}

// named returns the names in refs, without the empty ones that the kubelet skips.
func named(refs []corev1.LocalObjectReference) []string {
	var out []string
	for _, r := range refs {
		if r.Name != "" {
			out = append(out, r.Name)
		}
	}
	return out
}

// pullSecrets returns the names of the pod's pull secrets: its own or, if its list
// is empty, those of its service account (admission plugin ServiceAccount). unknown
// is the service account if it is needed and not in the manifests.
func (o *objects) pullSecrets(p *pod) (names []string, unknown string) {
	if len(p.spec.ImagePullSecrets) > 0 {
		return named(p.spec.ImagePullSecrets), ""
	}
	account := p.account()
	names, there := o.accounts[key{p.namespace, account}]
	if !there {
		return nil, account
	}
	return names, ""
}

// account returns the pod's service account, with the API server's default.
func (p *pod) account() string {
	return cmp.Or(p.spec.ServiceAccountName, p.spec.DeprecatedServiceAccount, "default")
}

// elsewhere returns the other namespaces in which the manifests have a secret of
// the same name.
func (o *objects) elsewhere(k key) []string {
	var out []string
	for other := range o.secrets {
		if other.name == k.name && other.namespace != k.namespace {
			out = append(out, other.namespace)
		}
	}
	slices.Sort(out)
	return out
}
