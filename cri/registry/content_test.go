package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

func amd64() ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: "amd64"} }
func arm64() ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
}

// inspected is a case of an image that is looked at.
type inspected struct {
	name  string
	make  func(c *registrytest.Content) (top, blamed ocispec.Descriptor)
	opts  registry.InspectOptions
	want  registry.Answer // Found, Fault, Phase, Status and what Inspect adds
	lines []string        // of the requests, with digests by their names: $top and so on; nil: not looked at
}

// holding is a registry that holds an image as team/app:1.0.
func holding(t *testing.T, image func(*registrytest.Content) (top, blamed ocispec.Descriptor)) (s *registrytest.Server, top, blamed ocispec.Descriptor) {
	t.Helper()
	content := registrytest.NewContent(t)
	top, blamed = image(content)
	content.Tag("1.0", top)
	s = registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Content: content}}})
	return s, top, blamed
}

func inspect(t *testing.T, s *registrytest.Server, object string, want registry.InspectOptions) registry.Answer {
	t.Helper()
	want = want.On(amd64())
	a := endpoint(t, options(trusting(t, s)), s.Host).Inspect(t.Context(), ref(t, s.Host+"/team/app"+object), nil, want)
	checkErr(t, a)
	return a
}

func (tc inspected) run(t *testing.T) {
	s, top, blamed := holding(t, tc.make)
	a := inspect(t, s, ":1.0", tc.opts)
	if tc.want.Phase == "" {
		tc.want.Phase = registry.PhaseBlob
	}
	if tc.want.Status == 0 {
		tc.want.Status = 200
	}
	wantBlob := ""
	if blamed.Digest != "" {
		wantBlob = blamed.Digest.String()
	}
	if a.Found != (tc.want.Fault == "") || a.Fault != tc.want.Fault || a.Phase != tc.want.Phase || a.Status != tc.want.Status || a.Content.Blob != wantBlob {
		t.Errorf("found %t, fault %q in %q, status %d, blob %q; want %+v, blob %q", a.Found, a.Fault, a.Phase, a.Status, a.Content.Blob, tc.want, wantBlob)
	}
	if !slices.Equal(a.Content.Platforms, tc.want.Content.Platforms) || a.Content.OtherPlatform != tc.want.Content.OtherPlatform || a.Content.Artifact != tc.want.Content.Artifact || a.Content.Encrypted != tc.want.Content.Encrypted ||
		a.Content.Looked != tc.want.Content.Looked || a.Endpoint != "https://"+s.Host || a.Redirects.Via != "" {
		t.Errorf("answer %+v, want %+v", a, tc.want)
	}
	if a.Found && a.Content.Digest != top.Digest.String() {
		t.Errorf("manifest %s", a.Content.Digest)
	}
	if lines := len(s.Requests()); tc.lines != nil && lines != len(tc.lines) {
		t.Errorf("requests %q, want %q", s.Lines(), tc.lines)
	}
}

