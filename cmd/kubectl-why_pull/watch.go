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
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/fleet"
)

// blank moves the cursor to the terminal's beginning and empties it.
const blank = "\x1b[H\x1b[2J"

// settle is how long changes are gathered before they are shown: pods fail by
// the dozen.
const settle = 300 * time.Millisecond

// again is how often the state is shown that no change has come for: ages grow,
// and what was too new for a report is so no more.
const again = 10 * time.Second

// surveyAge is for how long a look at the fleet holds: it lists all pods of the
// cluster.
const surveyAge = 5 * time.Minute

// follower shows what changes.
type follower struct {
	*asked

	last  fleet.Overview // as shown
	text  string         // as shown
	shown bool
	err   error
}

// follow shows the state and what changes of it until the context ends; the
// verdict is that of the last state.
func (a *asked) follow(ctx context.Context) error {
	f := &follower{asked: a}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, failed := make(chan change), make(chan error, 1)
	go func() {
		failed <- a.client.Follow(ctx, a.scope, handler(ctx, changes))
		close(changes)
	}()
	f.take(ctx, changes)
	cancel()
	for range changes { // until the other side has ended
	}
	if err := cmp.Or(f.err, <-failed); err != nil {
		return err
	}
	if !f.shown {
		return errors.New("interrupted before all pods were listed")
	}
	return verdict(f.last)
}

// change is a step of the watch, to be done where the state is.
type change struct {
	do     func(*asked)
	synced bool
}

// handler sends what the watch finds, so that one goroutine has the state.
func handler(ctx context.Context, changes chan<- change) fleet.Handler {
	send := func(c change) {
		select {
		case changes <- c:
		case <-ctx.Done():
		}
	}
	return fleet.Handler{
		Restart: func() { send(change{do: (*asked).restart}) },
		Put:     func(p *corev1.Pod) { send(change{do: func(a *asked) { a.put(p) }}) },
		Delete:  func(p *corev1.Pod) { send(change{do: func(a *asked) { a.view.Delete(p); a.fleet.Remove(p) }}) },
		Synced:  func() { send(change{do: func(*asked) {}, synced: true}) },
	}
}

// take works the changes off, and shows the state when it is whole and quiet.
func (f *follower) take(ctx context.Context, changes <-chan change) {
	var due <-chan time.Time
	tick := time.NewTicker(again)
	defer tick.Stop()
	whole := false
	for f.err == nil {
		select {
		case c, open := <-changes:
			if !open {
				return
			}
			c.do(f.asked)
			whole = c.synced
			if whole && !f.shown {
				f.show(ctx)
			} else if due == nil {
				due = time.After(settle)
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

// show builds the state anew and writes it, if there is anything new in it.
func (f *follower) show(ctx context.Context) {
	f.refresh(ctx)
	o := f.view.Build(&f.fleet, now())
	text, err := f.change(o)
	if err == nil && text != "" {
		err = write(f.out, text)
	}
	f.last, f.shown, f.err = o, true, err
}

// refresh looks at the fleet again where the watch does not show all of it.
func (f *follower) refresh(ctx context.Context) {
	f.fleet.Complete = f.fleet.Complete || f.scope == fleet.Scope{}
	if f.scope != (fleet.Scope{}) && f.view.Failing() && now().Sub(f.surveyed) > surveyAge {
		f.fleet.Complete = false
		f.survey(ctx)
		f.surveyed = now()
	}
}

// change is what to write: the whole on a terminal and in a format for programs,
// else a line for each pod that is new, different or well again.
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
		return blank + f.layout.Screen(text), err
	}
	return strings.Join(lines(f.last, o, f.shown), ""), nil
}

// document is the state as a line of JSON, or as a YAML document; nothing if it
// is the same as before.
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

// lines are the differences between two states, in the order of the pods.
func lines(before, after fleet.Overview, shown bool) []string {
	var out []string
	if !shown && len(after.Pods) == 0 {
		return []string{"Nothing fails.\n"}
	}
	for _, p := range after.Pods {
		for _, line := range p.Lines() {
			if !slices.Contains(linesOf(before, p.Key()), line) {
				out = append(out, line+"\n")
			}
		}
	}
	for _, p := range before.Pods {
		if linesOf(after, p.Key()) == nil {
			out = append(out, fmt.Sprintf("%s: fails no more\n", report.Printable(p.Key())))
		}
	}
	return out
}

func linesOf(o fleet.Overview, key string) []string {
	for _, p := range o.Pods {
		if p.Key() == key {
			return p.Lines()
		}
	}
	return nil
}
