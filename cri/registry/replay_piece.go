package registry

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// edge is the number of bytes of a layer's beginning and end that are requested.
	edge = 512
	// maxSmall is the size up to which a layer is fetched whole.
	maxSmall = 64 << 10
	// maxPart is the number of bytes that are read of a layer from a server without ranges.
	maxPart = 1 << 20
)

// lookAt checks one layer, within a third of the time limit. spend reserves bytes of what the
// lanes may download together from servers without ranges.
func (i *inspection) lookAt(ctx context.Context, d ocispec.Descriptor, p *Piece, spend func(size int64) bool) verdict {
	whole, start := i.ends, time.Now()
	defer func() { i.ends = whole }()
	if own := start.Add(16 * i.rest / 3); own.Before(whole) {
		i.ends = own
	}
	ctx, cancel := context.WithDeadline(ctx, i.ends)
	defer cancel()
	before := i.received
	f := i.piece(ctx, d, p, spend)
	p.Took, p.Received = time.Since(start), i.received-before
	i.at(d, f)
	p.Fault = f.fault
	v := verdict{flaw: f, asked: true}
	if f.found() {
		p.Seen = ""
		v.answer, v.source, v.missed = i.answer, i.turns.index(i.conversation), i.turns.missed
		last := i.notes.now()
		v.proxy, v.cert = last.lastProxy, last.peer().cert
	}
	return v
}

// piece checks as much of a layer as possible with two requests.
func (i *inspection) piece(ctx context.Context, d ocispec.Descriptor, p *Piece, spend func(size int64) bool) flaw {
	if d.Size <= maxSmall {
		return seen(p, SeenWhole, i.verify(ctx, d))
	}
	resp, f := i.begin(ctx, d)
	if f.found() {
		return f
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	if size, known := sizeOf(resp); known && size != d.Size {
		return flaw{fault: FaultContentCorrupt, status: resp.StatusCode}
	}
	ranged := resp.StatusCode == http.StatusPartialContent
	if !ranged && d.Size <= maxPart && spend(d.Size) {
		return seen(p, SeenWhole, i.verifyBody(resp, d))
	}
	if f := seen(p, SeenFirst, i.beginning(resp, d)); f.found() || !ranged {
		return f // and close the connection if there is more
	}
	return i.ending(ctx, d, p)
}

// begin requests the first bytes, or the whole layer if the server returns other bytes.
func (i *inspection) begin(ctx context.Context, d ocispec.Descriptor) (*http.Response, flaw) {
	resp, f := i.open(ctx, d, &span{0, edge - 1})
	if f.found() {
		return nil, f
	}
	if first, _, known := partOf(resp); resp.StatusCode == http.StatusPartialContent && (!known || first != 0) {
		_ = resp.Body.Close()
		return i.open(ctx, d, nil)
	}
	return resp, flaw{}
}

// seen records how much was checked if there is no flaw.
func seen(p *Piece, much Seen, f flaw) flaw {
	if !f.found() {
		p.Seen = much
	}
	return f
}

// beginning reads the first bytes and checks whether they are those of a layer. A server may send
// fewer than requested (RFC 9110, 15.3.7).
func (i *inspection) beginning(resp *http.Response, d ocispec.Descriptor) flaw {
	size := int64(edge)
	if _, last, known := partOf(resp); known {
		size = min(size, last+1)
	}
	mark := make([]byte, size)
	if _, err := io.ReadFull(resp.Body, mark); err != nil {
		return i.cutShort(resp.StatusCode, err)
	}
	switch {
	case images.IsLayerType(d.MediaType) && startsPage(mark):
		return flaw{fault: FaultWebPage, status: resp.StatusCode}
	case !isMarked(mark, d.MediaType):
		return flaw{fault: FaultContentCorrupt, status: resp.StatusCode}
	}
	return flaw{}
}

// ending requests the last bytes, which a pull never does: a server that does not send them
// proves nothing about the layer, unless it reports another size or truncates the response.
func (i *inspection) ending(ctx context.Context, d ocispec.Descriptor, p *Piece) flaw {
	resp, f := i.fetch(ctx, d, &span{d.Size - edge, d.Size - 1})
	if f.found() {
		return f
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	if size, known := sizeOf(resp); known && size != d.Size {
		return flaw{fault: FaultContentCorrupt, status: resp.StatusCode}
	}
	if noRanges(resp.StatusCode) {
		return flaw{}
	}
	if f := i.declined(resp, d); f.found() {
		return f
	}
	first, last, known := partOf(resp)
	if !known || first != d.Size-edge {
		return flaw{}
	}
	n, err := io.ReadFull(resp.Body, make([]byte, min(last-first+1, edge)))
	if err != nil {
		return i.cutShort(resp.StatusCode, err)
	}
	if n == edge {
		p.Seen = SeenEnds
	}
	return flaw{}
}

// partOf returns the byte range of a response, from Content-Range: "bytes 0-511/1024".
func partOf(resp *http.Response) (first, last int64, known bool) {
	if resp.StatusCode != http.StatusPartialContent {
		return 0, 0, false
	}
	bounds, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "/")
	from, to, _ := strings.Cut(bounds, "-")
	first, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	last, err = strconv.ParseInt(to, 10, 64)
	return first, last, err == nil && first >= 0 && last >= first
}