func soundImages() []inspected {
	manifest, blob := "manifest", "blob"
	one := []string{"linux/amd64"}
	return []inspected{
		{name: "one manifest", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Image(amd64(), c.Layer(10), c.Layer(20)), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 3}}, lines: []string{manifest, blob, blob, blob}},
		{name: "an index", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			unknown := c.Image(ocispec.Platform{OS: "unknown", Architecture: "unknown"})
			return c.Index(c.Image(arm64(), c.Layer(1)), c.Image(amd64(), c.Layer(2)), unknown), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: []string{"linux/amd64", "linux/arm64"}, Looked: 2}}, lines: []string{manifest, manifest, blob, blob}},
		{name: "an index in an index", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Index(c.Index(c.Image(amd64()))), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 1}}},
		{name: "an index without platforms", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			d := c.Image(amd64())
			d.Platform = nil
			return c.Index(d), blamed
		}, want: registry.Answer{Content: registry.Content{Looked: 1}}},
		{name: "at most eight layers", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			var layers []ocispec.Descriptor
			for n := range 12 {
				layers = append(layers, c.Layer(n))
			}
			return c.Image(amd64(), layers...), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 9}}},
		{name: "thorough", opts: registry.InspectOptions{Thorough: true}, make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Image(amd64(), c.Layer(10), c.Layer(20)), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 3}}, lines: []string{manifest, blob, blob, blob, blob, blob}},
		{name: "the same layer twice", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Image(amd64(), c.Layer(10), c.Layer(10)), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 2}}, lines: []string{manifest, blob, blob}},
		{name: "an empty layer", opts: registry.InspectOptions{Thorough: true}, make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Image(amd64(), c.Blob(ocispec.MediaTypeImageLayer, nil)), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 2}}},
		{name: "no ranges", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			one, two := c.Layer(10), c.Layer(20)
			c.Break(one, func(o *registrytest.Object) { o.NoRange = true })
			c.Break(two, func(o *registrytest.Object) { o.Refuse = true })
			return c.Image(amd64(), one, two), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 3}}, lines: []string{manifest, blob, blob, blob, blob}},
		{name: "another platform, without an index", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Image(arm64(), c.Layer(1)), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: []string{"linux/arm64"}, OtherPlatform: true, Looked: 2}}},
		{name: "a Helm chart", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Artifact(c.Blob("application/vnd.cncf.helm.config.v1+json", []byte("{}")), c.Blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("x"))), blamed
		}, want: registry.Answer{Content: registry.Content{Artifact: true, Looked: 2}}},
		{name: "an artifact's layers are not fetched", make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			layer := c.Layer(1)
			c.Break(layer, func(o *registrytest.Object) { o.Status = 404 })
			return c.Artifact(c.Blob("application/vnd.example", []byte("{}")), layer), blamed
		}, want: registry.Answer{Content: registry.Content{Artifact: true, Looked: 1}}},
		{name: "encrypted layers are for the node to know", opts: registry.InspectOptions{Thorough: true}, make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Image(amd64(), c.Blob(ocispec.MediaTypeImageLayerGzip+"+encrypted", bytes.Repeat([]byte("?"), 999))), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 2, Encrypted: true}}},
		{name: "zstd by its mark", opts: registry.InspectOptions{Thorough: true}, make: func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
			return c.Image(amd64(), c.Blob(ocispec.MediaTypeImageLayerZstd, append([]byte{0x28, 0xb5, 0x2f, 0xfd}, make([]byte, 500)...))), blamed
		}, want: registry.Answer{Content: registry.Content{Platforms: one, Looked: 2}}},
	}
}

func unsoundManifests() []inspected {
	top := func(f registry.Fault, status int) registry.Answer {
		return registry.Answer{Fault: f, Phase: registry.PhaseManifest, Status: status}
	}
	broken := func(mediaType, body string, change func(*registrytest.Object)) func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			d := c.Manifest(mediaType, []byte(body))
			c.Break(d, change)
			return d, d
		}
	}
	unblamed := func(image func(c *registrytest.Content) (a, b ocispec.Descriptor)) func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return func(c *registrytest.Content) (a, b ocispec.Descriptor) { a, _ = image(c); return a, b }
	}
	none := func(*registrytest.Object) {}
	manifest, index := ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex
	return []inspected{
		{name: "other bytes", make: broken(manifest, `{"layers":[]}`, func(o *registrytest.Object) { o.Sent = []byte(`{"layers":[ ]}`) }), want: top(registry.FaultContentCorrupt, 200)},
		{name: "cut off", make: unblamed(broken(manifest, `{"layers":[]}`, func(o *registrytest.Object) { o.Cut = true })), want: top(registry.FaultContentCorrupt, 200)},
		{name: "not JSON", make: broken(manifest, `{"layers":`, none), want: top(registry.FaultContentCorrupt, 200)},
		{name: "empty", make: broken(manifest, ``, none), want: top(registry.FaultContentCorrupt, 200)},
		{name: "an index called a manifest", make: broken(manifest, `{"manifests":[{}]}`, none), want: top(registry.FaultUnsupportedFormat, 200)},
		{name: "a manifest called an index", make: broken(index, `{"config":{},"layers":[{}]}`, none), want: top(registry.FaultUnsupportedFormat, 200)},
		{name: "another type inside", make: broken(index, `{"mediaType":"`+manifest+`"}`, none), want: top(registry.FaultUnsupportedFormat, 200)},
		{name: "first schema inside", make: broken(manifest, `{"fsLayers":[{}]}`, none), want: top(registry.FaultUnsupportedFormat, 200)},
		{name: "first schema", make: unblamed(broken(schema1, `{"fsLayers":[{}]}`, none)), want: top(registry.FaultUnsupportedFormat, 200)},
		{name: "unknown type", make: broken("application/vnd.example", `{}`, none), want: top(registry.FaultUnsupportedFormat, 200)},
		{name: "page", make: unblamed(broken("text/html", `<p>`, none)), want: top(registry.FaultWebPage, 200)},
		{name: "page that says it is a manifest", make: unblamed(broken(manifest, "\n<!DOCTYPE html><p>", none)), want: top(registry.FaultWebPage, 200)},
		{name: "too large", make: unblamed(broken(manifest, `{"a":"`+strings.Repeat("x", 4<<20)+`"}`, none)), want: top(registry.FaultUnsupportedFormat, 200)},
		{name: "no match", make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			evil := arm64()
			evil.Architecture = "<script>"
			return c.Index(c.Image(ocispec.Platform{OS: "windows", Architecture: "amd64"}), c.Image(arm64()), c.Image(evil)), b
		}, want: registry.Answer{Fault: registry.FaultPlatformMismatch, Phase: registry.PhaseManifest, Content: registry.Content{Platforms: []string{"linux/arm64", "windows/amd64"}}}},
		{name: "empty index", make: func(c *registrytest.Content) (a, b ocispec.Descriptor) { return c.Index(), b },
			want: top(registry.FaultPlatformMismatch, 200)},
		{name: "no match by the config", make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			d := c.Image(arm64())
			d.Platform = nil
			return c.Index(d), b
		}, want: registry.Answer{Fault: registry.FaultPlatformMismatch, Content: registry.Content{Looked: 1}}},
		{name: "386 on amd64", make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			return c.Index(c.Image(ocispec.Platform{OS: "linux", Architecture: "386"})), b
		}, want: registry.Answer{Fault: registry.FaultPlatformMismatch, Phase: registry.PhaseManifest, Content: registry.Content{Platforms: []string{"linux/386"}}}},
		{name: "386 on amd64, older runtime", opts: registry.InspectOptions{Compatible: true}, make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			return c.Index(c.Image(ocispec.Platform{OS: "linux", Architecture: "386"})), b
		}, want: registry.Answer{Content: registry.Content{Platforms: []string{"linux/386"}, Looked: 1}}},
	}
}

