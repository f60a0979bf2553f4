package share

import (
	"context"
	"sync"
)

// lanes let one at a time through, in each of them. The zero value is ready.
type lanes struct {
	mu  sync.Mutex
	all map[string]*lane // only those in use
}

type lane struct {
	turn  chan struct{} // holds a token while somebody is in the lane
	users int           // those who wait, too
}

// enter waits until the lane is free. The error is that of ctx; leave must be
// called all the same.
func (l *lanes) enter(ctx context.Context, name string) (leave func(), err error) {
	own := l.join(name)
	select {
	case own.turn <- struct{}{}:
		leave = func() {
			<-own.turn
			l.quit(name, own)
		}
	case <-ctx.Done():
		leave = func() { l.quit(name, own) }
	}
	return leave, ctx.Err() // which may have ended as the lane became free
}

func (l *lanes) join(name string) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[string]*lane{}
	}
	if l.all[name] == nil {
		l.all[name] = &lane{turn: make(chan struct{}, 1)}
	}
	l.all[name].users++
	return l.all[name]
}

func (l *lanes) quit(name string, own *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(l.all, name)
	}
}
