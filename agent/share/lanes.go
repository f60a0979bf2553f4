package share

import (
	"context"
	"sync"
)

// lanes are named mutexes whose waiters can give up. The zero value is ready to
// use.
type lanes struct {
	mu  sync.Mutex
	all map[string]*lane // only those in use
}

type lane struct {
	turn  chan struct{} // holds a token while the lane is taken
	users int           // including those who wait
}

// enter waits until the lane is free. The error is that of ctx; the caller must
// call leave in any case.
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
