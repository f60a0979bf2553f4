package scratchpull_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/cri/scratchpull/scratchpulltest"
)

const image = "registry.example/team/app:1"

func limits() scratchpull.Limits {
	return scratchpull.Limits{
		Bytes: 1 << 20, Floor: 1 << 10, Time: time.Minute, Poll: time.Millisecond, Idle: time.Minute,
		Free: func() (uint64, error) { return 1 << 30, nil },
	}
}

func puller(t *testing.T, c *scratchpulltest.Containerd, l scratchpull.Limits) *scratchpull.Puller {
	t.Helper()
	p, err := scratchpull.New(c.Socket, "", l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// good is a transfer that succeeds.
func good(_ context.Context, t *scratchpulltest.Transfer) error {
	d, size, err := t.Fetch([]byte("layer one"), []byte("layer two"))
	if err == nil {
		t.Save(ocispec.MediaTypeImageManifest, d, size)
	}
	return err
}

// empty fails the test unless containerd holds nothing but these lines.
func empty(t *testing.T, c *scratchpulltest.Containerd, but ...string) {
	t.Helper()
	if held := c.Holds(); !slices.Equal(held, but) {
		t.Errorf("containerd holds %q", held)
	}
}

// leavesAnything reports whether containerd holds anything of a pull.
func leavesAnything(c *scratchpulltest.Containerd) bool {
	return slices.ContainsFunc(c.Holds(), func(line string) bool { return strings.HasPrefix(line, scratchpull.DefaultNamespace) })
}

func TestPullRemovesImage(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.OnPull(good)
	var reported []scratchpull.Blob
	res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{
		Ref: image, HostsDir: "/etc/containerd/certs.d",
		Progress: func(b scratchpull.Blob) { reported = append(reported, b) },
	})
	if err != nil || !res.Begun || res.Stopped != scratchpull.NotStopped {
		t.Fatalf("%+v, %v", res, err)
	}
	var kinds []string
	sum := int64(0)
	for _, b := range reported {
		if b.Done {
			kinds = append(kinds, b.Kind)
			sum += b.Size
		}
		if b.Done != (b.Fetched == b.Size) {
			t.Errorf("%+v", b)
		}
	}
	slices.Sort(kinds)
	if want := []string{"config", "layer", "layer", "manifest"}; !slices.Equal(kinds, want) || len(reported) != 8 {
		t.Errorf("blobs: %q; reported %d times", kinds, len(reported))
	}
	if res.Bytes != sum || res.Fetched != sum {
		t.Errorf("%d bytes, %d fetched, %d in all", res.Bytes, res.Fetched, sum)
	}
	empty(t, c)
	asked(t, c.Transfers()[0])
}

// asked checks the transfer that the test above requested.
func asked(t *testing.T, got *scratchpulltest.Transfer) {
	t.Helper()
	if got.Reference != image || got.Image != image || got.HostDir != "/etc/containerd/certs.d" ||
		!slices.Equal(got.Platforms, []string{platforms.Format(platforms.DefaultSpec())}) || !got.Unpack || got.Snapshotter != "" {
		t.Errorf("%+v", got)
	}
	if got.Namespace != scratchpull.DefaultNamespace || got.Lease == "" || !got.AsksForCredentials {
		t.Errorf("%+v", got)
	}
	if at, err := time.Parse(time.RFC3339, got.Labels["containerd.io/gc.expire"]); err != nil || time.Until(at) < limits().Time {
		t.Errorf("the record does not expire, or too early: %v, %v", got.Labels, err)
	}
}

func TestCredentialIsOfferedToEveryHost(t *testing.T) {
	t.Parallel()
	somebody := credential.New("robot", "s3cret")
	for name, tc := range map[string]struct {
		given          *credential.Credential
		user, password string
	}{"nobody": {nil, "", ""}, "somebody": {&somebody, "robot", "s3cret"}} {
		c := scratchpulltest.New(t, "2.1.0")
		c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
			for _, host := range []string{"mirror.example", "registry.example"} {
				if user, password, err := tr.Credential(host); user != tc.user || password != tc.password {
					return fmt.Errorf("%s was given another credential: %w", host, err)
				}
			}
			return good(ctx, tr)
		})
		if res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image, Credential: tc.given}); err != nil {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
}