func unsoundChildren() []inspected {
	child := func(change func(*registrytest.Object)) func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			b = c.Image(amd64(), c.Layer(1))
			c.Break(b, change)
			return c.Index(b), b
		}
	}
	want := func(f registry.Fault, status int) registry.Answer {
		return registry.Answer{Fault: f, Phase: registry.PhaseManifest, Status: status, Content: registry.Content{Platforms: []string{"linux/amd64"}}}
	}
	return []inspected{
		{name: "missing", make: child(func(o *registrytest.Object) { o.Status = 404 }), want: want(registry.FaultContentMissing, 404)},
		{name: "forbidden", make: child(func(o *registrytest.Object) { o.Status = 403 }), want: want(registry.FaultForbidden, 403)},
		{name: "withheld", make: child(func(o *registrytest.Object) { o.Status = 412 }), want: want(registry.FaultPolicyBlocked, 412)},
		{name: "limited", make: child(func(o *registrytest.Object) { o.Status = 429 }), want: want(registry.FaultRateLimited, 429)},
		{name: "other bytes", make: child(func(o *registrytest.Object) { o.Sent = []byte("{}") }), want: want(registry.FaultContentCorrupt, 200)},
		{name: "another digest", make: child(func(o *registrytest.Object) { o.Sent, o.Said = []byte("{}"), "none" }), want: want(registry.FaultContentCorrupt, 200)},
		{name: "wrong size", make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			b = c.Image(amd64())
			b.Size++
			return c.Index(b), b
		}, want: want(registry.FaultContentCorrupt, 200)},
	}
}

