package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/reexec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	os.Exit(m.Run())
}

// registry serves an image, a chart, and an image whose layer is missing.
func registry(t *testing.T) (host string) {
	t.Helper()
	blobs := map[string][]byte{}
	add := func(mediaType string, body []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
		blobs[d.Digest.String()] = body
		return d
	}
	packed, unpacked := layer(t)
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, digest.FromBytes(unpacked))
	image := add(ocispec.MediaTypeImageConfig, []byte(config))
	content := add(ocispec.MediaTypeImageLayerGzip, packed)
	missing := content
	missing.Digest = digest.FromString("nothing")
	manifests := map[string]ocispec.Manifest{
		"image":   {Config: image, Layers: []ocispec.Descriptor{content}},
		"chart":   {Config: add("application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"chart"}`)), Layers: []ocispec.Descriptor{content}},
		"missing": {Config: image, Layers: []ocispec.Descriptor{missing}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		found, isManifest := manifests[path[0]]
		switch {
		case r.URL.Path == "/v2/":
		case len(path) == 3 && path[1] == "manifests" && isManifest:
			found.Versioned, found.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest
			w.Header().Set("Content-Type", found.MediaType)
			_ = json.NewEncoder(w).Encode(found)
		case len(path) == 3 && blobs[path[2]] != nil:
			_, _ = w.Write(blobs[path[2]])
		default:
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}`, http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func layer(t *testing.T) (packed, unpacked []byte) {
	t.Helper()
	var file, gz bytes.Buffer
	archive := tar.NewWriter(&file)
	if err := errors.Join(archive.WriteHeader(&tar.Header{Name: "file", Mode: 0o644}), archive.Close()); err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(file.Bytes()); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return gz.Bytes(), file.Bytes()
}

// open returns a server that treats the hosts as insecure.
func open(t *testing.T, hosts ...string) *server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can have an image store")
	}
	dir := t.TempDir()
	c := defaults()
	c.CRIO.Root, c.CRIO.RunRoot, c.CRIO.StorageDriver = filepath.Join(dir, "root"), filepath.Join(dir, "run"), "vfs"
	c.CRIO.Image.NamespacedAuthDir, c.CRIO.Image.SignaturePolicyDir = filepath.Join(dir, "auth"), filepath.Join(dir, "policies")
	c.CRIO.Image.SignaturePolicy = filepath.Join(dir, "policy.json")
	var registries strings.Builder
	for _, host := range hosts {
		fmt.Fprintf(&registries, "[[registry]]\nlocation = %q\ninsecure = true\n", host)
	}
	write(t, filepath.Join(dir, "registries.conf"), registries.String())
	write(t, c.CRIO.Image.SignaturePolicy, `{"default":[{"type":"insecureAcceptAnything"}]}`)
	write(t, filepath.Join(c.CRIO.Image.SignaturePolicyDir, "strict.json"), `{"default":[{"type":"reject"}]}`)
	s, err := newServer(c, filepath.Join(dir, "registries.conf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.store.Shutdown(true) })
	return s
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func pull(t *testing.T, s *server, namespace, image string) (id string, err error) {
	t.Helper()
	r, err := s.PullImage(t.Context(), &runtimeapi.PullImageRequest{
		Image:         &runtimeapi.ImageSpec{Image: image},
		SandboxConfig: &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Namespace: namespace}},
	})
	return r.GetImageRef(), err
}

func TestImageComesAndGoes(t *testing.T) {
	host := registry(t)
	s := open(t, host)
	for _, name := range []string{host + "/image:v1", host + "/chart:v1"} {
		id, err := pull(t, s, "team", name)
		if err != nil {
			t.Fatal(err)
		}
		asked := &runtimeapi.ImageSpec{Image: name}
		there, err := s.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: asked})
		if err != nil || there.GetImage().GetId() != id || there.GetImage().GetRepoTags()[0] != name {
			t.Errorf("%s: %v, %v, want %s", name, there, err, id)
		}
		if _, err := s.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: asked}); err != nil {
			t.Error(err)
		}
		gone, err := s.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: asked})
		if err != nil || gone.GetImage() != nil {
			t.Errorf("%s is still there: %v, %v", name, gone, err)
		}
	}
	if left, err := s.ListImages(t.Context(), &runtimeapi.ListImagesRequest{}); err != nil || len(left.GetImages()) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// An image is listed under all its names, and removed with the last of them.
func TestNamesOfAnImage(t *testing.T) {
	host := registry(t)
	s := open(t, host)
	id, err := pull(t, s, "", host+"/image:v1")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := pull(t, s, "", host+"/image:v2"); err != nil || again != id {
		t.Fatalf("%s, %v; want %s", again, err, id)
	}
	for _, want := range []int{2, 1} {
		all, err := s.ListImages(t.Context(), &runtimeapi.ListImagesRequest{})
		if err != nil || len(all.GetImages()) != 1 || len(all.GetImages()[0].GetRepoTags()) != want || len(all.GetImages()[0].GetRepoDigests()) != 1 {
			t.Fatalf("%v, %v; want %d tags", all, err, want)
		}
		tag := all.GetImages()[0].GetRepoTags()[0]
		if _, err := s.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: tag}}); err != nil {
			t.Fatal(err)
		}
	}
	if usage, err := s.ImageFsInfo(t.Context(), &runtimeapi.ImageFsInfoRequest{}); err != nil || len(usage.GetImageFilesystems()) != 1 {
		t.Errorf("%v, %v", usage, err)
	}
}

// The message around an error says what CRI-O tried, and its prefix determines the
// kubelet's reason.
func TestWordsOfErrors(t *testing.T) {
	host, closed := registry(t), closedPort(t)
	s := open(t, host, closed)
	const both = "unable to pull image or OCI artifact: pull image err: "
	for name, test := range map[string]struct{ namespace, image, start, end string }{
		"no such image": {"team", host + "/none:v1", both + "initializing source docker://" + host + "/none:v1: reading manifest v1",
			"; artifact err: image reference: get manifest from ref: create image source: reading manifest v1 in " + host + "/none: manifest unknown"},
		"no layer":     {"team", host + "/missing:v1", both, "; artifact err: image reference: " + errIsImage.Error()},
		"refused":      {"team", closed + "/image:v1", "RegistryUnavailable: unable to pull image: initializing source", "connection refused"},
		"policy":       {"strict", host + "/image:v1", "SignatureValidationFailed: " + both + "Source image rejected", errIsImage.Error()},
		"bad name":     {"team", host + "/Image:v1", "prepare temp auth file: parse image name: ", "must be lowercase"},
		"short name":   {"team", "image:v1", "short-name", ""},
		"no namespace": {"", host + "/Image:v1", "", "must be lowercase"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pull(t, s, test.namespace, test.image)
			if err == nil || !strings.HasPrefix(err.Error(), test.start) || !strings.HasSuffix(strings.TrimSuffix(err.Error(), ": unknown"), test.end) {
				t.Errorf("%v", err)
			}
		})
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A namespace's credentials are used for one pull of one repository.
func TestCredentialsOfANamespace(t *testing.T) {
	s := open(t)
	// sha256 of "registry.example/image"
	file := filepath.Join(s.config.CRIO.Image.NamespacedAuthDir, "team-"+digest.FromString("registry.example/image").Encoded()+".json")
	write(t, file, `{"auths":{}}`)
	for _, other := range [][2]string{{"other", "registry.example/image:v1"}, {"team", "registry.example/other:v1"}} {
		if system, _, err := s.contextFor(other[0], other[1]); err != nil || system.AuthFilePath != "" {
			t.Errorf("%v: %v, %v", other, system.AuthFilePath, err)
		}
	}
	system, done, err := s.contextFor("team", "registry.example/image:v1")
	if err != nil || system.AuthFilePath != file {
		t.Fatalf("%v, %v", system, err)
	}
	done()
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", file, err)
	}
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	file, drop := filepath.Join(dir, "crio.conf"), filepath.Join(dir, "crio.conf.d")
	if c, err := loadConfig(file, drop); err != nil || c != defaults() {
		t.Errorf("without files: %+v, %v", c, err)
	}
	write(t, file, "[crio]\nroot = \"/r\"\n[crio.image]\npause_image = \"p:1\"\npull_progress_timeout = \"10s\"\n")
	write(t, filepath.Join(drop, "10.conf"), "[crio.image]\npause_image = \"p:2\"\nglobal_auth_file = \"/a\"\nshort_name_mode = \"disabled\"\n")
	c, err := loadConfig(file, drop)
	want := defaults()
	want.CRIO.Root = "/r"
	want.CRIO.Image.PauseImage, want.CRIO.Image.GlobalAuthFile, want.CRIO.Image.ShortNameMode = "p:2", "/a", "disabled"
	want.CRIO.Image.PullProgressTimeout = 10 * time.Second
	if err != nil || c != want {
		t.Errorf("got %+v, %v\nwant %+v", c, err, want)
	}
	if s := c.systemContext("/f"); s.AuthFilePath != "/a" || s.SystemRegistriesConfPath != "/f" || *s.ShortNameMode != types.ShortNameModeDisabled {
		t.Errorf("%+v", s)
	}
	write(t, file, "nonsense")
	if _, err := loadConfig(file, drop); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}

func TestLogin(t *testing.T) {
	for name, test := range map[string]struct {
		given          *runtimeapi.AuthConfig
		user, password string
	}{
		"none":         {nil, "", ""},
		"both":         {&runtimeapi.AuthConfig{Username: "u", Password: "p"}, "u", "p"},
		"encoded":      {&runtimeapi.AuthConfig{Auth: "dTpwOnEA"}, "u", "p:q"},
		"without user": {&runtimeapi.AuthConfig{Password: "p"}, "", ""},
	} {
		got, err := credentials(test.given)
		if err != nil || (got == nil) != (test.user == "") || got != nil && (got.Username != test.user || got.Password != test.password) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := credentials(&runtimeapi.AuthConfig{Auth: "?"}); err == nil {
		t.Error("? is no base64")
	}
}

func TestMayBeArtifact(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, errors.New("manifest unknown"): true,
		fmt.Errorf("get: %w", context.Canceled): false, fmt.Errorf("get: %w", context.DeadlineExceeded): false,
		fmt.Errorf("get: %w", &net.DNSError{}): false,
	} {
		if got := mayBeArtifact(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}

func TestWithoutTagOfDigest(t *testing.T) {
	d := "@" + digest.FromString("").String()
	for name, want := range map[string]string{"r.example/i:v1": "r.example/i:v1", "r.example/i" + d: "r.example/i" + d, "r.example/i:v1" + d: "r.example/i" + d} {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := withoutTagOfDigest(named).String(); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
}

// The time limit starts with the first progress.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		progress, stopped := make(chan types.ProgressProperties), make(chan struct{})
		go watch(progress, time.Second, func() { close(stopped) })
		open := func() bool {
			synctest.Wait()
			select {
			case <-stopped:
				return false
			default:
				return true
			}
		}
		time.Sleep(time.Hour)
		if !open() {
			t.Error("stopped before any progress")
		}
		for range 3 {
			progress <- types.ProgressProperties{}
			time.Sleep(900 * time.Millisecond)
		}
		if !open() {
			t.Error("stopped in spite of progress")
		}
		time.Sleep(time.Second)
		if open() {
			t.Error("goes on without progress")
		}
		close(progress)
	})
}

func TestRuntimeService(t *testing.T) {
	s := &server{config: defaults()}
	if v, err := s.Version(t.Context(), nil); err != nil || v.GetRuntimeName() != "cri-o" || v.GetRuntimeVersion() != "1.37.0" {
		t.Errorf("%v, %v", v, err)
	}
	r, err := s.Status(t.Context(), &runtimeapi.StatusRequest{Verbose: true})
	if err != nil || !strings.Contains(r.GetInfo()["config"], `"sandboxImage":"registry.k8s.io/pause:3.10.1"`) {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := s.Status(t.Context(), &runtimeapi.StatusRequest{}); err != nil || len(r.GetInfo()) > 0 || len(r.GetStatus().GetConditions()) != 2 {
		t.Errorf("%v, %v", r, err)
	}
}
