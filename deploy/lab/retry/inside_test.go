package retry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/runtimes"
)

const (
	// pullerRole is the role of a process that pulls and is killed.
	pullerRole = "retry-puller"
	// pullerSocket and pullerImage are its environment variables.
	pullerSocket = "RETRY_SOCKET"
	pullerImage  = "RETRY_IMAGE"
	certsDir     = "/etc/containerd/certs.d"
	// worksFor is longer than anything that works takes.
	worksFor = 2 * time.Minute
)

// capable returns the runtimes that support pulls in a namespace of our own.
func capable() []runtimes.Runtime { return runtimes.Releases()[:2] }

func modern(r runtimes.Runtime) bool { return strings.HasPrefix(r.Name, "containerd 2") }

// hostsDir returns the hosts directory for a pull on this runtime.
func hostsDir(r runtimes.Runtime) string {
	if modern(r) {
		return certsDir
	}
	return ""
}

// limits returns limits for pulls that may be slow.
func limits() scratchpull.Limits {
	return scratchpull.Limits{Bytes: 1 << 30, Time: worksFor, Idle: worksFor, Free: func() (uint64, error) { return 1 << 40, nil }}
}

func puller(t *testing.T, r runtimes.Runtime, l scratchpull.Limits) *scratchpull.Puller {
	t.Helper()
	p, err := scratchpull.New(r.Socket(), "", l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// eachRuntime runs a test inside the box on each capable runtime, and checks that the
// runtime holds the same before and after.
func eachRuntime(t *testing.T, test func(*testing.T, runtimes.Runtime)) {
	if world == nil {
		t.Skip("runs inside the box of TestRetry")
	}
	for _, r := range capable() {
		t.Run(r.Name, func(t *testing.T) {
			before := holds(t, r)
			test(t, r)
			same(t, before, holds(t, r))
		})
	}
}

func holds(t *testing.T, r runtimes.Runtime) []string {
	t.Helper()
	lines, err := state(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func same(t *testing.T, before, after []string) {
	t.Helper()
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("left behind: %s", line)
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("removed: %s", line)
		}
	}
}

func caseNamed(t *testing.T, name string) faulttest.Case {
	t.Helper()
	for _, c := range world.Cases() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no fault case %s", name)
	return faulttest.Case{}
}

func request(r runtimes.Runtime, c faulttest.Case) scratchpull.Request {
	req := scratchpull.Request{Ref: c.Image, HostsDir: hostsDir(r)}
	if len(c.Credentials) > 0 {
		req.Credential = &c.Credentials[0].Credential
	}
	return req
}

// kubelet is a CRI client, like the kubelet's.
type kubelet struct {
	runtimeapi.ImageServiceClient
	records imagesapi.ImagesClient
}

func images(t *testing.T, r runtimes.Runtime) kubelet {
	t.Helper()
	conn, err := cri.Connect(r.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return kubelet{runtimeapi.NewImageServiceClient(conn), imagesapi.NewImagesClient(conn)}
}

// seen reports whether the kubelet sees an image.
func seen(t *testing.T, s kubelet, image string) bool {
	t.Helper()
	all, err := s.ListImages(context.Background(), &runtimeapi.ListImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.ImageStatus(context.Background(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: image}})
	if err != nil {
		t.Fatal(err)
	}
	return len(all.GetImages()) > 0 || one.GetImage() != nil
}

func TestInsideGoodImagesPullAndLeaveNothing(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		kubelet := images(t, r)
		for _, name := range []string{"token-works", "basic-works", "platform-index-works", "layer-uncompressed-works"} {
			c := caseNamed(t, name)
			req := request(r, c)
			events := 0
			req.Progress = func(scratchpull.Blob) {
				events++
				if seen(t, kubelet, c.Image) {
					t.Errorf("%s: the kubelet sees an image", name)
				}
			}
			res, err := puller(t, r, limits()).Pull(t.Context(), req)
			if err != nil || res.Stopped != scratchpull.NotStopped || res.Bytes == 0 || res.Fetched != res.Bytes || events == 0 {
				t.Errorf("%s: %+v, %v (%s), %d events", name, res, err, text(err), events)
			}
			if seen(t, kubelet, c.Image) {
				t.Errorf("%s: the kubelet sees the image", name)
			}
		}
	})
}

func text(err error) string {
	if e, ok := errors.AsType[*scratchpull.Error](err); ok {
		return e.Text
	}
	return ""
}

// pullAndRemove pulls as the kubelet does and removes the image. A pull that fails
// after everything is stored leaves a record, with content, that CRI does not show.
func pullAndRemove(ctx context.Context, s kubelet, image string, credentials *credential.Credential) error {
	req := &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: image}}
	if credentials != nil {
		req.Auth = &runtimeapi.AuthConfig{Username: credentials.Username.Reveal(), Password: credentials.Password.Reveal()}
	}
	_, pull := s.PullImage(ctx, req)
	_, remove := s.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: image}})
	if pull == nil {
		return remove
	}
	_, _ = s.records.Delete(namespaces.WithNamespace(ctx, "k8s.io"), &imagesapi.DeleteImageRequest{Name: image, Sync: true})
	return errors.New(status.Convert(pull).Message())
}

