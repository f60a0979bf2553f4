package kube

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/util/flowcontrol"

	"github.com/whypull/whypull/agent/share"
)

// A request for the pod of one namespace waits for one of another's, and not for all
// that wait already.
func TestRequestsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newFairLimiter(10, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { _ = l.Wait(share.WithTenant(ctx, "evil")) })
		}
		synctest.Wait()
		began := time.Now()
		if err := l.Wait(share.WithTenant(ctx, "good")); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second/10 {
			t.Errorf("waited %s, for more than the one that was next and the one after it", took)
		}
		cancel()
		wg.Wait()
		if err := l.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

// tenants is a limiter that notes whose requests it lets pass.
type tenants struct {
	flowcontrol.RateLimiter
	seen []string
}

func (l *tenants) Wait(ctx context.Context) error {
	l.seen = append(l.seen, share.Tenant(ctx))
	return nil
}

// Each request for a pod takes its turn as one of the pod's namespace.
func TestRequestsAreOfNamespaces(t *testing.T) {
	t.Parallel()
	ask := map[string]func(*Client, context.Context) error{
		"secret": func(c *Client, ctx context.Context) error {
			_, err := c.Secret(ctx, "team", "pull")
			return err
		},
		"version": func(c *Client, ctx context.Context) error {
			_, err := c.SecretVersion(ctx, "team", "pull")
			return err
		},
		"watch": func(c *Client, ctx context.Context) error {
			return c.WatchSecret(ctx, "team", "pull", func(string, error) {})
		},
		"annotations": func(c *Client, ctx context.Context) error { return c.PatchPod(ctx, "team", "web", "u-1", PodChange{}) },
		"event":       func(c *Client, ctx context.Context) error { return c.Event(ctx, event()) },
	}
	for name, do := range ask {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) { w.WriteHeader(http.StatusTeapot) })
			c := s.client(t, AccessDirect)
			var seen tenants
			for _, r := range []flowcontrol.RateLimiter{c.core.GetRateLimiter(), c.events.GetRateLimiter(), c.asNode.GetRateLimiter(), c.opening} {
				of, isFair := r.(*fairLimiter)
				if !isFair {
					t.Fatalf("a limiter is a %T", r)
				}
				of.RateLimiter = &seen
			}
			if err := do(c, t.Context()); err == nil {
				t.Error("no error")
			}
			if len(seen.seen) == 0 || slices.ContainsFunc(seen.seen, func(tenant string) bool { return tenant != "team" }) {
				t.Errorf("requests of %q", seen.seen)
			}
		})
	}
}
