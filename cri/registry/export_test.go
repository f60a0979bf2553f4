package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// On is for a node of another platform than this process, Within for another
// time than 9 s.
func (o InspectOptions) On(p ocispec.Platform) InspectOptions {
	if o.Platform == nil {
		o.Platform = &p
	}
	return o
}

func (o InspectOptions) Within(total time.Duration) InspectOptions {
	o.total = total
	return o
}

// Fill takes all of a room, until it is given back.
func (r *Room) Fill() (free func()) {
	if !r.small.TryAcquire(smallRoom) || !r.large.TryAcquire(largeRoom) {
		panic("the room is in use")
	}
	return func() {
		r.small.Release(smallRoom)
		r.large.Release(largeRoom)
	}
}

// Take takes n bytes of a room and gives them back.
func (r *Room) Take(ctx context.Context, n int64) error {
	p := place{room: r}
	defer p.leave()
	return p.take(ctx, n)
}

// TrustsNamesake reports what a client that trusts a pool finds of a server that sends a
// certificate and an authority.
func TrustsNamesake(leaf, authority *x509.Certificate, trusted *x509.CertPool) bool {
	sent := x509.NewCertPool()
	sent.AddCert(authority)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: trusted, Intermediates: sent})
	return trustsNamesake(&tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{leaf, authority}, Err: err})
}
