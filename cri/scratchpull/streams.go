package scratchpull

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/streaming"
	"github.com/containerd/typeurl/v2"
)

// streams are the streams of one transfer, for credentials and for progress.
// They outlive the transfer's own context, because containerd closes the
// progress stream only when the transfer has really ended (services/transfer,
// Transfer): until then a canceled transfer may still be writing.
type streams struct {
	create  func(id string) (streaming.Stream, error)
	mu      sync.Mutex
	watched []*watched
}

// Create implements streaming.StreamCreator.
func (s *streams) Create(_ context.Context, id string) (streaming.Stream, error) {
	stream, err := s.create(id)
	if err != nil || !strings.HasPrefix(id, "progress-") {
		return stream, err
	}
	w := &watched{Stream: stream, ended: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched = append(s.watched, w)
	return w, nil
}

// settle returns once containerd has ended the transfer and all progress has
// been received, or after the limit.
func (s *streams) settle(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := time.After(limit)
	for _, w := range s.watched {
		select {
		case <-w.ended:
		case <-over:
			return
		}
	}
}

// watched is a stream that reports its end.
type watched struct {
	streaming.Stream
	once  sync.Once
	ended chan struct{}
}

// Recv implements streaming.Stream.
func (w *watched) Recv() (typeurl.Any, error) {
	m, err := w.Stream.Recv()
	if err != nil {
		w.once.Do(func() { close(w.ended) })
	}
	return m, err
}