// Every case of the fault registry, on the release whose CRI uses the same transfer
// service: the same outcome, with the same message.
func TestInsideMessagesMatchTheKubeletsPull(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		if !modern(r) {
			t.Skip("CRI of 1.7 does not use the transfer service")
		}
		kubelet, p := images(t, r), puller(t, r, limits())
		for _, c := range world.Cases() {
			if c.Slow {
				continue
			}
			req := request(r, c)
			want := pullAndRemove(t.Context(), kubelet, c.Image, req.Credential)
			_, err := p.Pull(t.Context(), req)
			if (want == nil) != (err == nil) || want != nil && plain(want.Error()) != plain(text(err)) {
				t.Errorf("%s:\nkubelet: %v\nours:    %v: %s", c.Name, want, err, text(err))
			}
			if e, ok := errors.AsType[*scratchpull.Error](err); ok && e.Op != scratchpull.OpTransfer {
				t.Errorf("%s: %s failed", c.Name, e.Op)
			}
		}
	})
}

// plain returns a message without what differs between attempts.
func plain(s string) string {
	for _, differs := range []string{
		`\?[^ "]*`,            // CRI redacts queries; message.Read does so for us
		`127\.0\.0\.1:\d+->`,  // source port of a connection
		`extract-\d+-\S+`,     // snapshot being extracted
		`containerd-mount\d+`, // its mount point
		`current time \S+`,    //
	} {
		s = regexp.MustCompile(differs).ReplaceAllString(s, "…")
	}
	return strings.ReplaceAll(s, "readLoopPeekFailLocked: ", "") // net/http, if the server hangs up early
}

func TestInsideLoginsAndContentAreTried(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		for name, want := range map[string]string{
			"basic-wrong":           "401 Unauthorized",
			"basic-anonymous":       "no basic auth credentials",
			"layer-digest-mismatch": "unexpected commit digest",
			"layer-diffid-wrong":    "diff",
			"layer-gzip-broken":     "EOF",
			"platform-index":        "no match for platform",
		} {
			res, err := puller(t, r, limits()).Pull(t.Context(), request(r, caseNamed(t, name)))
			if e, ok := errors.AsType[*scratchpull.Error](err); !ok || e.Op != scratchpull.OpTransfer || !strings.Contains(e.Text, want) || !res.Begun {
				t.Errorf("%s: %v: %s; %+v", name, err, text(err), res)
			}
		}
	})
}

// robot returns credentials that may pull from the large registry.
func robot() *credential.Credential {
	c := credential.New(user, password)
	return &c
}

// held returns a request for an image with one layer that is held back until it is
// released. begun is closed when everything else, and the start of that layer, has
// arrived.
func held(t *testing.T, r runtimes.Runtime, repository string) (req scratchpull.Request, begun <-chan struct{}, release func()) {
	t.Helper()
	image, release, err := large.hold(repository + "-" + r.Tool)
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{})
	blobs := map[string]scratchpull.Blob{}
	closed := false
	return scratchpull.Request{Ref: image, Credential: robot(), HostsDir: hostsDir(r), Progress: func(b scratchpull.Blob) {
		blobs[b.Digest.String()] = b
		done := 0
		part := false
		for _, b := range blobs {
			if b.Kind == "layer" && b.Done {
				done++
			}
			part = part || b.Kind == "layer" && !b.Done && b.Fetched > 0
		}
		if done == 1 && part && !closed {
			closed = true
			close(first)
		}
	}}, first, release
}

func await(ctx context.Context, what <-chan struct{}) {
	select {
	case <-what:
	case <-ctx.Done():
	}
}

// ended reports whether a pull was canceled, either by its caller or because the
// kubelet started one.
func ended(res scratchpull.Result, err error) bool {
	return errors.Is(err, context.Canceled) || err == nil && res.Stopped == scratchpull.StoppedGaveWay
}

func TestInsideCancelLeavesNothing(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		req, begun, _ := held(t, r, "cancel")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			await(ctx, begun)
			cancel()
		}()
		res, err := puller(t, r, limits()).Pull(ctx, req)
		if !errors.Is(err, context.Canceled) || !res.Begun {
			t.Errorf("%+v, %v: %s", res, err, text(err))
		}
		cancel()
		if res.Bytes < 2*piece || res.Fetched < piece || res.Fetched >= res.Bytes {
			t.Errorf("%d of %d bytes", res.Fetched, res.Bytes)
		}
	})
}

