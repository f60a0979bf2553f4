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
type Room struct {
	small, large *semaphore.Weighted
	turns        Turns
}

// Turns limits how many of the larger responses are of one tenant.
type Turns interface {
	// Enter waits until a response may take its place. The error is that of ctx, or that
	// too many wait; without one the caller must call leave.
	Enter(ctx context.Context, name string) (leave func(), err error)
}

// NewRoom returns an empty room. turns may be nil where all responses are of one tenant.
func NewRoom(turns Turns) *Room {
	return &Room{small: semaphore.NewWeighted(smallRoom), large: semaphore.NewWeighted(largeRoom), turns: turns}
}

// place is the part of a room that one response has. The zero value has none.
type place struct {
	room         *Room
	small, large int64
	leaveTurn    func() // nil if it has none
}

// take waits for n more bytes of the room. Where the deadline has passed already, its error
// is that of ctx: whether there is room is unknown then.
func (p *place) take(ctx context.Context, n int64) error {
	if p.room == nil || n <= 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	from, taken := p.room.small, &p.small
	if n > maxBody {
		from, taken, n = p.room.large, &p.large, min(n, largeRoom)
		if err := p.takeTurn(ctx); err != nil {
			return noRoomAt(err)
		}
	}
	if !from.TryAcquire(n) {
		if err := from.Acquire(ctx, n); err != nil {
			return noRoomAt(err)
		}
	}
	*taken += n
	return nil
}

// takeTurn waits for the turn of a larger response.
func (p *place) takeTurn(ctx context.Context) (err error) {
	if p.room.turns != nil && p.leaveTurn == nil {
		p.leaveTurn, err = p.room.turns.Enter(ctx, "")
	}
	return err
}

// noRoomAt returns ErrNoRoom for the error of a context whose deadline has passed.
func noRoomAt(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrNoRoom
	}
	return err
}

func (p *place) leave() {
	if p.leaveTurn != nil {
		p.leaveTurn()
		p.leaveTurn = nil
	}
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
