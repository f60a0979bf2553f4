package registry

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/oci"
)

// A challenge names a token server over TLS to a registry over TLS, and none of
// its text is handed on as it is.
func FuzzChallenge(f *testing.F) {
	for _, s := range []string{
		`Bearer realm="https://auth.test/token",service="registry.test",scope="repository:team/app:pull"`, `Basic realm="r"`,
		`Bearer realm="http://auth.test/token",error="insufficient_scope"`, `Bearer realm="https://user:p@[::1]:1/%zz"`, `bearer realm=`,
		`Bearer realm="\"\\",error_description="token expired"`, `Digest a=b`, `Bearer realm="HTTP://A"`, `Bearer realm="//h"`, "",
	} {
		f.Add(s, "Basic")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		h := http.Header{"Www-Authenticate": {first, second}}
		boundChallenges(h)
		if size := len(strings.Join(h["Www-Authenticate"], "")); size > maxChallenges {
			t.Errorf("%d bytes of challenges", size)
		}
		challenges := auth.ParseAuthHeader(h)
		if scheme, invalidToken := schemeOf(challenges); scheme == SchemeNone || invalidToken && scheme != SchemeBearer {
			t.Errorf("scheme %q, invalid token %t", scheme, invalidToken)
		}
		_ = challengeSaysExpired(h)
		for _, spoken := range []string{"https", "http"} {
			host, _, err := tokenServer(challenges, spoken)
			if clean(host, maxHostName) != host {
				t.Errorf("token server %q", host)
			}
			if err != nil {
				continue
			}
			i := slices.IndexFunc(challenges, func(c auth.Challenge) bool { return c.Scheme == auth.BearerAuth })
			realm, err := url.Parse(challenges[i].Parameters["realm"])
			if err != nil || realm.Scheme != "https" && realm.Scheme != spoken {
				t.Errorf("realm %v of a registry over %s, %v", realm, spoken, err)
			}
		}
	})
}

// Whatever a registry says of a limit, nobody waits longer than a day for it.
func FuzzLimits(f *testing.F) {
	f.Add("120", "0;w=21600", "100;w=21600", "60", 429)
	f.Add("Fri, 02 Jan 2026 03:05:05 GMT", "1", "-1", "1767323105000", 200)
	f.Add("-1", ";w=;w=99999999999", "x", "9223372036854775807", 429)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, after, remaining, limit, reset string, status int) {
		h := http.Header{
			"Retry-After": {after}, "Ratelimit-Remaining": {remaining}, "Ratelimit-Limit": {limit},
			"Ratelimit-Reset": {reset}, "X-Ratelimit-Reset": {after}, "Date": {after},
		}
		times := []time.Duration{wait(status, h, now), retryAfter(h, now), limitReset(h, now), window(h)}
		if l := rateLimit(h, nil); l != nil {
			if l.Limit < 0 || l.Remaining < 0 {
				t.Errorf("limit %+v", l)
			}
			times = append(times, l.Window)
		}
		for _, d := range times {
			if d < 0 || d > maxRetryAfter {
				t.Errorf("times %v", times)
			}
		}
		_ = clockOf(h, now)
	})
}

// What a part is said to be makes sense, or is not known.
func FuzzParts(f *testing.F) {
	for _, s := range []string{"bytes 0-511/1024", "bytes */7", "bytes 5-4/3", "bytes -1-9223372036854775807/-1", "bytes 0-0/*", ""} {
		f.Add(s, 206)
	}
	f.Fuzz(func(t *testing.T, part string, status int) {
		resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Range": {part}}, ContentLength: -1}
		if first, last, known := partOf(resp); known && (first < 0 || last < first) {
			t.Errorf("bytes %d to %d", first, last)
		}
		_, _ = sizeOf(resp)
	})
}

// Tags that are handed on are tags, sorted, and not too many.
func FuzzTags(f *testing.F) {
	f.Add([]byte(`{"name":"team/app","tags":["v1","latest","v1","","-x"]}`), "v1.2")
	f.Add([]byte(`{"tags":null}`), "x")
	f.Add([]byte(`{"tags":["a","\u0061",1]}`), "1-2_3")
	f.Add([]byte(`{"tags":[`+strings.Repeat(`"a",`, 200)+`"b"]}`), "z")
	f.Fuzz(func(t *testing.T, body []byte, missing string) {
		tags := tagsOf(body)
		if len(tags) > maxTags || !slices.IsSorted(tags) || slices.ContainsFunc(tags, func(s string) bool { return !isTag(s) }) {
			t.Errorf("tags %q", tags)
		}
		if near := neighbor(missing); !strings.HasPrefix(missing, near) || near == "" && missing != "" {
			t.Errorf("%q comes before %q", near, missing)
		}
	})
}

