package probe

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// TestConfirmedIsNeverWrong compares the verdicts from facts alone, without a runtime's
// message, with the actual fault. A verdict may be weak if the facts do not decide; a
// Confirmed one must be right.
func TestConfirmedIsNeverWrong(t *testing.T) {
	t.Parallel()
	w, err := faulttest.Start(faulttest.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	cases := append(w.Cases(), w.InProcess()...)
	verdicts := diagnoseAll(t, w, cases)
	confirmed := map[diagnosis.Cause]bool{}
	for i, c := range cases {
		v := verdicts[i]
		if v.Confidence != diagnosis.Confirmed {
			continue
		}
		confirmed[v.Cause] = true
		if want := truthOf(c); v.Cause != want {
			t.Errorf("%s: %s is Confirmed, the truth is %s:\n%s", c.Name, v.Cause, want, lines(v.Evidence))
		}
	}
	if len(confirmed) < 5 { // else nothing has been asserted
		t.Errorf("only these causes are ever confirmed: %v", confirmed)
	}
	t.Log(table(cases, verdicts))
}

// truthOf is the verdict that is right: whypull is asked about failures only,
// and one that is gone cannot be reproduced.
func truthOf(c faulttest.Case) diagnosis.Cause {
	return cmp.Or(diagnosis.Cause(c.Truth), diagnosis.NotReproducible)
}

// diagnoseAll diagnoses all cases side by side. Those that hang take as long
// as whypull's own limits let them; for the others there are none, so that a
// slow machine makes no difference.
func diagnoseAll(t *testing.T, w *faulttest.World, cases []faulttest.Case) []diagnosis.Verdict {
	t.Helper()
	out := make([]diagnosis.Verdict, len(cases))
	turns := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i, c := range cases {
		wg.Go(func() {
			var limits registry.Timeouts
			if !c.Slow && c.Truth != faulttest.DNSFailure {
				turns <- struct{}{}
				defer func() { <-turns }()
				limits = registry.Timeouts{DNS: long, Connect: long, TLS: long, Response: long, Total: long}
			}
			out[i] = diagnoseCase(t, w, c, limits)
		})
	}
	wg.Wait()
	return out
}

// diagnoseCase does what the agent does for one failing container.
func diagnoseCase(t *testing.T, w *faulttest.World, c faulttest.Case, limits registry.Timeouts) diagnosis.Verdict {
	root := w.Root()
	server, err := netip.ParseAddrPort(w.NameServer())
	if err != nil {
		t.Error(err)
		return diagnosis.Verdict{}
	}
	secrets := &fakeSecrets{byName: map[string]kube.Secret{}}
	var names []string
	for _, l := range c.Credentials {
		names = append(names, l.Source)
		secrets.byName[l.Source] = pullSecret(dockerConfig(l.Username.Reveal(), l.Password.Reveal(), l.Key))
	}
	collector := New(Options{Secrets: secrets, Metrics: &fakeMetrics{}, Registries: nodeconfig.Options{
		Root: root, CertsDir: "/etc/containerd/certs.d", TempDir: t.TempDir(), Version: "test", Proxy: w.Proxy, Timeouts: limits,
	}, Resolver: NodeResolver{Root: root, port: server.Port()}})
	f := failure(c.Image, names...)
	f.PullPolicy, f.Message = c.Policy, ""
	ctx, cancel := context.WithTimeout(t.Context(), 2*long)
	defer cancel()
	_, all := collector.Collect(ctx, f, false)
	select {
	case evidence := <-all:
		secretive(t, c, evidence)
		return diagnosis.Diagnose(f, evidence)
	case <-time.After(2 * long):
		t.Errorf("%s: no evidence", c.Name)
		return diagnosis.Verdict{}
	}
}

// secretive asserts that the evidence shows nothing of the passwords, nor of
// what the registry wrote.
func secretive(t *testing.T, c faulttest.Case, all []diagnosis.Evidence) {
	var text string
	for _, e := range all {
		text += whole(e)
	}
	for _, l := range c.Credentials {
		if strings.Contains(text, l.Password.Reveal()) {
			t.Errorf("%s: the password is in the evidence", c.Name)
		}
	}
	for _, said := range []string{"own words", "Reauthenticate", "vulnerabilities", "Sign in"} {
		if strings.Contains(text, said) {
			t.Errorf("%s: what the registry says, %q, is in the evidence", c.Name, said)
		}
	}
}

func lines(all []diagnosis.Finding) string {
	var b strings.Builder
	for _, e := range all {
		if e.Outcome != diagnosis.NotRun {
			fmt.Fprintf(&b, "  %s %s %s: %s\n", e.Check, e.Outcome, e.Fault, e.Detail)
		}
	}
	return b.String()
}

// table returns all verdicts with the right ones; wrong verdicts are marked.
func table(cases []faulttest.Case, verdicts []diagnosis.Verdict) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\ncase\ttruth\tverdict\tconfidence")
	for i, c := range cases {
		v := verdicts[i]
		mark := ""
		if v.Cause != truthOf(c) {
			mark = " (other)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s%s\t%s\n", c.Name, truthOf(c), v.Cause, mark, v.Confidence)
	}
	_ = w.Flush()
	return b.String()
}
