package asserttest

import (
	"testing"
	"time"
)

func TestByClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	later := ByClock(now.Add(time.Second), -time.Hour)
	if wall, mono := later.Round(0).Sub(now.Round(0)), later.Sub(now); wall != time.Second-time.Hour || mono != time.Second {
		t.Errorf("the wall clock went %s further and the monotonic one %s", wall, mono)
	}
}