// zipped packs anything.
func zipped(t *testing.T, content []byte) []byte {
	t.Helper()
	packed, err := registrytest.Zipped(content)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// unsoundBlobs break the second layer of two, or the config.
func unsoundBlobs(t *testing.T) []inspected {
	layer := func(change func(*registrytest.Object)) func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			b = c.Layer(20)
			c.Break(b, change)
			return c.Image(amd64(), c.Layer(10), b), b
		}
	}
	config := func(change func(*registrytest.Object)) func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			b = c.Config(amd64())
			c.Break(b, change)
			return c.Artifact(b), b
		}
	}
	of := func(mediaType string, body []byte) func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			b = c.Blob(mediaType, body)
			return c.Image(amd64(), b), b
		}
	}
	unblamed := func(layers int, types ...string) func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			var ds []ocispec.Descriptor
			for _, mediaType := range types {
				ds = append(ds, c.Blob(mediaType, []byte(mediaType)))
			}
			return c.Artifact(c.Config(amd64(), slices.Repeat([]digest.Digest{digest.FromString("a layer")}, layers)...), ds...), b
		}
	}
	want := func(f registry.Fault, status, looked int) registry.Answer {
		return registry.Answer{Fault: f, Status: status, Content: registry.Content{Looked: looked, Platforms: []string{"linux/amd64"}}}
	}
	early := func(f registry.Fault, status int) registry.Answer {
		return registry.Answer{Fault: f, Status: status, Content: registry.Content{Looked: 1}}
	}
	thorough := registry.InspectOptions{Thorough: true}
	flip := func(o *registrytest.Object) { o.Sent = bytes.Clone(o.Body); o.Sent[len(o.Sent)/2] ^= 1 }
	packed := func(c *registrytest.Content) []byte {
		var body []byte
		c.Break(c.Layer(5000), func(o *registrytest.Object) { body = bytes.Clone(o.Body) })
		return body
	}
	return []inspected{
		{name: "layer missing", make: layer(func(o *registrytest.Object) { o.Status = 404 }), want: want(registry.FaultContentMissing, 404, 3)},
		{name: "layer forbidden", make: layer(func(o *registrytest.Object) { o.Status = 403 }), want: want(registry.FaultForbidden, 403, 3)},
		{name: "layer's server broken", make: layer(func(o *registrytest.Object) { o.Status = 503 }), want: want(registry.FaultServerError, 503, 3)},
		{name: "layer's request is bad", make: layer(func(o *registrytest.Object) { o.Status = 400 }), want: want(registry.FaultUnexpectedAnswer, 400, 3)},
		{name: "page instead of a layer", make: layer(func(o *registrytest.Object) { o.Type = "text/html" }), want: want(registry.FaultWebPage, 206, 3)},
		{name: "layer too short", make: layer(func(o *registrytest.Object) { o.Sent = o.Body[:9] }), want: want(registry.FaultContentCorrupt, 206, 3)},
		{name: "layer too short, no ranges", make: layer(func(o *registrytest.Object) { o.Sent, o.NoRange = o.Body[:9], true }), want: want(registry.FaultContentCorrupt, 200, 3)},
		{name: "layer empty", make: layer(func(o *registrytest.Object) { o.Sent = []byte{} }), want: want(registry.FaultContentCorrupt, 200, 3)},
		{name: "a glance does not see a wrong digest", make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			a, _ = layer(flip)(c)
			return a, b
		}, want: registry.Answer{Content: registry.Content{Platforms: []string{"linux/amd64"}, Looked: 3}}},
		{name: "wrong digest", opts: thorough, make: layer(flip), want: want(registry.FaultContentCorrupt, 200, 3)},
		{name: "wrong digest of what is not packed", opts: thorough, make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			a, b = of(ocispec.MediaTypeImageLayer, make([]byte, 1000))(c)
			c.Break(b, flip)
			return a, b
		}, want: want(registry.FaultContentCorrupt, 200, 2)},
		{name: "cut off", opts: thorough, make: layer(func(o *registrytest.Object) { o.Cut = true }), want: want(registry.FaultContentCorrupt, 200, 3)},
		{name: "not packed as it says", opts: thorough, make: of(ocispec.MediaTypeImageLayerGzip, bytes.Repeat([]byte("junk"), 500)), want: want(registry.FaultContentCorrupt, 200, 2)},
		{name: "pack is cut off", opts: thorough, make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			body := packed(c)
			return of(ocispec.MediaTypeImageLayerGzip, body[:len(body)-9])(c)
		}, want: want(registry.FaultContentCorrupt, 200, 2)},
		{name: "unpacks to something else than the config says", opts: thorough, make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			b = c.Layer(20)
			return c.Artifact(c.Config(amd64(), digest.FromString("another")), b), b
		}, want: want(registry.FaultContentCorrupt, 200, 2)},
		{name: "no archive in the pack", opts: thorough, make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			return of(ocispec.MediaTypeImageLayerGzip, zipped(t, bytes.Repeat([]byte("junk"), 500)))(c)
		}, want: want(registry.FaultContentCorrupt, 200, 2)},
		{name: "config missing", make: config(func(o *registrytest.Object) { o.Status = 404 }), want: early(registry.FaultContentMissing, 404)},
		{name: "config of other bytes", make: config(flip), want: early(registry.FaultContentCorrupt, 200)},
		{name: "config too long", make: config(func(o *registrytest.Object) { o.Sent = append(bytes.Clone(o.Body), ' ') }), want: early(registry.FaultContentCorrupt, 200)},
		{name: "config cut off", make: config(func(o *registrytest.Object) { o.Cut = true }), want: early(registry.FaultContentCorrupt, 200)},
		{name: "config not JSON", make: func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			b = c.Blob(ocispec.MediaTypeImageConfig, []byte("{"))
			return c.Artifact(b), b
		}, want: early(registry.FaultContentCorrupt, 200)},
		{name: "no config", make: func(c *registrytest.Content) (a, b ocispec.Descriptor) { return c.Artifact(b), b },
			want: early(registry.FaultUnsupportedFormat, 200)},
		{name: "a layer that is none", make: unblamed(2, ocispec.MediaTypeImageLayerGzip, "application/vnd.example"), want: want(registry.FaultUnsupportedFormat, 200, 1)},
		{name: "a layer of a later format", make: unblamed(1, "application/vnd.oci.image.layer.v9.cpio"), want: want(registry.FaultUnsupportedFormat, 200, 1)},
		{name: "more layers than the config has", make: unblamed(1, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayer), want: want(registry.FaultUnsupportedFormat, 200, 1)},
	}
}

