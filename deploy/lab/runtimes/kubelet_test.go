package runtimes

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// puller is a runtime that takes one password.
type puller struct {
	runtimeapi.UnimplementedImageServiceServer
	password string
	code     codes.Code

	mu      sync.Mutex
	tried   []string
	removed []string
}

func (p *puller) PullImage(_ context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user := r.GetAuth().GetUsername()
	p.tried = append(p.tried, user)
	if r.GetAuth().GetPassword() != p.password {
		return nil, status.Error(p.code, "refused: "+user)
	}
	return &runtimeapi.PullImageResponse{ImageRef: "sha256:0"}, nil
}

func (p *puller) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removed = append(p.removed, r.GetImage().GetImage())
	return &runtimeapi.RemoveImageResponse{}, nil
}

// serve makes the runtime reachable as the kubelet reaches one.
func serve(t *testing.T, p *puller) images {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtimeapi.RegisterImageServiceServer(server, p)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	service, err := dialImages(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.conn.Close() })
	return service
}

func creds(passwords ...string) []faulttest.Credential {
	var all []faulttest.Credential
	for i, p := range passwords {
		name := string(rune('a' + i))
		all = append(all, faulttest.Credential{Source: "login-" + name, Key: "registry.example:5000", Credential: credential.New(name, p)})
	}
	return all
}

func TestPullTriesOneLoginAfterTheOther(t *testing.T) {
	for name, test := range map[string]struct {
		creds []faulttest.Credential
		code  codes.Code
		tried []string
		err   string
	}{
		"the second is good":          {creds("x", "good", "y"), codes.Unknown, []string{"a", "b"}, ""},
		"all are wrong":               {creds("x", "y"), codes.Unknown, []string{"a", "b"}, "[refused: a, refused: b]"},
		"one is wrong":                {creds("x"), codes.Unknown, []string{"a"}, "refused: a"},
		"none":                        {nil, codes.Unknown, []string{""}, "refused: "},
		"a code other than Unknown":   {creds("x"), codes.NotFound, []string{"a"}, "rpc error: code = NotFound desc = refused: a"},
		"the same error is told once": {append(creds("x"), creds("y")...), codes.Unknown, []string{"a", "a"}, "refused: a"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &puller{password: "good", code: test.code}
			err := serve(t, p).pull(t.Context(), faulttest.Case{Name: "c", Image: "registry.example:5000/c:v1", Credentials: test.creds})
			if text(err) != test.err {
				t.Errorf("error %q, want %q", text(err), test.err)
			}
			if !slices.Equal(p.tried, test.tried) {
				t.Errorf("tried %q, want %q", p.tried, test.tried)
			}
		})
	}
}

// The kubelet makes reasons of two errors, and leaves others as they are.
func TestWaiting(t *testing.T) {
	for message, want := range map[string][2]string{
		"unable to pull image: EOF":    {"ErrImagePull", "unable to pull image: EOF"},
		"RegistryUnavailable: refused": {"RegistryUnavailable", "image pull failed for r/i because the registry is unavailable: refused"},
		"SignatureValidationFailed: no signature": {"SignatureValidationFailed",
			"image pull failed for r/i because the signature validation failed: no signature"},
		"[RegistryUnavailable: refused, denied]": {"ErrImagePull", "[RegistryUnavailable: refused, denied]"},
	} {
		if got := waiting("r/i", errors.New(message)); [2]string{got.Reason, got.Message} != want {
			t.Errorf("%s: %s, %q", message, got.Reason, got.Message)
		}
	}
}

func TestPullEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := serve(t, &puller{}).pull(ctx, faulttest.Case{Image: "registry.example:5000/c:v1"})
	if err == nil || !strings.Contains(err.Error(), "Canceled") {
		t.Errorf("error %v", err)
	}
}

func TestWhatWasPulledIsRemoved(t *testing.T) {
	p := &puller{}
	const image = "registry.example:5000/c:v1"
	if err := serve(t, p).remove(t.Context(), faulttest.Case{Image: image}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.removed, []string{image}) {
		t.Errorf("removed %q", p.removed)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestTheAgentSeesTheFailureOfACase(t *testing.T) {
	c := faulttest.Case{Name: "a-case", Image: "registry.example:5000/a-case:v1", Policy: "Always", Credentials: creds("x", "y")}
	all := podwatch.Failures(failedPod(c, errors.New("refused")))
	if len(all) != 1 {
		t.Fatalf("%d failures", len(all))
	}
	f := all[0]
	if f.Registry != "registry.example:5000" || f.Repository != "a-case" || f.PullPolicy != "Always" ||
		f.Reason != "ErrImagePull" || f.Message != "refused" || f.Node != nodeName || f.Kind != diagnosis.KindContainer {
		t.Errorf("%+v", f)
	}
	if !slices.Equal(f.PullSecrets, []string{"login-a", "login-b"}) {
		t.Errorf("secrets %q", f.PullSecrets)
	}
}

// TestSecretsBringTheLoginsOfACase: what the pull was given is what the pod's
// secrets hold, in the same order.
func TestSecretsBringTheLoginsOfACase(t *testing.T) {
	c := faulttest.Case{Image: "registry.example:5000/a-case:v1", Credentials: append(creds("x", "y"), creds("z")...)}
	source := secrets{c}
	var got []string
	for _, name := range secretNames(c) {
		s, err := source.Secret(t.Context(), namespace, name)
		if err != nil {
			t.Fatal(err)
		}
		if s.Type != "kubernetes.io/dockerconfigjson" {
			t.Errorf("secret %s of type %s", name, s.Type)
		}
		got = append(got, string(s.Data.Reveal()[".dockerconfigjson"]))
	}
	want := []string{
		`{"auths":{"registry.example:5000":{"password":"x","username":"a"}}}`,
		`{"auths":{"registry.example:5000":{"password":"y","username":"b"}}}`,
		`{"auths":{"registry.example:5000":{"password":"z","username":"a"}}}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("secrets %q, want %q", got, want)
	}
	for _, missing := range [][2]string{{namespace, "other"}, {"elsewhere", "login-a"}} {
		if _, err := source.Secret(t.Context(), missing[0], missing[1]); !errors.Is(err, kube.ErrNotFound) {
			t.Errorf("secret %v: %v", missing, err)
		}
	}
}
