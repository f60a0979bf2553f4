package faulttest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// transferCases are about the second of two layers, which is too large to be
// looked at as a whole in passing: what is wrong with it shows when it is sent.
func (w *World) transferCases() ([]spec, error) {
	var out []spec
	table := transfers(w.retryAfter())
	for _, name := range sortedKeys(table) {
		c, err := content{name: name, platform: w.config.Platform}.two()
		if err != nil {
			return nil, err
		}
		i, err := c.build()
		if err != nil {
			return nil, err
		}
		t := table[name]
		s := simple(name, "", t.truth, &repository{content: i})
		if t.second != nil {
			s.repo.second = t.second(i.second)
		}
		s.Slow = t.slow
		out = append(out, s)
	}
	return out, nil
}

// transfer is how a second layer is sent.
type transfer struct {
	truth  Truth
	second func(document) http.HandlerFunc // nil: as it should be
	slow   bool
}

func transfers(retryAfter string) map[string]transfer {
	always := func(answer http.HandlerFunc) func(document) http.HandlerFunc {
		return func(document) http.HandlerFunc { return answer }
	}
	limited := with("Retry-After", retryAfter, refusal(http.StatusTooManyRequests, "TOOMANYREQUESTS"))
	return map[string]transfer{
		"two-layers-works":     {truth: Works},
		"second-without-parts": {truth: Works, second: unparted},
		"second-trickles":      {truth: Works, second: trickling, slow: true},
		"second-cut-off":       {truth: ContentCorrupt, second: cutOff},
		"second-end-missing":   {truth: ContentCorrupt, second: endMissing},
		"second-file-short":    {truth: ContentCorrupt, second: fileShort},
		"second-403":           {truth: AccessDenied, second: always(refusal(http.StatusForbidden, "DENIED"))},
		"second-404":           {truth: ContentCorrupt, second: always(refusal(http.StatusNotFound, "BLOB_UNKNOWN"))},
		"second-429":           {truth: RateLimited, second: always(limited), slow: true},
		"second-500":           {truth: RegistryError, second: always(refusal(http.StatusInternalServerError, "UNKNOWN"))},
	}
}

// unparted gives the whole, whatever part is asked for.
func unparted(d document) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		give(w, r, d, d.digest())
	}
}

// trickling gives a document in small pieces, for a few seconds altogether.
func trickling(d document) http.HandlerFunc {
	const pieces = 30
	return func(w http.ResponseWriter, r *http.Request) {
		give(slowly{w, r, len(d.body) / pieces}, r, d, d.digest())
	}
}

// slowly writes no more than so many bytes at a time, with pauses. A part is
// divided as finely as the whole.
type slowly struct {
	http.ResponseWriter
	r    *http.Request
	step int
}

// Write implements io.Writer.
func (s slowly) Write(p []byte) (int, error) {
	step := max(min(s.step, len(p)/4), 1)
	for n := 0; n < len(p); n += step {
		select {
		case <-s.r.Context().Done():
			return n, s.r.Context().Err()
		case <-time.After(100 * time.Millisecond):
		}
		if _, err := s.ResponseWriter.Write(p[n:min(n+step, len(p))]); err != nil {
			return n, err
		}
		_ = http.NewResponseController(s.ResponseWriter).Flush()
	}
	return len(p), nil
}

// cutOff announces all of a document, also by HEAD, and has only the first half:
// a file that was cut short below a registry that keeps its size elsewhere. A
// part that begins behind it is announced as well.
func cutOff(d document) http.HandlerFunc { return has(d, len(d.body)/2) }

// endMissing is cutOff for a file without its last hundred bytes.
func endMissing(d document) http.HandlerFunc { return has(d, len(d.body)-100) }

// has announces a document, sends as much of it as it has, and breaks off.
func has(d document, much int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		first, last, part := bounds(r, len(d.body))
		w.Header().Set("Content-Type", d.mediaType)
		w.Header().Set("Content-Length", strconv.Itoa(last-first+1))
		w.Header().Set("Accept-Ranges", "bytes")
		status := http.StatusOK
		if part {
			status = http.StatusPartialContent
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(d.body)))
		}
		w.WriteHeader(status)
		if r.Method == http.MethodHead {
			return
		}
		_, _ = io.Copy(w, bytes.NewReader(d.body[min(first, much):min(last+1, much)]))
		if last >= much {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to break off an answer
		}
	}
}

// bounds are those of the part that is asked for; of the whole if there is none.
func bounds(r *http.Request, size int) (first, last int, part bool) {
	from, to, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	first, err := strconv.Atoi(from)
	if err != nil || first < 0 || first >= size {
		return 0, size - 1, false
	}
	last, err = strconv.Atoi(to)
	if err != nil || last >= size {
		last = size - 1
	}
	return first, last, last >= first
}

// fileShort gives the first half of a document as if it were all, so that nothing
// is behind it.
func fileShort(d document) http.HandlerFunc {
	return gives(document{d.mediaType, d.body[:len(d.body)/2]}, d.digest())
}