func TestInspect(t *testing.T) {
	noGoroutinesLeft(t)
	for group, cases := range map[string][]inspected{
		"sound": soundImages(), "manifest": unsoundManifests(), "child": unsoundChildren(), "blob": unsoundBlobs(t),
	} {
		for _, tc := range cases {
			t.Run(group+"/"+tc.name, tc.run)
		}
	}
}

// How large an image is, is known as soon as its manifest is, whatever becomes of
// its blobs; of an index it is the image for the platform.
func TestInspectSize(t *testing.T) {
	for name, status := range map[string]int{"sound": 0, "refused": http.StatusForbidden} {
		var first, second ocispec.Descriptor
		s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			first, second = c.Layer(10), c.Layer(2000)
			c.Break(first, func(o *registrytest.Object) { o.Status = status })
			return c.Index(c.Image(arm64(), c.Layer(5000)), c.Image(amd64(), first, second, first)), b
		})
		a := inspect(t, s, ":1.0", registry.InspectOptions{})
		if len(a.Content.Parts) != 3 || a.Found != (status == 0) {
			t.Fatalf("%s: answer %+v", name, a)
		}
		want := []registry.Part{a.Content.Parts[0], {Digest: first.Digest.String(), Size: first.Size}, {Digest: second.Digest.String(), Size: second.Size}}
		if !slices.Equal(a.Content.Parts, want) || a.Content.Compressed != a.Content.Parts[0].Size+first.Size+second.Size || a.Content.Parts[0].Size == 0 {
			t.Errorf("%s: %d bytes in %+v, want %+v", name, a.Content.Compressed, a.Content.Parts, want)
		}
	}
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return c.Index(c.Image(arm64(), c.Layer(1))), b
	})
	if a := inspect(t, s, ":1.0", registry.InspectOptions{}); a.Content.Compressed != 0 || len(a.Content.Parts) != 0 {
		t.Errorf("of another platform: %+v", a)
	}
}

// What is asked for by digest is measured by that digest.
func TestInspectDigest(t *testing.T) {
	s, top, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) { return c.Image(amd64()), b })
	if a := inspect(t, s, "@"+top.Digest.String(), registry.InspectOptions{}); !a.Found {
		t.Errorf("answer %+v", a)
	}
	s, top, _ = holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		a = c.Image(amd64())
		c.Break(a, func(o *registrytest.Object) { o.Sent, o.Said = []byte("{}"), "none" })
		return a, b
	})
	a := inspect(t, s, "@"+top.Digest.String(), registry.InspectOptions{})
	check(t, a, registry.FaultContentCorrupt, registry.PhaseManifest)
	if a.Content.Blob != top.Digest.String() {
		t.Errorf("blob %q", a.Content.Blob)
	}
}

// The digests that the runtime's text names come first, those of other images
// not at all.
func TestInspectNamedBlobsFirst(t *testing.T) {
	var last ocispec.Descriptor
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		var layers []ocispec.Descriptor
		for n := range 12 {
			layers = append(layers, c.Layer(n*100))
		}
		last = layers[11]
		return c.Image(amd64(), layers...), b
	})
	a := inspect(t, s, ":1.0", registry.InspectOptions{Blobs: []string{registrytest.Digest, last.Digest.String(), "junk"}})
	lines := s.Lines()
	if !a.Found || len(lines) != 10 || lines[2] != "GET /v2/team/app/blobs/"+last.Digest.String() {
		t.Errorf("answer %+v, requests %q", a, lines)
	}
	for _, r := range s.Requests()[2:] {
		if r.Header.Get("Range") != "bytes=0-0" {
			t.Errorf("%s asks for %q", r.Path, r.Header.Get("Range"))
		}
	}
}

