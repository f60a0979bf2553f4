package faulttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/whypull/whypull/cri/registry/registrytest"
)

// repository is what a registry has at one path, and how it behaves there.
// Handlers that are nil do what a good registry does.
type repository struct {
	content image
	// admit lets a request in or answers it; nil: everyone is let in.
	admit func(http.ResponseWriter, *http.Request) bool
	// all answers every request, once it is let in.
	all http.HandlerFunc
	// manifest answers requests for manifests, byDigest only those that name a
	// digest; config, layer, second and tags the ones for these.
	manifest, byDigest, config, layer, second, tags http.HandlerFunc
	// token is the token server's answer to a request for this repository.
	token http.HandlerFunc
	// cdn is the answer of the host to which requests for blobs are redirected.
	cdn http.HandlerFunc
}

func (p *repository) serve(w http.ResponseWriter, r *http.Request, kind, object string) {
	if p.admit != nil && !p.admit(w, r) {
		return
	}
	if handler := p.faulty(kind, object); handler != nil {
		handler(w, r)
		return
	}
	if kind == "tags" {
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "", "tags": []string{tag}})
		return
	}
	if kind == "manifests" && object == tag {
		give(w, r, p.content.top, p.content.top.digest())
		return
	}
	found, ok := p.content.documents()[digest.Digest(object)]
	if !ok {
		refusal(http.StatusNotFound, map[string]string{"manifests": "MANIFEST_UNKNOWN", "blobs": "BLOB_UNKNOWN"}[kind])(w, r)
		return
	}
	give(w, r, found, found.digest())
}

// faulty is what answers in the place of a good registry, if anything.
func (p *repository) faulty(kind, object string) http.HandlerFunc {
	switch {
	case p.all != nil:
		return p.all
	case kind == "manifests" && p.byDigest != nil && strings.Contains(object, ":"):
		return p.byDigest
	case kind == "manifests":
		return p.manifest
	case kind == "tags":
		return p.tags
	case p.content.config.body != nil && object == p.content.config.digest().String():
		return p.config
	case p.content.layer.body != nil && object == p.content.layer.digest().String():
		return p.layer
	case p.content.second.body != nil && object == p.content.second.digest().String():
		return p.second
	}
	return nil
}

// give answers with a document, or a part of it, under a digest.
func give(w http.ResponseWriter, r *http.Request, d document, as digest.Digest) {
	w.Header().Set("Content-Type", d.mediaType)
	w.Header().Set("Docker-Content-Digest", as.String())
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.body))
}

// gives answers with a document under a digest that may be another's.
func gives(d document, as digest.Digest) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { give(w, r, d, as) }
}

// answer is an answer without a body.
func answer(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(status)
	}
}

// refusal is an answer with an error as the distribution specification has it.
func refusal(status int, code string) http.HandlerFunc {
	return saying(status, code, "the registry's own words")
}

func saying(status int, code, message string) http.HandlerFunc {
	body := fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message)
	return text(status, "application/json", body)
}

func text(status int, mediaType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = w.Write([]byte(body))
		}
	}
}

// webPage is an answer of something that is no registry.
func webPage(status int) http.HandlerFunc {
	page := text(status, "text/html; charset=utf-8", "<!doctype html><html><body>Sign in to the network</body></html>\n")
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Del("Docker-Distribution-Api-Version")
		page(w, r)
	}
}

// with adds a header to an answer.
func with(key, value string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(key, value)
		next(w, r)
	}
}

// redirect leads to another place, with the digest that was asked for and a
// signature such as stores of blobs have.
func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _, object := registrytest.Split(r.URL.Path)
		http.Redirect(w, r, to+"/"+object+"?X-Signature=5160ed", http.StatusTemporaryRedirect) //nolint:gosec // to a host of the world
	}
}

// brokenOff gives the beginning of a document, and then breaks the connection
// off. It never gives a part that begins elsewhere.
func brokenOff(d document) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", d.mediaType)
		w.Header().Set("Content-Length", fmt.Sprint(len(d.body)))
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return
		}
		_, _ = w.Write(d.body[:len(d.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to break off an answer
	}
}
