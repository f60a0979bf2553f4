package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/fleet"
)

// clearScreen moves the cursor to the top left and clears the terminal.
const clearScreen = "\x1b[H\x1b[2J"

// debounce is how long to collect changes before showing them, because many
// pods fail at once.
const debounce = 300 * time.Millisecond

// refreshInterval is how often to refresh the output without changes: ages
// grow, and missing reports become overdue.
const refreshInterval = 10 * time.Second

// surveyTTL is how long a survey is used; it lists all pods of the cluster.
const surveyTTL = 5 * time.Minute

// follower shows changes.
type follower struct {
	*request

	last  fleet.Overview // as shown
	text  string         // as shown
	shown bool
	err   error
}

// follow shows the state and its changes until the context ends, and returns
// the verdict of the last state.
func (r *request) follow(ctx context.Context) error {
	f := &follower{request: r}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, failed := make(chan change), make(chan error, 1)
	go func() {
		failed <- r.client.Follow(ctx, r.scope, handler(ctx, changes))
		close(changes)
	}()
	f.process(ctx, changes)
	cancel()
	for range changes { // until the sender has ended
	}
	if err := cmp.Or(f.err, <-failed); err != nil {
		return err
	}
	if !f.shown {
		return errors.New("interrupted before all pods were listed")
	}
	return verdict(f.last)
}

// change is a step of the watch, to be applied by the owner of the state.
type change struct {
	do     func(*request)
	synced bool
}

// handler sends what the watch finds to a channel, so that one goroutine owns
// the state.
func handler(ctx context.Context, changes chan<- change) fleet.Handler {
	send := func(c change) {
		select {
		case changes <- c:
		case <-ctx.Done():
		}
	}
	return fleet.Handler{
		Restart: func() { send(change{do: (*request).restart}) },
		Put:     func(p *corev1.Pod) { send(change{do: func(r *request) { r.put(p) }}) },
		Delete:  func(p *corev1.Pod) { send(change{do: func(r *request) { r.view.Delete(p); r.fleet.Remove(p) }}) },
		Synced:  func() { send(change{do: func(*request) {}, synced: true}) },
	}
}

// process applies the changes, and shows the state when it is complete and no
// more changes arrive.
func (f *follower) process(ctx context.Context, changes <-chan change) {
	var due <-chan time.Time
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	whole := false
	for f.err == nil {
		select {
		case c, open := <-changes:
			if !open {
				return
			}
			c.do(f.request)
			whole = c.synced
			if whole && !f.shown {
				f.show(ctx)
			} else if due == nil {
				due = time.After(debounce)
			}
		case <-due:
			due = nil
			if whole {
				f.show(ctx)
			}
		case <-tick.C:
			if whole {
				f.show(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// show builds the overview and writes it if it has changed. If owners cannot be
// read for now, the next time has to do.
func (f *follower) show(ctx context.Context) {
	f.refresh(ctx)
	o, err := f.build(ctx)
	switch {
	case err != nil && (ctx.Err() != nil || f.shown && !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err)):
		return
	case err != nil:
		f.err = err
		return
	}
	text, err := f.change(o)
	if err == nil && text != "" {
		err = write(f.out, text)
	}
	f.last, f.shown, f.err = o, true, err
}

// refresh surveys the fleet again if the watch does not cover all of it.
func (f *follower) refresh(ctx context.Context) {
	f.fleet.Complete = f.fleet.Complete || f.scope == fleet.Scope{}
	if f.scope != (fleet.Scope{}) && !f.preflight && f.view.Failing() && time.Since(f.surveyed) > surveyTTL {
		f.fleet.Complete = false
		f.survey(ctx)
		f.surveyed = time.Now()
	}
}

// change returns what to write: everything on a terminal and for JSON and YAML,
// else a line for each pod that is new, different or recovered.
func (f *follower) change(o fleet.Overview) (string, error) {
	switch {
	case f.output == outputJSON || f.output == outputYAML:
		return f.document(o)
	case f.layout.Width > 0:
		text, err := f.render(o)
		if text == f.text {
			return "", err
		}
		f.text = text
		return clearScreen + f.layout.Screen(text), err
	}
	return strings.Join(lines(f.last, o, f.shown, &f.view), ""), nil
}

// document returns the state as a line of JSON or a YAML document; "" if it has
// not changed.
func (f *follower) document(o fleet.Overview) (string, error) {
	out, err := json.Marshal(o)
	if err != nil || string(out) == f.text {
		return "", err
	}
	f.text = string(out)
	if f.output == outputYAML {
		out, err = yaml.JSONToYAML(out)
		return "---\n" + string(out), err
	}
	return encode(o, "")
}

// lines returns the differences between two states, in the order of the pods. The
// view has all pods that fail, also those that are not selected.
func lines(before, after fleet.Overview, shown bool, all *fleet.View) []string {
	var out []string
	switch {
	case !shown && len(after.Pods) == 0 && all.Failing():
		return []string{strings.Replace(after.None(""), "No ", "No selected ", 1) + "\n"}
	case !shown && len(after.Pods) == 0:
		return []string{after.None("") + "\n"}
	}
	was, is := linesOf(before), linesOf(after)
	for _, p := range after.Pods {
		for _, line := range is[p.Key()] {
			if !slices.Contains(was[p.Key()], line) {
				out = append(out, line+"\n")
			}
		}
	}
	for _, p := range before.Pods {
		switch {
		case is[p.Key()] != nil:
		case all.Has(p.Key()):
			out = append(out, fmt.Sprintf("%s: no longer selected\n", report.Printable(p.Key())))
		default:
			out = append(out, fmt.Sprintf("%s: no longer %s\n", report.Printable(p.Key()), stateOf(after)))
		}
	}
	return out
}

// linesOf returns the lines of each pod, by its key.
func linesOf(o fleet.Overview) map[string][]string {
	out := map[string][]string{}
	for _, p := range o.Pods {
		out[p.Key()] = p.Lines()
	}
	return out
}

// stateOf returns what a pod that is no longer in an overview is no longer.
func stateOf(o fleet.Overview) string {
	if o.Preflight {
		return "reported"
	}
	return "failing"
}
