package registry

import (
	"context"
	"net/http"
	"time"
)

// clockSlack is the difference up to which two clocks count as equal.
const clockSlack = 5 * time.Minute

// compareClocks asks the registry for its time if its certificate is not valid now: either
// the certificate or the node's clock is wrong.
func (c *conversation) compareClocks(ctx context.Context, fault Fault) {
	if fault != FaultTLSExpired || c.notes.now().proxy != "" {
		return
	}
	t := c.transport.Clone()
	defer t.CloseIdleConnections()
	t.TLSClientConfig.InsecureSkipVerify = true // nothing secret is sent, and the time is only a hint
	client := http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx = withAside(ctx, PhaseTLS)
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.endpoint.String()+"/v2/", http.NoBody)
	if err != nil {
		return
	}
	req.Header.Set("User-Agent", userAgent(c.endpoint.Settings.Version))
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close() //nolint:errcheck // HEAD has none
	c.answer.TLS.Clock = clockOf(resp.Header, time.Now())
}

// clockOf returns by the header Date (RFC 9110, 6.6.1) how far a clock is ahead; nil without
// one.
func clockOf(h http.Header, now time.Time) *time.Duration {
	return beyond(clockSlack, aheadOf(h, now))
}

// tokenSlack is the difference from which the clocks of a registry and of its token server
// count as different. A registry that allows for a difference allows for a minute
// (distribution, registry/auth/token, Leeway).
const tokenSlack = 2 * time.Minute

// skew returns how far the clock of the registry, which sent a header, is ahead of that of
// its token server; nil if one of them is not known.
func skew(h http.Header, now time.Time, tokenServer *time.Duration) *time.Duration {
	registry := aheadOf(h, now)
	if registry == nil || tokenServer == nil {
		return nil
	}
	ahead := *registry - *tokenServer
	return beyond(tokenSlack, &ahead)
}

// aheadOf returns how far a clock is ahead by the header Date; nil without one.
func aheadOf(h http.Header, now time.Time) *time.Duration {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return nil
	}
	ahead := at.Sub(now)
	return &ahead
}

// beyond returns a difference, if it is known, in minutes; 0 for one below slack.
func beyond(slack time.Duration, ahead *time.Duration) *time.Duration {
	if ahead == nil {
		return nil
	}
	rounded := ahead.Round(time.Minute)
	if rounded.Abs() < slack {
		rounded = 0
	}
	return &rounded
}
