package kube

import (
	"context"
	"math"

	"k8s.io/client-go/util/flowcontrol"

	"github.com/whypull/whypull/agent/share"
)

// fairLimiter is a rate limiter for which namespaces take turns: however many requests
// for the pods of one wait, one for another's is next but one. The context's tenant is
// the namespace.
type fairLimiter struct {
	flowcontrol.RateLimiter
	turns *share.Lanes
}

// newFairLimiter returns a limiter of rate requests per second, and burst at once.
func newFairLimiter(rate float32, burst int) *fairLimiter {
	return &fairLimiter{flowcontrol.NewTokenBucketRateLimiter(rate, burst), share.NewLanes(1, math.MaxInt)}
}

// Wait implements flowcontrol.RateLimiter.
func (l *fairLimiter) Wait(ctx context.Context) error {
	leave, err := l.turns.Enter(ctx, "")
	if err != nil {
		return err
	}
	defer leave()
	return l.RateLimiter.Wait(ctx)
}