func TestInsideLimitsEndAPull(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		for want, change := range map[scratchpull.Stop]func(*scratchpull.Limits, <-chan struct{}){
			scratchpull.StoppedTooLarge: func(l *scratchpull.Limits, _ <-chan struct{}) { l.Bytes = piece },
			scratchpull.StoppedTimeout:  func(l *scratchpull.Limits, _ <-chan struct{}) { l.Time = 2 * time.Second },
			scratchpull.StoppedLowSpace: func(l *scratchpull.Limits, begun <-chan struct{}) {
				l.Floor = 1 << 30
				l.Free = func() (uint64, error) {
					select {
					case <-begun:
						return 1 << 20, nil
					default:
						return 1 << 40, nil
					}
				}
			},
		} {
			req, begun, _ := held(t, r, "limit-"+strings.ToLower(string(want)))
			l := limits()
			change(&l, begun)
			res, err := puller(t, r, l).Pull(t.Context(), req)
			if err != nil || res.Stopped != want {
				t.Errorf("%s: %+v, %v: %s", want, res, err, text(err))
			}
		}
	})
}

// pullUntilKilled is the process of pullerRole: it reports when it is halfway.
func pullUntilKilled() error {
	p, err := scratchpull.New(os.Getenv(pullerSocket), "", limits())
	if err != nil {
		return err
	}
	var req scratchpull.Request
	if err := json.Unmarshal([]byte(os.Getenv(pullerImage)), &req.Ref); err != nil {
		return err
	}
	req.Credential = robot()
	req.Progress = func(b scratchpull.Blob) {
		if b.Kind == "layer" && b.Done {
			_, _ = os.Stdout.WriteString("half\n")
		}
	}
	_, err = p.Pull(context.Background(), req)
	return fmt.Errorf("%w: %s", err, text(err))
}

func TestInsideSweepAfterAKill(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		before := holds(t, r)
		req, _, _ := held(t, r, "kill")
		image, err := json.Marshal(req.Ref)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), box.RoleVariable+"="+pullerRole, pullerSocket+"="+r.Socket(), pullerImage+"="+string(image))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var word string
		if _, err := fmt.Fscan(out, &word); err != nil || word != "half" {
			t.Fatalf("%q, %v", word, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if left := holds(t, r); slices.Equal(left, before) {
			t.Error("the killed process left nothing behind, so this test proves nothing")
		}
		if err := puller(t, r, limits()).Sweep(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Content that the node has is not fetched again, and is counted separately.
func TestInsideKubeletContentIsShared(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		kubelet := images(t, r)
		c := caseNamed(t, "token-works")
		if _, err := kubelet.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: c.Image}}); err != nil {
			t.Fatal(err)
		}
		with := holds(t, r)
		res, err := puller(t, r, limits()).Pull(t.Context(), request(r, c))
		if err != nil || res.Stopped != scratchpull.NotStopped || res.Bytes == 0 || res.Fetched != 0 {
			t.Errorf("%+v, %v", res, err)
		}
		same(t, with, holds(t, r))
		if _, err := kubelet.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: c.Image}}); err != nil {
			t.Fatal(err)
		}
	})
}

// While the content is there, a pod without the secret is still refused.
func TestInsidePodWithoutSecretIsRefused(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		req, begun, _ := held(t, r, "private")
		kubelet := images(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		refused := make(chan error, 1)
		go func() {
			defer cancel()
			await(ctx, begun)
			_, err := kubelet.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: req.Ref}})
			refused <- err
		}()
		if res, err := puller(t, r, limits()).Pull(ctx, req); !ended(res, err) {
			t.Error(res, err, text(err))
		}
		cancel()
		if err := <-refused; err == nil || !strings.Contains(err.Error(), "no basic auth credentials") {
			t.Errorf("the kubelet's pull without the secret: %v", err)
		}
	})
}

// A pull of the kubelet that meets ours gets its image, even if ours is canceled:
// shared content stays.
func TestInsideKubeletPullIsNotHarmed(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		req, begun, release := held(t, r, "both")
		node := images(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		theirs := make(chan error, 1)
		go func() {
			defer cancel()
			await(ctx, begun)
			go func() { theirs <- pullAndRemove(t.Context(), node, req.Ref, robot()) }()
			time.Sleep(time.Second / 2) // theirs is in progress; it must succeed in any case
		}()
		if res, err := puller(t, r, limits()).Pull(ctx, req); !ended(res, err) {
			t.Error(res, err, text(err))
		}
		release()
		if err := <-theirs; err != nil {
			t.Error(err)
		}
	})
}

func TestInsideOldRuntimesAreNotSupported(t *testing.T) {
	if world == nil {
		t.Skip("runs inside the box of TestRetry")
	}
	c := caseNamed(t, "token-works")
	for _, r := range runtimes.Releases() {
		_, err := puller(t, r, limits()).Pull(t.Context(), scratchpull.Request{Ref: c.Image, HostsDir: certsDir})
		if modern(r) != (err == nil) || !modern(r) && !errors.Is(err, scratchpull.ErrUnsupported) {
			t.Errorf("%s with a registry configuration: %v", r.Name, err)
		}
	}
	old := runtimes.Releases()[2]
	if _, err := puller(t, old, limits()).Pull(t.Context(), scratchpull.Request{Ref: c.Image}); !errors.Is(err, scratchpull.ErrUnsupported) {
		t.Errorf("%s: %v", old.Name, err)
	}
}
