package registry

import (
	"context"
	"net/http"
	"time"
)

// clockSlack is how far two clocks may be apart before one is called wrong.
const clockSlack = 5 * time.Minute

// Clock is the registry's clock against the node's.
type Clock struct {
	// Known: the registry has told its time. It did so over a connection that
	// nobody vouches for, and nothing but the question was said on it.
	Known bool
	// Ahead is how far the registry's clock is before the node's, rounded to
	// minutes; negative if the node's is before; 0 if they are about the same.
	Ahead time.Duration
}

// compareClocks asks the registry what time it is, where its certificate is not
// valid now: either the certificate is out of date or the node's clock is.
func (c *conversation) compareClocks(ctx context.Context, fault Fault) {
	if fault != FaultTLSExpired || c.notes.usesProxy() {
		return
	}
	t := c.transport.Clone()
	defer t.CloseIdleConnections()
	t.TLSClientConfig.InsecureSkipVerify = true // nothing secret is said, and the answer is only a hint
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
	c.answer.Clock = clockOf(resp.Header, time.Now())
}

// clockOf reads the header Date (RFC 9110, 6.6.1).
func clockOf(h http.Header, now time.Time) Clock {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return Clock{}
	}
	ahead := at.Sub(now).Round(time.Minute)
	if ahead.Abs() < clockSlack {
		ahead = 0
	}
	return Clock{Known: true, Ahead: ahead}
}