func TestCredentialIsRedacted(t *testing.T) {
	t.Parallel()
	c := credential.New("robot-7", "s3cret")
	credentialtest.NeverShows(t, scratchpull.Request{Ref: image, Credential: &c}, "robot-7", "s3cret")
}

func TestErrorTextMatchesKubelet(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	const said = `failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://cdn.example/b?X-Signature=5160ed": dial tcp: lookup cdn.example: no such host`
	c.OnPull(func(_ context.Context, tr *scratchpulltest.Transfer) error {
		if _, _, err := tr.Fetch([]byte("one")); err != nil {
			return err
		}
		return errors.New(said)
	})
	res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image})
	e, ok := errors.AsType[*scratchpull.Error](err)
	if !ok || e.Op != scratchpull.OpTransfer || e.Code != codes.Unknown || e.Text != `failed to pull and unpack image "`+image+`": `+said {
		t.Fatalf("%+v, %v", res, err)
	}
	if strings.Contains(err.Error(), "5160ed") || strings.Contains(fmt.Sprint(res), "5160ed") {
		t.Errorf("the error shows what was said: %v", err)
	}
	if !res.Begun {
		t.Errorf("%+v", res)
	}
	empty(t, c)
}

func TestBegunWithFirstReport(t *testing.T) {
	t.Parallel()
	for _, begun := range []bool{false, true} {
		c := scratchpulltest.New(t, "v2.4.2")
		c.OnPull(func(_ context.Context, tr *scratchpulltest.Transfer) error {
			if begun {
				return errors.Join(tr.Tell("Resolving from OCI Registry (x)", "", 0, 0), errors.New("failed"))
			}
			return errors.New("failed")
		})
		if res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image}); err == nil || res.Begun != begun {
			t.Errorf("%t: %+v, %v", begun, res, err)
		}
		empty(t, c)
	}
}

// What is stored need not be an image: CRI checks, and so does this package.
func TestPullOfNonImageFails(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.OnPull(func(_ context.Context, tr *scratchpulltest.Transfer) error {
		page := []byte("<html>")
		d, err := tr.Put(page)
		tr.Save("text/html", d, int64(len(page)))
		return err
	})
	res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image})
	e, ok := errors.AsType[*scratchpull.Error](err)
	if !ok || e.Op != scratchpull.OpTransfer || !strings.HasPrefix(e.Text, "get image config descriptor: unexpected media type text/html") {
		t.Errorf("%+v, %v", res, err)
	}
	empty(t, c)
}

func TestPullWithoutUnpacking(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
		if tr.Unpack {
			return errors.New("unable to initialize unpacker: no unpack platforms defined: invalid argument")
		}
		return good(ctx, tr)
	})
	res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image})
	if all := c.Transfers(); err != nil || res.Stopped != scratchpull.NotStopped || len(all) != 2 || all[1].Unpack {
		t.Errorf("%+v, %v, %d transfers", res, err, len(all))
	}
	empty(t, c)
}

// What another namespace had before the pull does not come from the registry.
func TestFetchedIsFromRegistry(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	early, late := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	const had = "layer one"
	c.Put("k8s.io", []byte(had), early)
	c.Put("k8s.io", []byte("layer two"), late)
	before := c.Holds()
	c.OnPull(good)
	res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image})
	if err != nil || res.Bytes == 0 || res.Fetched != res.Bytes-int64(len(had)) {
		t.Errorf("%+v, %v", res, err)
	}
	// The fake's garbage collector considers leases and records only; these
	// have none.
	empty(t, c, before[0])
}