// Layers that do not fit are left, and smaller ones taken.
func TestInspectDownloadsWhatFits(t *testing.T) {
	var small, large ocispec.Descriptor
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		large = c.Blob(ocispec.MediaTypeImageLayer, make([]byte, 33<<20))
		small = c.Layer(7)
		return c.Image(amd64(), large, small), b
	})
	a := inspect(t, s, ":1.0", registry.InspectOptions{Thorough: true, Blobs: []string{large.Digest.String()}}.Within(time.Minute))
	lines := s.Lines()
	if !a.Found || a.Content.Looked != 3 || len(lines) != 5 || !strings.HasSuffix(lines[4], small.Digest.String()) {
		t.Errorf("answer %+v, requests %q", a, lines)
	}
}

// A place that blobs are redirected to is named, gets no credential, and is
// blamed for its own faults.
func TestInspectRedirectedBlobs(t *testing.T) {
	ca := catest.New(t)
	gone := "https://" + registrytest.Name + ":" + sockettest.ClosedPort(t)
	for name, tc := range map[string]struct {
		to     func(t *testing.T, layer []byte) string
		want   registry.Fault
		status int
	}{
		"good":          {elsewhere(ca, func(*registrytest.Object) {}), "", 200},
		"forbids":       {elsewhere(ca, func(o *registrytest.Object) { o.Status = 403 }), registry.FaultForbidden, 403},
		"has it not":    {elsewhere(ca, func(o *registrytest.Object) { o.Status = 404 }), registry.FaultContentMissing, 404},
		"limits":        {elsewhere(ca, func(o *registrytest.Object) { o.Status = 429 }), registry.FaultRateLimited, 429},
		"is untrusted":  {elsewhere(catest.New(t), func(*registrytest.Object) {}), registry.FaultTLSUntrusted, 0},
		"refuses":       {func(*testing.T, []byte) string { return gone }, registry.FaultConnectionRefused, 0},
		"has no name":   {func(*testing.T, []byte) string { return "https://cdn.nowhere.test" }, registry.FaultNameNotFound, 0},
		"is forbidden":  {func(*testing.T, []byte) string { return "http://169.254.169.254" }, registry.FaultAddressForbidden, 0},
		"speaks no TLS": {func(t *testing.T, _ []byte) string { return "https://" + registrytest.Name + ":" + plainPort(t) }, registry.FaultHTTPSMismatch, 0},
		"hangs up":      {func(t *testing.T, _ []byte) string { return "https://" + hangingUp(t) }, registry.FaultNetworkUnreachable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			content := registrytest.NewContent(t)
			layer := content.Layer(50)
			var to string
			content.Break(layer, func(o *registrytest.Object) {
				to = tc.to(t, o.Body)
				o.Location = to + "/v2/cdn/blobs/" + layer.Digest.String() + "?signature=" + secret
			})
			content.Tag("1.0", content.Image(amd64(), layer))
			s := registrytest.New(t, registrytest.Config{CA: ca, Passwords: known(), Repositories: []registrytest.Repository{
				{Name: "team/app", Content: content, Auth: registrytest.Bearer},
			}})
			a := endpoint(t, options(trusting(t, s)), s.Host).Inspect(t.Context(), ref(t, s.Host+"/team/app:1.0"), good(), registry.InspectOptions{}.On(amd64()))
			check(t, a, tc.want, registry.PhaseBlob)
			if a.Status != tc.status || a.Content.Looked != 2 || a.Auth.TokenHost != s.Host {
				t.Errorf("answer %+v", a)
			}
			if tc.want != "" && (a.Endpoint != to || a.Redirects.Via != "https://"+s.Host || a.Content.Blob != layer.Digest.String()) {
				t.Errorf("endpoint %s via %s, blob %s", a.Endpoint, a.Redirects.Via, a.Content.Blob)
			}
			if want := strings.Count(strings.Join(s.Lines(), "\n"), "POST /token"); want != 1 {
				t.Errorf("requests %q, want one for a token", s.Lines())
			}
		})
	}
}

// elsewhere is a place that has a layer, and gets the plain request.
func elsewhere(ca *catest.CA, change func(*registrytest.Object)) func(*testing.T, []byte) string {
	return func(t *testing.T, body []byte) string {
		content := registrytest.NewContent(t)
		content.Break(content.Blob("", body), change)
		s := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "cdn", Content: content}}})
		t.Cleanup(func() {
			for _, r := range s.Requests() {
				if r.Auth != "" || r.Header.Get("Range") != "bytes=0-0" {
					t.Errorf("request %+v", r)
				}
			}
		})
		return "https://" + s.Host
	}
}

