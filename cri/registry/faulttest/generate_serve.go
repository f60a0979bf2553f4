package faulttest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/whypull/whypull/cri/registry/registrytest"
)

// serve answers a request to a site.
func (s *site) serve(w *World, rw http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if path == "/token" {
		name := strings.TrimSuffix(strings.TrimPrefix(r.FormValue("scope"), "repository:"), ":pull")
		issuer(registrytest.TokenFor(name), false, unauthorized())(rw, r)
		return
	}
	if rest, ok := strings.CutPrefix(path, "/store/"); ok {
		kind, object, _ := strings.Cut(rest, "/")
		s.give(w, rw, r, kind, object, s.layer)
		return
	}
	rest, ok := strings.CutPrefix(path, s.prefix)
	switch {
	case !ok:
		answer(http.StatusNotFound)(rw, r)
		return
	case s.header && r.Header.Get(teamHeader) != team:
		refusal(http.StatusForbidden, "DENIED")(rw, r)
		return
	case rest == "/":
		if s.quiet || s.admit(w, rw, r, "") {
			answer(http.StatusOK)(rw, r)
		}
		return
	}
	rw.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	name, kind, object := registrytest.Split(apiPrefix + rest)
	if !s.admit(w, rw, r, name) {
		return
	}
	if kind != "manifests" && kind != "blobs" {
		answer(http.StatusNotFound)(rw, r)
		return
	}
	s.give(w, rw, r, kind, object, s.fault(r, kind, object))
}

// admit lets a request for a repository in, or answers it.
func (s *site) admit(w *World, rw http.ResponseWriter, r *http.Request, name string) bool {
	switch s.auth {
	case "basic":
		return basic(unauthorized())(rw, r)
	case "bearer":
		scheme := "https"
		if s.way == hostPlain {
			scheme = "http"
		}
		realm := scheme + "://" + w.hostport(s.host()) + "/token"
		if name == "" {
			rw.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm=%q,service=%q`, realm, domain))
			unauthorized()(rw, r)
			return false
		}
		return w.bearerFrom(realm, name, "")(rw, r)
	}
	return true
}

// give answers with an object, or with a fault in its place.
func (s *site) give(w *World, rw http.ResponseWriter, r *http.Request, kind, object, fault string) {
	unknown := map[string]string{"manifests": "MANIFEST_UNKNOWN", "blobs": "BLOB_UNKNOWN"}[kind]
	found, ok := s.find(kind, object)
	switch fault {
	case "page":
		webPage(http.StatusOK)(rw, r)
		return
	case "reset":
		registrytest.BreakOff(rw)
		return
	case "redirect":
		scheme := "https"
		if s.to.way == hostPlain {
			scheme = "http"
		}
		http.Redirect(rw, r, scheme+"://"+w.hostport(s.to.host())+"/store/"+kind+"/"+object+"?X-Signature=5160ed", http.StatusTemporaryRedirect) //nolint:gosec // to a host of the world
		return
	case "", "wrong", "short":
	default:
		status, err := strconv.Atoi(fault)
		if err != nil {
			status = http.StatusInternalServerError
		}
		code := "DENIED"
		if status == http.StatusNotFound {
			code = unknown
		}
		refusal(status, code)(rw, r)
		return
	}
	if !ok {
		refusal(http.StatusNotFound, unknown)(rw, r)
		return
	}
	as := found.digest()
	switch {
	case fault == "wrong" && kind == "manifests":
		found = found.altered()
	case fault == "wrong":
		found.body = flipped(found.body)
	case fault == "short":
		found.body = found.body[:len(found.body)/2]
	}
	give(rw, r, found, as)
}

// find returns an object of the site's repository.
func (s *site) find(kind, object string) (document, bool) {
	here := s.plan.content
	if s.stale {
		here = s.plan.stale
	}
	if kind == "manifests" && object == tag {
		return here.top, true
	}
	found, ok := here.documents()[digest.Digest(object)]
	return found, ok && (kind == "manifests") == (object == here.top.digest().String())
}
