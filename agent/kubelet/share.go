package kubelet

import (
	"sync"
	"time"

	"github.com/whypull/whypull/agent/keyring"
)

// shareLife is how long what was read serves other pods that fail at the same
// time. All pods of a node, 250 and more, fail together when a registry does,
// and what is asked for them takes most of a millisecond to read.
const shareLife = time.Second

// mostShared bounds the images whose records are shared; those of more are read
// for each pod.
const mostShared = 32

// share has the latest reading, and for no longer than shareLife, since there
// are passwords in it: a timer drops it, whether or not anything is asked again.
type share struct {
	mu     sync.Mutex
	latest *reading
}

// reading is what was read within one second. Of each part it is read when it is
// first asked for, once, while others wait for it. Nobody may change it.
type reading struct {
	since   time.Time
	docker  memo[keyring.NodeFile]
	plugins memo[[]providerPlugin]
	images  memo[stored]
}

// current returns a reading that is less than shareLife old.
func (s *share) current() *reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.latest != nil && now.Sub(s.latest.since) < shareLife {
		return s.latest
	}
	r := &reading{since: now}
	s.latest = r
	time.AfterFunc(shareLife, func() { s.drop(r) })
	return r
}

// drop forgets a reading, unless a later one has taken its place.
func (s *share) drop(r *reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == r {
		s.latest = nil
	}
}

// memo remembers what was read under at most mostShared keys.
type memo[T any] struct {
	mu    sync.Mutex
	parts map[string]func() (T, Presence)
}

func (m *memo[T]) get(key string, read func() (T, Presence)) (T, Presence) {
	return m.part(key, read)()
}

func (m *memo[T]) part(key string, read func() (T, Presence)) func() (T, Presence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if had, ok := m.parts[key]; ok {
		return had
	}
	part := sync.OnceValues(read)
	if m.parts == nil {
		m.parts = map[string]func() (T, Presence){}
	}
	if len(m.parts) < mostShared {
		m.parts[key] = part
	}
	return part
}