// A registry may protect its blobs alone.
func TestInspectProtectedBlobs(t *testing.T) {
	content := registrytest.NewContent(t)
	content.Tag("1.0", content.Image(amd64(), content.Layer(1)))
	s := registrytest.New(t, registrytest.Config{Passwords: known(), Repositories: []registrytest.Repository{
		{Name: "team/app", Content: content, BlobAuth: new(registrytest.Basic)},
	}})
	e := endpoint(t, options(trusting(t, s)), s.Host)
	want := registry.InspectOptions{}.On(amd64())
	if a := e.Inspect(t.Context(), ref(t, s.Host+"/team/app:1.0"), good(), want); !a.Found || !a.Auth.CredentialSent {
		t.Errorf("answer %+v", a)
	}
	check(t, e.Inspect(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil, want), registry.FaultUnauthorized, registry.PhaseBlob)
}

// What Probe finds wrong, Inspect finds wrong in the same way.
func TestInspectWithoutManifest(t *testing.T) {
	for name, tc := range map[string]struct {
		config registrytest.Config
		repo   registrytest.Repository
		cred   *credential.Credential
		want   registry.Fault
		phase  registry.Phase
	}{
		"tag missing":     {repo: registrytest.Repository{Tags: []string{"2.0"}}, want: registry.FaultTagNotFound, phase: registry.PhaseManifest},
		"login refused":   {config: registrytest.Config{Passwords: known()}, repo: registrytest.Repository{Auth: registrytest.Basic}, cred: bad(), want: registry.FaultUnauthorized, phase: registry.PhaseManifest},
		"token refused":   {config: registrytest.Config{Passwords: known()}, repo: registrytest.Repository{Auth: registrytest.Bearer}, cred: bad(), want: registry.FaultUnauthorized, phase: registry.PhaseToken},
		"withheld":        {repo: registrytest.Repository{Status: 412}, want: registry.FaultPolicyBlocked, phase: registry.PhaseManifest},
		"connection lost": {repo: registrytest.Repository{Behaviour: registrytest.Reset}, want: registry.FaultNetworkUnreachable, phase: registry.PhaseManifest},
	} {
		t.Run(name, func(t *testing.T) {
			tc.repo.Name = "team/app"
			tc.config.Repositories = []registrytest.Repository{tc.repo}
			s := registrytest.New(t, tc.config)
			a := endpoint(t, options(trusting(t, s)), s.Host).Inspect(t.Context(), ref(t, s.Host+"/team/app:1.0"), tc.cred, registry.InspectOptions{})
			check(t, a, tc.want, tc.phase)
			if a.Content.Looked != 0 || a.Content.Platform == "" {
				t.Errorf("answer %+v", a)
			}
		})
	}
}

// Our own deadline is no fault of a registry that is only slow, and one of a
// registry that says nothing.
func TestInspectDeadline(t *testing.T) {
	noGoroutinesLeft(t)
	stalled := func(when func(*registrytest.Object)) *registrytest.Server {
		s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			layer := c.Blob(ocispec.MediaTypeImageLayer, make([]byte, 1<<20))
			c.Break(layer, when)
			return c.Image(amd64(), layer), b
		})
		return s
	}
	opts := registry.InspectOptions{Thorough: true}
	slow := stalled(func(o *registrytest.Object) { o.Stall = true })
	var a registry.Answer
	// A slow machine needs longer to come to the download.
	for total := 250 * time.Millisecond; a.Content.Looked != 2 && total < time.Minute; total *= 2 {
		a = inspect(t, slow, ":1.0", opts.Within(total))
	}
	if a.Found || a.Fault != "" || a.Content.Looked != 2 || a.Content.Blob != "" || a.Phase != registry.PhaseBlob || !errors.Is(a.Err, context.DeadlineExceeded) {
		t.Errorf("slow: answer %+v", a)
	}
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Behaviour: registrytest.Hang}}})
	if a := inspect(t, s, ":1.0", opts.Within(50*time.Millisecond)); a.Fault != registry.FaultConnectionTimeout {
		t.Errorf("silent: answer %+v", a)
	}
}