// A canceled transfer goes on for a while; what it creates then is removed as
// well.
func TestCanceledPullIsCleanedUp(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ended atomic.Bool
	c.OnPull(func(pull context.Context, tr *scratchpulltest.Transfer) error {
		cancel()
		<-pull.Done()
		time.Sleep(20 * time.Millisecond)
		err := good(pull, tr)
		ended.Store(true)
		return err
	})
	res, err := puller(t, c, limits()).Pull(ctx, scratchpull.Request{Ref: image})
	if !errors.Is(err, context.Canceled) || !ended.Load() {
		t.Errorf("%+v, %v, ended: %v", res, err, ended.Load())
	}
	if _, failed := errors.AsType[*scratchpull.Error](err); failed {
		t.Errorf("a canceled pull is reported as a runtime failure: %v", err)
	}
	empty(t, c)
}

// forever pulls until it is stopped.
func forever(ctx context.Context, tr *scratchpulltest.Transfer) error {
	if _, _, err := tr.Fetch([]byte("layer")); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestLimitsEndPull(t *testing.T) {
	t.Parallel()
	for want, change := range map[scratchpull.Stop]func(*scratchpull.Limits){
		scratchpull.StoppedTooLarge: func(l *scratchpull.Limits) { l.Bytes = 100 },
		scratchpull.StoppedTimeout:  func(l *scratchpull.Limits) { l.Time = 50 * time.Millisecond },
		scratchpull.StoppedLowSpace: func(l *scratchpull.Limits) {
			var asked atomic.Int32
			l.Free = func() (uint64, error) {
				if asked.Add(1) > 2 {
					return l.Floor - 1, nil
				}
				return 1 << 30, nil
			}
		},
	} {
		c := scratchpulltest.New(t, "v2.4.2")
		c.OnPull(forever)
		l := limits()
		change(&l)
		res, err := puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image})
		if err != nil || res.Stopped != want {
			t.Errorf("%s: %+v, %v", want, res, err)
		}
		if low := want == scratchpull.StoppedLowSpace; low != (res.Free == l.Floor-1) || low != (res.Floor == l.Floor) || !low && res.Free+res.Floor != 0 {
			t.Errorf("%s: %d bytes are free, %d are to be", want, res.Free, res.Floor)
		}
		empty(t, c)
	}
}

// The manifest gives the size before the layers are started.
func TestTooLargeByManifest(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	large := make([]byte, 1<<20)
	c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
		if _, _, err := tr.Fetch(large); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	first := int64(-1)
	res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image, Progress: func(b scratchpull.Blob) {
		if b.Kind == "manifest" && b.Done {
			first = b.Size
		}
	}})
	if err != nil || res.Stopped != scratchpull.StoppedTooLarge || res.Bytes <= 1<<20 || first <= 0 {
		t.Errorf("%+v, %v", res, err)
	}
	empty(t, c)
}

func TestNoPullWithoutSpace(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	l := limits()
	l.Free = func() (uint64, error) { return l.Floor - 1, nil }
	res, err := puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image})
	if err != nil || res.Stopped != scratchpull.StoppedLowSpace || res.Free != l.Floor-1 || res.Floor != l.Floor || len(c.Transfers()) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
	broken := errors.New("no statfs")
	l.Free = func() (uint64, error) { return 1 << 40, broken }
	if _, err := puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image}); !errors.Is(err, broken) || len(c.Transfers()) > 0 {
		t.Errorf("%v", err)
	}
	var asked atomic.Int32
	l.Free = func() (uint64, error) {
		if asked.Add(1) > 1 {
			return 0, broken
		}
		return 1 << 40, nil
	}
	c.OnPull(forever)
	_, err = puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image})
	if _, failed := errors.AsType[*scratchpull.Error](err); !errors.Is(err, broken) || failed {
		t.Errorf("%v", err)
	}
	empty(t, c)
}
