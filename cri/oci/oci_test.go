package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// seeds are documents of all kinds, whole and broken.
func seeds() []string {
	return []string{
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:aa","size":7},"layers":[{"mediaType":"l","digest":"sha256:bb","size":1,"urls":["https://hub.test/x"],"annotations":{"a":"b","c":null}},{"data":"e30="}],"annotations":{"x":"y"}}`,
		`{"manifests":[{"digest":"sha256:cc","size":3,"platform":{"os":"linux","architecture":"arm","variant":"v7","os.version":"1","os.features":["a","b"]}},{"platform":null},{}]}`,
		`{"created":"2026-01-02T03:04:05Z","author":"me","os":"linux","architecture":"amd64","config":{"User":"0","Env":["A=B"],"ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}},"Labels":{"l":"m"},"Cmd":["x"],"Entrypoint":null,"ArgsEscaped":true},"rootfs":{"type":"layers","diff_ids":["sha256:dd"]},"history":[{"created":"2026-01-02T03:04:05Z","created_by":"x","empty_layer":true}]}`,
		`{"Layers":[{"SIZE":1}],"layers":[{"digest":"a"}],"layers":[]}`, `{"config":{"digest":"a"},"config":{"size":2}}`,
		`{"layers":[{"size":"1"}]}`, `{"layers":{}}`, `{"layers":null,"config":null,"manifests":null}`, `{"annotations":{"a":1}}`,
		`{"annotations":[]}`, `{"config":{"urls":[1]}}`, `{"config":{"data":"***"}}`, `{"config":{"Env":{"a":"b"}}}`, `{"history":[1]}`,
		`{"history":[{"created":"yesterday"}]}`, `{"rootfs":{"diff_ids":[1]}}`, `{"layers":[ { } , { "size" : 1e2 } ] }`, `{"layers":["\"]"]}`,
		`{"schemaVersion":"2"}`, `[]`, `null`, ``, `{`, `{"a":"\\\""}`, `{"fsLayers":[{}]}`, `{"config":5}`, `{"os":null}`, `{"os.features":"a"}`,
		`{"annotations":{"a":null,"b":"{[1,true"}}`, `{"annotations":{"a":{}}}`, `{"annotations":{"a":true}}`, `{"annotations":null}`, `{"annotations":""}`,
		`{"layers":[{"annotations":{"a":[]}}]}`, `{"config":{"annotations":{"a":1}}}`, `{"subject":{"annotations":{"a":-1}}}`, `{"subject":null}`,
		`{"config":{"data":"YQ=="}}`, `{"config":{"data":"YQ"}}`, `{"config":{"data":"Y\nQ=="}}`, `{"config":{"data":"\u0059Q=="}}`, `{"config":{"data":""}}`,
		`{"manifests":[{"data":null}]}`, `{"manifests":[{"data":[97]}]}`, `{"manifests":[{"data":1}]}`, `{"manifests":[{"data":"YQ==YQ=="}]}`,
		`{"tags":["v1","v2"]}`, `{"tags":[1]}`, `{"tags":{"a":"b"}}`, `{"errors":[{"code":"DENIED","message":"m"},{}]}`, `{"errors":["x"]}`,
	}
}

// whole is a document as image-spec's own types take it, without what is not
// kept.
func whole(d []ocispec.Descriptor) []ocispec.Descriptor {
	out := make([]ocispec.Descriptor, len(d))
	for n := range d {
		out[n] = kept(d[n])
	}
	return out
}

func kept(d ocispec.Descriptor) ocispec.Descriptor {
	d.Annotations, d.Data = nil, nil
	if len(d.URLs) > 0 {
		d.URLs = []string{""}
	}
	return d
}

