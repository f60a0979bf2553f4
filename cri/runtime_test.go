package cri_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/critest"
)

const (
	nginx  = "docker.io/library/nginx"
	digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

func dial(t *testing.T, endpoint string) *cri.Runtime {
	t.Helper()
	r, err := cri.Dial(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func kindOf(t *testing.T, err error) cri.Kind {
	t.Helper()
	var e *cri.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is not a *cri.Error", err)
	}
	return e.Kind
}

func TestDialEndpoint(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"/run/containerd/containerd.sock":        true,
		"unix:///run/containerd/containerd.sock": true,
		"unix:/run/containerd/containerd.sock":   true,
		"":                                       false,
		"run/containerd.sock":                    false,
		"tcp://127.0.0.1:1234":                   false,
		"unix://containerd.sock":                 false,
	} {
		r, err := cri.Dial(endpoint)
		if (err == nil) != ok {
			t.Errorf("Dial(%q): error %v, want success %t", endpoint, err, ok)
		}
		if r != nil {
			_ = r.Close()
		}
	}
}

func TestImage(t *testing.T) {
	fake := critest.New(t, critest.NewImage("sha256:1", []string{nginx + ":1.25"}, []string{nginx + "@" + digest}))
	r := dial(t, "unix://"+fake.Socket)

	id, present, err := r.Image(t.Context(), nginx+":1.25")
	if err != nil || !present {
		t.Fatalf("present %t, error %v; want the image", present, err)
	}
	if id != "sha256:1" {
		t.Errorf("image %s", id)
	}

	if _, present, err = r.Image(t.Context(), nginx+":1.26"); present || err != nil {
		t.Errorf("absent image: present %t, error %v; want neither", present, err)
	}
	fake.Set(critest.Fault{NotFound: true})
	if _, present, err = r.Image(t.Context(), nginx+":1.26"); present || err != nil {
		t.Errorf("absent image by NotFound: present %t, error %v; want neither", present, err)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		fault critest.Fault
		kind  cri.Kind
		down  bool
	}{
		{critest.Fault{Code: codes.Unavailable}, cri.KindDown, true},
		{critest.Fault{Code: codes.DeadlineExceeded}, cri.KindTimeout, true},
		{critest.Fault{Code: codes.Unknown}, cri.KindFailed, false},
		{critest.Fault{Code: codes.Unimplemented}, cri.KindUnimplemented, false},
		{critest.Fault{NotReady: true}, cri.KindNotReady, true},
	} {
		t.Run(string(tc.kind), func(t *testing.T) {
			fake := critest.New(t)
			fake.Set(tc.fault)
			err := dial(t, fake.Socket).Ready(t.Context())
			if kindOf(t, err) != tc.kind || cri.IsDown(err) != tc.down {
				t.Errorf("error %v, down %t; want %s, %t", err, cri.IsDown(err), tc.kind, tc.down)
			}
		})
	}
}

func TestCallersDeadline(t *testing.T) {
	fake := critest.New(t)
	fake.Set(critest.Fault{Delay: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, present, err := dial(t, fake.Socket).Image(ctx, "x")
	if present || kindOf(t, err) != cri.KindTimeout {
		t.Errorf("present %t, error %v; want a timeout", present, err)
	}
}

func TestNoSocket(t *testing.T) {
	r := dial(t, filepath.Join(t.TempDir(), "none.sock"))
	_, present, err := r.Image(t.Context(), "x")
	if present || !cri.IsDown(err) || kindOf(t, err) != cri.KindDown {
		t.Errorf("present %t, error %v; want the runtime down", present, err)
	}
}

func TestRestart(t *testing.T) {
	fake := critest.New(t)
	r := dial(t, fake.Socket)
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	fake.Stop()
	if err := r.Ready(t.Context()); !cri.IsDown(err) {
		t.Fatalf("stopped runtime: error %v, want down", err)
	}
	fake.Start()
	deadline := time.Now().Add(10 * time.Second)
	for err := r.Ready(t.Context()); err != nil; err = r.Ready(t.Context()) {
		if time.Now().After(deadline) {
			t.Fatalf("the restarted runtime is still taken for down: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestVersion(t *testing.T) {
	name, version, err := dial(t, critest.New(t).Socket).Version(t.Context())
	if name != "containerd" || version != "v2.4.2" || err != nil {
		t.Errorf("got %q, %q, %v", name, version, err)
	}
}

func TestOtherNames(t *testing.T) {
	fake := critest.New(t,
		critest.NewImage("sha256:1", []string{nginx + ":1.25", nginx + ":1.24"}, []string{nginx + "@" + digest}),
		critest.NewImage("sha256:2", []string{"quay.io/team/nginx:1.25"}, nil),
		critest.NewImage("sha256:3", []string{"<none>:<none>"}, nil),
		critest.NewImage("sha256:4", []string{"localhost/video:v1"}, nil),
	)
	r := dial(t, fake.Socket)
	for _, tc := range []struct {
		ref  string
		want []string
	}{
		{"nginx:1.25", []string{nginx + ":1.24", nginx + "@" + digest}},
		{"nginx", []string{nginx + ":1.24", nginx + ":1.25", nginx + "@" + digest}},
		{"example.com/mirror/nginx@" + digest, []string{nginx + ":1.24", nginx + ":1.25", nginx + "@" + digest}},
		{"example.com/nginx:1.25", nil},
		{"video:v1", []string{"localhost/video:v1"}}, // as buildah names it
		{"example.com/video:v1", nil},
		{"UPPER::x", nil},
	} {
		got, err := r.OtherNames(t.Context(), tc.ref)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, %v; want %q", tc.ref, got, err, tc.want)
		}
	}
	fake.Set(critest.Fault{Code: codes.Unknown})
	if _, err := r.OtherNames(t.Context(), "nginx"); kindOf(t, err) != cri.KindFailed {
		t.Errorf("error %v", err)
	}
}

func TestOtherNamesAreBounded(t *testing.T) {
	fake := critest.New(t)
	for i := range 50 {
		fake.Add(critest.NewImage(fmt.Sprint(i), []string{fmt.Sprintf("%s:v%02d", nginx, i)}, nil))
	}
	got, err := dial(t, fake.Socket).OtherNames(t.Context(), "nginx:none")
	if err != nil || len(got) != 5 || got[0] != nginx+":v00" {
		t.Errorf("got %q, %v; want the first five", got, err)
	}
}

// The error's text must not contain the runtime's text.
func TestErrorText(t *testing.T) {
	fake := critest.New(t)
	fake.Set(critest.Fault{Code: codes.Unknown})
	err := dial(t, fake.Socket).Ready(t.Context())
	if got, want := err.Error(), "container runtime: Status: Failed (Unknown)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
