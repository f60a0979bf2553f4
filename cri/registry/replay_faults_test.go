package registry_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

const ages = 10 * time.Minute

// attempt is one endpoint with one credential, as the runtime tries them.
type attempt struct {
	inspected registry.Answer
	replayed  registry.Transfer
}

// attempts replays a case as the runtime pulls it: credential after credential, and with
// each endpoint after endpoint, until one has the image.
func attempts(t *testing.T, w *faulttest.World, c faulttest.Case) []attempt {
	patient := registry.Timeouts{DNS: ages, Connect: ages, TLS: ages, Response: ages, Total: ages}
	opts := nodeconfig.Options{
		Root: w.Root(), CertsDir: "/etc/containerd/certs.d", TempDir: t.TempDir(), Resolve: w.Resolve, Proxy: w.Proxy, Timeouts: patient,
	}
	name := ref(t, c.Image)
	host, _, _ := strings.Cut(c.Image, "/")
	credentials := []*credential.Credential{nil}
	for n, l := range c.Credentials {
		credentials = append(credentials[:n], &l.Credential)
	}
	want := registry.InspectOptions{}.Within(ages)
	thorough := want
	thorough.Thorough = true
	eps, _, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), host, name)
	if err != nil {
		return nil // a configuration with which there is no endpoint
	}
	var out []attempt
	for _, cred := range credentials {
		for _, e := range eps {
			asked := resolved(t, e, name, cred)
			a := attempt{e.Inspect(t.Context(), asked, cred, thorough), e.Replay(t.Context(), asked, cred, want)}
			if out = append(out, a); a.replayed.Found {
				return out
			}
		}
	}
	return out
}

// resolved is the reference by the digest that the endpoint returns, as the runtime
// goes on with it.
func resolved(t *testing.T, e registry.Endpoint, name reference.Named, cred *credential.Credential) reference.Named {
	asked := e.Reference(name)
	dgst := digest.Digest(e.Probe(t.Context(), asked, cred).Content.Digest)
	if dgst.Validate() != nil {
		return asked
	}
	by, err := reference.WithDigest(reference.TrimNamed(asked), dgst)
	if err != nil {
		t.Error(err)
		return asked
	}
	return by
}

// In the world of faults, Replay finds what Inspect finds, and what an image has
// that can be pulled is found sound.
func TestReplayInTheWorldOfFaults(t *testing.T) {
	t.Parallel()
	w, err := faulttest.Start(faulttest.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	turns := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for _, c := range append(w.Cases(), w.InProcess()...) {
		if c.Slow && !strings.Contains(c.Name, "429") && c.Name != "second-trickles" || c.Truth == faulttest.DNSFailure {
			continue // which wait for our own limits
		}
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			judge(t, c, attempts(t, w, c))
		})
	}
	wg.Wait()
}

func judge(t *testing.T, c faulttest.Case, all []attempt) {
	var found bool
	for _, a := range all {
		checkTransfer(t, a.replayed)
		inspected, replayed := a.inspected, a.replayed
		found = found || replayed.Found
		if inspected.Fault != replayed.Fault || inspected.Phase != replayed.Phase || inspected.Content.Blob != replayed.Content.Blob ||
			inspected.Endpoint != replayed.Endpoint || inspected.Redirects.Via != replayed.Redirects.Via || inspected.Proxy.Address != replayed.Proxy.Address ||
			inspected.Response.RetryAfter != replayed.Response.RetryAfter || (inspected.TLS.Certificate == nil) != (replayed.TLS.Certificate == nil) {
			t.Errorf("%s: replay %+v; inspect %+v", c.Name, replayed.Answer, inspected)
		}
	}
	if c.Truth == faulttest.Works && !found {
		t.Errorf("%s can be pulled, and no replay finds it", c.Name)
	}
	if c.Truth == faulttest.ContentCorrupt && len(all) == 1 && found {
		t.Errorf("%s is corrupt, and is found sound", c.Name)
	}
}

// How a second layer is sent wrongly is told apart.
func TestReplayOfASecondLayer(t *testing.T) {
	t.Parallel()
	w, err := faulttest.Start(faulttest.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	type result struct {
		Seen   registry.Seen
		Fault  registry.Fault
		Status int
	}
	want := map[string]result{
		"two-layers-works":     {Seen: registry.SeenEnds, Status: 200},
		"second-without-parts": {Seen: registry.SeenWhole, Status: 200},
		"second-trickles":      {Seen: registry.SeenEnds, Status: 200},
		"second-cut-off":       {Fault: registry.FaultContentCorrupt, Status: 206},
		"second-end-missing":   {Fault: registry.FaultContentCorrupt, Status: 206},
		"second-file-short":    {Fault: registry.FaultContentCorrupt, Status: 206},
		"second-403":           {Fault: registry.FaultForbidden, Status: 403},
		"second-404":           {Fault: registry.FaultContentMissing, Status: 404},
		"second-429":           {Fault: registry.FaultRateLimited, Status: 429},
		"second-500":           {Fault: registry.FaultServerError, Status: 500},
	}
	for _, c := range w.Cases() {
		piece, there := want[c.Name]
		if !there {
			continue
		}
		delete(want, c.Name)
		all := attempts(t, w, c)
		if len(all) != 1 || len(all[0].replayed.Pieces) != 3 {
			t.Errorf("%s: %+v", c.Name, all)
			continue
		}
		first, second := all[0].replayed.Pieces[1], all[0].replayed.Pieces[2]
		if !sound(first) || second.Fault != piece.Fault || all[0].replayed.Status != piece.Status || second.Seen != piece.Seen {
			t.Errorf("%s: first %+v, second %+v, want %+v", c.Name, first, second, piece)
		}
		if wait := all[0].replayed.Response.RetryAfter; (wait > 0) != (c.Name == "second-429") {
			t.Errorf("%s: to wait %s", c.Name, wait)
		}
	}
	if len(want) > 0 {
		t.Errorf("there are no cases %v", want)
	}
}
