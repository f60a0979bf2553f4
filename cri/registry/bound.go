package registry

import (
	"context"
	"errors"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"
)

const (
	// smallRoom is the memory for responses of up to maxBody and the beginnings of larger
	// ones; largeRoom is that for larger ones, two at a time. They are separate so that a
	// slow large response does not block others.
	smallRoom = 4 << 20
	largeRoom = 2 * (maxManifest + 1)
	// unpackRoom is the memory for unpacking a layer.
	unpackRoom = 128 << 10
	// maxArchiveHeader is the number of bytes that are read of a layer's first archive header.
	maxArchiveHeader = 32 << 10
)

// Room limits the memory for responses of all conversations that share it to 12 MiB. A
// response that does not fit waits, and fails with ErrNoRoom at its deadline.
type Room struct{ small, large *semaphore.Weighted }

// NewRoom returns an empty room.
func NewRoom() *Room {
	return &Room{small: semaphore.NewWeighted(smallRoom), large: semaphore.NewWeighted(largeRoom)}
}

// place is the part of a room that one response has. The zero value has none.
type place struct {
	room         *Room
	small, large int64
}

// take waits for n more bytes of the room.
func (p *place) take(ctx context.Context, n int64) error {
	if p.room == nil || n <= 0 {
		return nil
	}
	from, taken := p.room.small, &p.small
	if n > maxBody {
		from, taken, n = p.room.large, &p.large, min(n, largeRoom)
	}
	switch err := from.Acquire(ctx, n); {
	case errors.Is(err, context.DeadlineExceeded):
		return ErrNoRoom
	case err != nil:
		return err
	}
	*taken += n
	return nil
}

func (p *place) leave() {
	if p.small > 0 {
		p.room.small.Release(p.small)
	}
	if p.large > 0 {
		p.room.large.Release(p.large)
	}
	p.small, p.large = 0, 0
}

// readBody reads a body into memory and waits for room first: as much as announced or, if the
// size is unknown, for a small response and then for the largest. There is no deadlock: a
// response waits at most twice, and never while it has a large place. The caller must leave
// the place, also after an error.
func readBody(ctx context.Context, resp *http.Response, limit int64, p *place) ([]byte, error) {
	if resp.Request.Method == http.MethodHead || resp.Body == http.NoBody {
		return nil, nil
	}
	size := min(limit, maxBody)
	if resp.ContentLength >= 0 {
		size = min(limit, resp.ContentLength)
	}
	if err := p.take(ctx, size); err != nil {
		return nil, err
	}
	body := &bounded{body: resp.Body, left: limit}
	data, err := fill(body, make([]byte, 0, size+1))
	if err == nil && int64(len(data)) <= limit { // larger than expected
		if err := p.take(ctx, limit); err != nil {
			return nil, err
		}
		data, err = fill(body, append(make([]byte, 0, limit+1), data...))
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data, err
}

// fill reads until data is full or an error, which may be io.EOF.
func fill(r io.Reader, data []byte) ([]byte, error) {
	for len(data) < cap(data) {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err != nil {
			return data, err
		}
	}
	return data, nil
}

// placed is a body that other code reads into memory: it waits for room before the first byte
// and leaves it on Close.
type placed struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // of the request, as net/http has it
	size  int64
	place place
	notes *notes
}

// Read implements io.Reader.
func (p *placed) Read(b []byte) (int, error) {
	if p.place.small == 0 {
		if err := p.place.take(p.ctx, p.size); err != nil {
			if noRoom(err) != nil {
				p.notes.noRoom.Store(true)
			}
			return 0, err
		}
	}
	return p.ReadCloser.Read(b)
}

// Close implements io.Closer.
func (p *placed) Close() error {
	p.place.leave()
	return p.ReadCloser.Close()
}