// like holds what was read against what encoding/json reads into the types of
// image-spec.
func like(t *testing.T, what string, got any, err error, want any, wantErr error) {
	t.Helper()
	switch {
	case errors.Is(err, ErrTooLarge):
	case (err == nil) != (wantErr == nil):
		t.Errorf("%s: %v, and image-spec's types say %v", what, err, wantErr)
	case err == nil && !reflect.DeepEqual(got, want):
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

// repeats is true for a document of which one member may be there twice: what
// becomes of the first one's parts then is encoding/json's own affair.
func repeats(body []byte) bool {
	lower := bytes.ToLower(body)
	for _, name := range []string{"layers", "manifests", "diff_ids", "platform", "config", "os", "rootfs", "urls", "os.features"} {
		if bytes.Count(lower, []byte(`"`+name+`"`)) > 1 {
			return true
		}
	}
	return bytes.Contains(lower, []byte(`\u`))
}

func compare(t *testing.T, body []byte) {
	form, err := ReadForm(body)
	var wantForm struct {
		MediaType string            `json:"mediaType"`
		Config    json.RawMessage   `json:"config"`
		Layers    []json.RawMessage `json:"layers"`
		Manifests []json.RawMessage `json:"manifests"`
		FSLayers  []json.RawMessage `json:"fsLayers"`
	}
	wantErr := json.Unmarshal(body, &wantForm)
	like(t, "form", form, err, Form{wantForm.MediaType, len(wantForm.Config) > 0, len(wantForm.Layers), len(wantForm.Manifests), len(wantForm.FSLayers)}, wantErr)
	if repeats(body) {
		return
	}

	manifest, err := ReadManifest(body)
	var wantManifest ocispec.Manifest
	wantErr = json.Unmarshal(body, &wantManifest)
	wantManifest.Config, wantManifest.Layers = kept(wantManifest.Config), whole(wantManifest.Layers)
	wantManifest.Annotations, wantManifest.Subject = nil, nil
	manifest.Layers = whole(manifest.Layers)
	like(t, "manifest", manifest, err, wantManifest, wantErr)

	index, err := ReadIndex(body)
	var wantIndex ocispec.Index
	wantErr = json.Unmarshal(body, &wantIndex)
	like(t, "index", whole(index), err, whole(wantIndex.Manifests), wantErr)

	image, err := ReadImage(body)
	var wantImage ocispec.Image
	wantErr = json.Unmarshal(body, &wantImage)
	like(t, "image", image, err, ocispec.Image{Platform: wantImage.Platform, RootFS: wantImage.RootFS}, wantErr)
}

func TestAsImageSpecReads(t *testing.T) {
	t.Parallel()
	for _, body := range seeds() {
		t.Run(body[:min(len(body), 40)], func(t *testing.T) { compare(t, []byte(body)) })
	}
}

// What a stranger wrote is read as image-spec's own types read it, or is too
// large.
func FuzzDocuments(f *testing.F) {
	for _, body := range seeds() {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		compare(t, body)
		var list struct{ Tags []string }
		tags, err := ReadTags(body, func(string) bool { return true })
		if wantErr := json.Unmarshal(body, &list); (err == nil) != (wantErr == nil) || err == nil && !slices.Equal(tags, list.Tags) {
			t.Errorf("tags %q, %v, want %q, %v", tags, err, list.Tags, wantErr)
		}
		if codes := ReadErrorCodes(body); len(codes) > maxErrors || len(codes) > 0 && !json.Valid(body) {
			t.Errorf("%d codes, %v", len(codes), err)
		}
	})
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	many := func(entry string, n int) string { return strings.TrimSuffix(strings.Repeat(entry+",", n), ",") }
	read := map[string]func([]byte) error{
		"manifest": func(b []byte) error { _, err := ReadManifest(b); return err },
		"index":    func(b []byte) error { _, err := ReadIndex(b); return err },
		"image":    func(b []byte) error { _, err := ReadImage(b); return err },
	}
	for _, tc := range []struct {
		what, before, entry, after string
		most                       int
	}{
		{"manifest", `{"layers":[`, "{}", `]}`, MaxLayers},
		{"index", `{"manifests":[`, "{}", `]}`, MaxManifests},
		{"index", `{"manifests":[{"platform":{"os.features":[`, `""`, `]}}]}`, maxFeatures},
		{"manifest", `{"config":{"urls":[`, `"x"`, `]}}`, maxCommas + 1},
		{"manifest", `{"annotations":{`, `"":""`, `}}`, maxCommas + 1},
		{"image", `{"rootfs":{"diff_ids":[`, `""`, `]}}`, MaxLayers},
		{"image", `{"history":[`, `{}`, `]}`, maxCommas + 1},
		{"image", `{"config":{"Volumes":{`, `"":{}`, `}}}`, maxCommas + 1},
	} {
		if err := read[tc.what]([]byte(tc.before + many(tc.entry, tc.most) + tc.after)); err != nil {
			t.Errorf("%s with %d of %s: %v", tc.before, tc.most, tc.entry, err)
		}
		if err := read[tc.what]([]byte(tc.before + many(tc.entry, tc.most+1) + tc.after)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s with %d of %s: %v", tc.before, tc.most+1, tc.entry, err)
		}
	}
	if _, err := ReadManifest([]byte(`{"config":{"digest":"` + strings.Repeat("a", maxText) + `"}}`)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long digest: %v", err)
	}
}

// BenchmarkReadForm measures documents that are as large as any that is read.
func BenchmarkReadForm(b *testing.B) {
	const size = 4 << 20
	fill := func(before, entry, after string) []byte {
		return []byte(before + strings.TrimSuffix(strings.Repeat(entry, (size-len(before)-len(after))/len(entry)), ",") + after)
	}
	for name, body := range map[string][]byte{
		"entries": fill(`{"layers":[`, `{},`, `]}`),
		"text":    fill(`{"layers":[],"annotations":{"note":"`, "x", `"}}`),
		"members": fill(`{`, `"a":1,`, `}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ReadForm(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