// No page is of a registry's API or a policy's refusal, whatever it says.
func FuzzErrorBody(f *testing.F) {
	for _, s := range []string{
		`{"errors":[{"code":"DENIED","message":"token has expired"}]}`, `{"errors":[{"code":"x"},{"code":"NAME_UNKNOWN"}]}`, `{"errors":[]}`,
		"<!DOCTYPE html><html>", `{"errors":"x"}`, "due to configured policy in", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if startsPage(body) && (isPolicy(http.StatusForbidden, body) || reply{body: body}.ofAPI()) {
			t.Errorf("a page is a policy or of an API")
		}
		_ = saysExpired(wordsOf(body))
	})
}

// A manifest, an index or a config of any content comes to an answer within its
// bounds, and none that is good without a digest that is right.
func FuzzContent(f *testing.F) {
	add := func(mediaType, body string) { f.Add(mediaType, "sha256:"+strings.Repeat("a", 64), []byte(body)) }
	layer := `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:` + strings.Repeat("b", 64) + `","size":9223372036854775807}`
	config := `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + strings.Repeat("c", 64) + `","size":7}`
	add(ocispec.MediaTypeImageManifest, `{"schemaVersion":2,`+config+`,"layers":[`+layer+`,`+layer+`]}`)
	add(ocispec.MediaTypeImageIndex, `{"manifests":[{"mediaType":"`+ocispec.MediaTypeImageManifest+`","digest":"sha256:`+strings.Repeat("d", 64)+`","size":1,"platform":{"os":"linux","architecture":"amd64"}},{}]}`)
	add(ocispec.MediaTypeImageManifest, `{"config":null,"layers":[{"size":-1}]}`)
	add("text/plain; charset", `{"fsLayers":[{}]}`)
	add(ocispec.MediaTypeImageConfig, `{"os":"linux","architecture":"arm64","rootfs":{"diff_ids":["sha256:x"]}}`)
	f.Fuzz(func(t *testing.T, mediaType, said string, body []byte) {
		i := newInspection(turns{all: []*turn{{conversation: &conversation{notes: newNotes()}}}}, InspectOptions{Blobs: []string{said}, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}})
		r := reply{status: http.StatusOK, header: http.Header{"Content-Type": {mediaType}, "Docker-Content-Digest": {said}}, body: body}
		d, flaw := i.verified(r)
		if right := digest.FromBytes(body); !flaw.found() && d.digest != right && digest.Digest(said).Validate() != nil {
			t.Errorf("digest %s, want %s", d.digest, right)
		}
		if len(d.manifest.Layers) > oci.MaxLayers || len(d.index) > oci.MaxManifests {
			t.Errorf("%d layers, %d manifests", len(d.manifest.Layers), len(d.index))
		}
		if child := i.choose(d.index); child != nil && (child.Digest.Validate() != nil || !isManifest(child.MediaType)) {
			t.Errorf("chosen %+v", child)
		}
		image, err := oci.ReadImage(body)
		if err == nil {
			_ = i.platformFlaw(image.Platform)
			_ = i.unpackFlaw(t.Context(), d.manifest, image)
			_ = unpackedDigests(d.manifest, image)
		}
		i.measure(d.manifest)
		if a := i.answer; a.Content.Compressed < 0 || len(a.Content.Parts) > maxLayers+1 || len(a.Content.Platforms) > maxPlatforms {
			t.Errorf("answer %+v", a)
		}
	})
}

// A layer of any bytes is sound or is not.
func FuzzLayer(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08\x00"), ocispec.MediaTypeImageLayerGzip)
	f.Add([]byte("\x28\xb5\x2f\xfd"), ocispec.MediaTypeImageLayerZstd)
	f.Add(make([]byte, 1024), ocispec.MediaTypeImageLayer)
	f.Fuzz(func(t *testing.T, body []byte, mediaType string) {
		if !isMarked(body, mediaType) && isSound(bytes.NewReader(body), mediaType, "", unpackable(1<<20)) {
			t.Errorf("sound without a mark: %q", body)
		}
	})
}
