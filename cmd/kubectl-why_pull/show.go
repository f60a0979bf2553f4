package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/report/fleet"
)

// asked is one call of the command.
type asked struct {
	*options
	client *fleet.Client
	scope  fleet.Scope
	out    io.Writer
	layout fleet.Layout

	view     fleet.View
	fleet    fleet.Fleet
	surveyed time.Time // when the fleet was looked at beyond the scope
}

func (o *options) run(ctx context.Context, args []string, out io.Writer) error {
	if err := o.validate(args); err != nil {
		return err
	}
	client, namespace, err := o.connect()
	if err != nil {
		return err
	}
	a := &asked{options: o, client: client, out: out, layout: layoutOf(out)}
	if !o.all {
		a.scope.Namespace = namespace
	}
	if len(args) > 0 {
		a.scope.Name = podName(args[0])
	}
	if o.watch {
		return a.follow(ctx)
	}
	return a.once(ctx)
}

func (a *asked) once(ctx context.Context) error {
	if err := a.read(ctx); err != nil {
		return err
	}
	if a.view.Failing() {
		a.survey(ctx)
	}
	o := a.view.Build(&a.fleet, now())
	text, err := a.render(o)
	if err != nil {
		return err
	}
	if err := write(a.out, text); err != nil {
		return err
	}
	return verdict(o)
}

// verdict is the exit status of an overview.
func verdict(o fleet.Overview) error {
	if len(o.Pods) > 0 {
		return errFailing
	}
	return nil
}

// read takes in the pods that were asked for.
func (a *asked) read(ctx context.Context) error {
	if a.scope.Name != "" {
		pod, err := a.client.Get(ctx, a.scope.Namespace, a.scope.Name)
		if err != nil {
			return err
		}
		a.put(pod)
		return nil
	}
	_, err := a.client.List(ctx, a.scope, a.restart, a.put)
	a.fleet.Complete = a.scope == fleet.Scope{} && err == nil
	return err
}

func (a *asked) restart() { a.view, a.fleet, a.surveyed = fleet.View{}, fleet.Fleet{}, time.Time{} }

func (a *asked) put(pod *corev1.Pod) {
	a.view.Put(pod)
	a.fleet.Add(pod)
}

// surveyTimeout bounds how long an answer waits for what the rest of the cluster
// tells.
const surveyTimeout = 20 * time.Second

// survey asks what the rest of the cluster tells of the failing pods' images and
// nodes, where that is allowed: of all pods, else of those in the namespace and
// in that of the agents. It is a help, not a need, so errors count for little.
func (a *asked) survey(ctx context.Context) {
	if a.fleet.Complete {
		return
	}
	var whole fleet.Fleet
	bounded, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	if _, err := a.client.List(bounded, fleet.Scope{}, func() { whole = fleet.Fleet{} }, whole.Add); err == nil {
		whole.Complete = true
		a.fleet = whole
		return
	}
	agents := fleet.Scope{Namespace: fleet.AgentNamespace, Labels: fleet.AgentSelector}
	for _, scope := range []fleet.Scope{{Namespace: a.scope.Namespace}, agents} {
		_, _ = a.client.List(ctx, scope, func() {}, a.fleet.Add) // as far as it is allowed
	}
}

func (a *asked) render(o fleet.Overview) (string, error) {
	switch a.output {
	case outputJSON:
		return encode(o, "  ")
	case outputYAML:
		out, err := yaml.Marshal(o)
		return string(out), err
	}
	if a.scope.Name == "" {
		return o.Table(a.layout, now(), a.scope.Namespace, a.output == outputWide), nil
	}
	if len(o.Pods) == 0 {
		return fmt.Sprintf("No container of pod %s/%s fails to get its image.\n", a.scope.Namespace, a.scope.Name), nil
	}
	return o.Pods[0].Story(a.layout, now()), nil
}

// encode writes JSON in which remedies' <placeholders> can be read.
func encode(v any, indent string) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(v)
	return b.String(), err
}
