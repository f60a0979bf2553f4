package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/report/fleet"
)

// request is one call of the command.
type request struct {
	*options
	client *fleet.Client
	scope  fleet.Scope
	out    io.Writer
	layout fleet.Layout

	selected string       // what limits the pods, in words
	owned    *fleet.Owned // finds the pods of the owner that was asked for; else nil
	owner    fleet.OwnerName
	exists   bool // whether that owner is known to exist

	pod      *corev1.Pod // the one that was asked for by name, once it is read
	view     fleet.View
	fleet    fleet.Fleet
	surveyed time.Time // when the fleet outside of the scope was last read
}

func (o *options) run(ctx context.Context, args []string, out io.Writer) error {
	if err := o.validate(args); err != nil {
		return err
	}
	client, namespace, err := o.connect()
	if err != nil {
		return err
	}
	r := &request{options: o, client: client, out: out, layout: layoutOf(out), selected: o.selection(args), view: fleet.View{Preflight: o.preflight}}
	r.scope = fleet.Scope{Labels: o.selector, Node: o.node}
	if !o.all {
		r.scope.Namespace = namespace
	}
	if err := r.name(ctx, args); err != nil {
		return err
	}
	if o.watch {
		return r.follow(ctx)
	}
	return r.once(ctx)
}

// name takes the name of a pod or an owner.
func (r *request) name(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !isOwner(args[0]):
		r.scope.Name = podName(args[0])
		return nil
	}
	var err error
	if r.owner, err = fleet.ParseOwnerName(args[0]); err != nil {
		return err
	}
	r.owned = r.client.Owned(r.owner)
	r.exists, err = r.owned.Exists(ctx, r.scope.Namespace)
	return err
}

func (r *request) once(ctx context.Context) error {
	if err := r.read(ctx); err != nil {
		return err
	}
	o, err := r.build(ctx)
	if err != nil {
		return err
	}
	if len(o.Pods) > 0 && !r.preflight {
		r.survey(ctx)
		if o, err = r.build(ctx); err != nil {
			return err
		}
	}
	if r.scope.Name != "" && len(o.Pods) > 0 {
		o.Pods[0].SetManager(r.client.Manager(ctx, r.pod))
	}
	text, err := r.render(o)
	if err != nil {
		return err
	}
	if err := write(r.out, text); err != nil {
		return err
	}
	return verdict(o)
}

// build returns the overview of the selected pods.
func (r *request) build(ctx context.Context) (fleet.Overview, error) {
	view, err := r.ofOwner(ctx)
	if err != nil {
		return fleet.Overview{}, err
	}
	return view.Build(&r.fleet, time.Now()).Select(r.causes, r.since, time.Now()), nil
}

// ofOwner returns the pods of the owner that was asked for.
func (r *request) ofOwner(ctx context.Context) (*fleet.View, error) {
	if r.owned == nil {
		return &r.view, nil
	}
	var failed error
	view := r.view.Only(func(pod *corev1.Pod) bool {
		has, err := r.owned.Has(ctx, pod)
		r.exists = r.exists || has
		failed = cmp.Or(failed, err)
		return has
	})
	if failed == nil && !r.exists && r.scope.Labels == "" && r.scope.Node == "" {
		return nil, fmt.Errorf("no pod in namespace %s belongs to %s", r.scope.Namespace, r.owner)
	}
	return view, failed
}

// verdict returns the exit status of an overview as an error.
func verdict(o fleet.Overview) error {
	if len(o.Pods) > 0 {
		return errFailing
	}
	return nil
}

// read reads the pods of the scope.
func (r *request) read(ctx context.Context) error {
	if r.scope.Name != "" {
		pod, err := r.client.Get(ctx, r.scope.Namespace, r.scope.Name)
		if err != nil {
			return err
		}
		r.put(pod)
		r.pod = pod
		return nil
	}
	_, err := r.client.List(ctx, r.scope, r.restart, r.put)
	r.fleet.Complete = r.scope == fleet.Scope{} && err == nil
	return err
}

func (r *request) restart() {
	r.view, r.fleet, r.surveyed = fleet.View{Preflight: r.preflight}, fleet.Fleet{}, time.Time{}
}

func (r *request) put(pod *corev1.Pod) {
	r.view.Put(pod)
	r.fleet.Add(pod)
	r.exists = r.exists || r.owned != nil && r.owner.Owns(pod)
}

// surveyTimeout limits how long to wait for the rest of the cluster.
const surveyTimeout = 20 * time.Second

// survey reads where else the failing pods' images run and which nodes have
// agents, as far as permissions allow: from all pods, else from those in the
// namespace and in the agents'. It is optional, so it ignores errors.
func (r *request) survey(ctx context.Context) {
	if r.fleet.Complete {
		return
	}
	var whole fleet.Fleet
	bounded, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	if _, err := r.client.List(bounded, fleet.Scope{}, func() { whole = fleet.Fleet{} }, whole.Add); err == nil {
		whole.Complete = true
		r.fleet = whole
		return
	}
	agents := fleet.Scope{Namespace: fleet.AgentNamespace, Labels: fleet.AgentSelector}
	for _, scope := range []fleet.Scope{{Namespace: r.scope.Namespace}, agents} {
		_, _ = r.client.List(ctx, scope, func() {}, r.fleet.Add) // as far as permissions allow
	}
}

func (r *request) render(o fleet.Overview) (string, error) {
	if r.output == outputJSON || r.output == outputYAML {
		return marshal(o, r.output)
	}
	if r.scope.Name == "" {
		return o.Table(r.layout, time.Now(), r.scope.Namespace, r.selected, r.output == outputWide), nil
	}
	if len(o.Pods) == 0 {
		if r.preflight {
			return o.None(fmt.Sprintf(" %s/%s", r.scope.Namespace, r.scope.Name)) + "\n", nil
		}
		return fmt.Sprintf("No container of pod %s/%s fails to pull its image.\n", r.scope.Namespace, r.scope.Name), nil
	}
	return o.Pods[0].Story(r.layout, time.Now(), r.output == outputWide), nil
}

// marshal returns a document as JSON or YAML.
func marshal(v any, output string) (string, error) {
	if output == outputYAML {
		out, err := yaml.Marshal(v)
		return string(out), err
	}
	return encode(v, "  ")
}

// encode writes JSON without escaping the <placeholders> in remedies.
func encode(v any, indent string) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(v)
	return b.String(), err
}