// A registry that has given the manifest is not to blame for the time that we
// have: neither where it says nothing more, nor where much is left to ask.
func TestInspectLate(t *testing.T) {
	for name, tc := range map[string]struct {
		image  func(*registrytest.Content) (a, b ocispec.Descriptor)
		looked int
	}{
		"the manifest of a platform": {func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			child := c.Image(amd64(), c.Layer(1))
			c.Break(child, func(o *registrytest.Object) { o.Hang = true })
			return c.Index(child), b
		}, 0},
		"a glance": {func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			layer := c.Layer(2)
			c.Break(layer, func(o *registrytest.Object) { o.Hang = true })
			return c.Image(amd64(), c.Layer(1), layer), b
		}, 2},
		"the config": {func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			a = c.Image(amd64())
			c.Break(c.Config(amd64()), func(o *registrytest.Object) { o.Stall = true })
			return a, b
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, top, _ := holding(t, tc.image)
			var a registry.Answer
			// A slow machine needs longer to come to it.
			for total := 250 * time.Millisecond; (a.Content.Looked != tc.looked || a.Content.Digest == "") && total < time.Minute; total *= 2 {
				a = inspect(t, s, ":1.0", registry.InspectOptions{}.Within(total))
			}
			if a.Found || a.Fault != "" || a.Content.Blob != "" || a.Content.Looked != tc.looked || a.Content.Digest != top.Digest.String() || !errors.Is(a.Err, context.DeadlineExceeded) {
				t.Errorf("answer %+v", a)
			}
		})
	}
}

// An error has words, however small or large the layer that it is about is.
func TestInspectErrorBodies(t *testing.T) {
	denied := `{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"` + strings.Repeat("x", 100) + `"}]}`
	for name, tc := range map[string]struct {
		size  int
		words string
		want  registry.Fault
	}{
		"a small layer":               {32, denied, registry.FaultPolicyBlocked},
		"a large layer, a large page": {1 << 20, strings.Repeat(" ", 300<<10) + denied, registry.FaultForbidden},
	} {
		s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			layer := c.Blob(ocispec.MediaTypeImageLayer, make([]byte, tc.size))
			c.Break(layer, func(o *registrytest.Object) { o.Status, o.Words = 403, tc.words })
			return c.Image(amd64(), layer), b
		})
		a := inspect(t, s, ":1.0", registry.InspectOptions{})
		t.Log(name)
		check(t, a, tc.want, registry.PhaseBlob)
	}
}

func TestInspectGivenUp(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) { return c.Image(amd64()), b })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := endpoint(t, options(trusting(t, s)), s.Host).Inspect(ctx, ref(t, s.Host+"/team/app:1.0"), nil, registry.InspectOptions{})
	if a.Found || a.Fault != "" || !errors.Is(a.Err, context.Canceled) {
		t.Errorf("answer %+v", a)
	}
}

func TestInspectDurations(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) { return c.Image(amd64(), c.Layer(1)), b })
	a := inspect(t, s, ":1.0", registry.InspectOptions{})
	for _, phase := range []registry.Phase{registry.PhaseConnect, registry.PhaseTLS, registry.PhaseManifest, registry.PhaseBlob} {
		if a.Durations[phase] <= 0 {
			t.Errorf("no duration of phase %s in %v", phase, a.Durations)
		}
	}
	if _, pinged := a.Durations[registry.PhasePing]; pinged {
		t.Errorf("durations %v", a.Durations)
	}
}

// The platforms that are handed on are bounded.
func TestInspectManyPlatforms(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		var ds []ocispec.Descriptor
		for n := range 30 {
			ds = append(ds, c.Image(ocispec.Platform{OS: "plan9", Architecture: fmt.Sprintf("cpu%02d", n)}))
		}
		return c.Index(ds...), b
	})
	a := inspect(t, s, ":1.0", registry.InspectOptions{})
	if len(a.Content.Platforms) != 16 || a.Content.Platforms[0] != "plan9/cpu00" || a.Content.Platform != "linux/amd64" {
		t.Errorf("platforms %q, %q", a.Content.Platforms, a.Content.Platform)
	}
}

// containerd looks for a digest among the blobs; what is there is mostly no
// manifest.
func TestDigestAmongBlobs(t *testing.T) {
	content := registrytest.NewContent(t)
	manifest := content.Blob("", []byte(`{"layers":[]}`))
	content.Break(manifest, func(o *registrytest.Object) { o.Type = ocispec.MediaTypeImageManifest })
	layer := content.Layer(3)
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Content: content}}})
	e := endpoint(t, options(trusting(t, s)), s.Host)
	for d, want := range map[string]registry.Fault{manifest.Digest.String(): "", layer.Digest.String(): registry.FaultUnsupportedFormat} {
		a := e.Probe(t.Context(), ref(t, s.Host+"/team/app@"+d), nil)
		check(t, a, want, registry.PhaseManifest)
		if a.Status != http.StatusOK {
			t.Errorf("answer %+v", a)
		}
	}
}
