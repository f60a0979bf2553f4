package probe

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

// ErrPostponed is the error of Again for an image whose registry is not asked for now.
var ErrPostponed = errors.New("the registry limits requests, or nearly does")

// againTime is how long the registries of one image may take.
const againTime = time.Minute

// Again examines whether the image of a running container could be pulled again: one
// manifest request for each of the kubelet's credentials until one works, and no content.
// There is no evidence if the kubelet would not pull, because the pull policy is not
// Always and the image is not known to be missing on the node. blind reports whether the
// kubelet may have credentials that are unknown here. The error is ErrPostponed while a
// registry limits requests, or has few left; nothing is asked then.
func (c *Collector) Again(ctx context.Context, f diagnosis.Failure) (evidence []diagnosis.Evidence, blind bool, err error) {
	ctx, cancel := context.WithTimeout(share.WithOnce(share.WithTenant(ctx, f.Namespace)), againTime)
	defer cancel()
	if f.PullPolicy != "Always" {
		if image, _ := c.checkImage(ctx, f); image.Outcome != diagnosis.Failed || image.Fault != diagnosis.FaultImageAbsent {
			return nil, false, nil
		}
	}
	c.noteFiles(ctx, f)
	config := c.configFor(ctx, f)
	visits, odd, refused, err := c.visitsAgain(ctx, f, config)
	if err != nil {
		return nil, false, err
	}
	credentials, creds := c.checkCredentials(ctx, f)
	evidence = slices.Concat(credentials, odd)
	if refused || needless(f, credentials) != "" {
		return evidence, false, nil
	}
	credentials, creds = c.runProviders(ctx, f, credentials, creds)
	evidence = slices.Concat(credentials, odd)
	for _, v := range visits {
		v.creds = creds
		found := v.endpoints(ctx)
		evidence = slices.Concat(evidence, found, unreachedEvidence(v.notices, found))
	}
	return evidence, c.blind(credentials, creds), ctx.Err()
}

// visitsAgain returns the visits that a pull of the image makes, without credentials, the
// evidence of the node's configuration, and whether the runtime asks nobody.
func (c *Collector) visitsAgain(ctx context.Context, f diagnosis.Failure, config *nodeconfig.Config) (visits []visit, odd []diagnosis.Evidence, refused bool, err error) {
	names, short, refusal := fullNames(config, f)
	if refusal != nil {
		return nil, refusal, true, nil
	}
	for _, ref := range names {
		v, evidence, asks := c.visitOf(ctx, f, config, ref)
		if slices.ContainsFunc(v.all, func(e registry.Endpoint) bool { return c.limited(f.Namespace, e, ref) }) {
			return nil, nil, false, ErrPostponed
		}
		odd = append(odd, evidence...)
		if asks {
			v.short, v.brief = short, true
			visits = append(visits, v)
		}
	}
	return visits, odd, len(visits) == 0, nil
}

// blind reports whether the kubelet may have credentials for the image that are not among
// creds: those of a plugin, of a secret that cannot be read, or of the node where its file
// is not visible. The last do not count for a pod with credentials of its own or whose
// secret is missing.
func (c *Collector) blind(evidence []diagnosis.Evidence, creds []keyring.Credential) bool {
	has := func(faults ...diagnosis.Fault) bool {
		return slices.ContainsFunc(evidence, func(e diagnosis.Evidence) bool { return slices.Contains(faults, e.Fault) })
	}
	if has(diagnosis.FaultProviderMatches, diagnosis.FaultProviderFailed, diagnosis.FaultSecretUnreadable) {
		return true
	}
	own := has(diagnosis.FaultSecretMissing) || slices.ContainsFunc(creds, func(l keyring.Credential) bool { return !l.Incomplete() })
	switch {
	case own:
		return false
	case c.Node == nil:
		return true
	}
	_, presence := c.Node.DockerConfig()
	return presence == kubelet.NotVisible
}

// limited reports whether an endpoint limits the requests of a tenant, or has few left.
func (c *Collector) limited(tenant string, e registry.Endpoint, ref reference.Named) bool {
	anybodys := limitOf(e, ref)
	return c.asker.limits(tenant, e, ref) || c.near.has(anybodys) || c.near.has(ofAccounts(tenant, anybodys))
}

// limitOf names the limit of requests without credentials: that of a registry, or of one
// behind a mirror.
func limitOf(e registry.Endpoint, ref reference.Named) string { return e.Host + " " + upstream(e, ref) }

// ofAccounts names the limit of a tenant's accounts, which is nothing to others.
func ofAccounts(tenant, limit string) string { return limit + " " + tenant }

const (
	// fewLeft is the part of a registry's limit of requests from which the limit is near.
	fewLeft = 5
	// nearFor is how long it counts as near, at most; a window that is known and shorter
	// counts instead.
	nearFor = time.Hour
)

// noteLimit records what an answer to a tenant says of the registry's limit.
func (c *Collector) noteLimit(tenant string, e registry.Endpoint, ref reference.Named, a registry.Answer) {
	name := limitOf(e, ref)
	if a.Auth.CredentialSent {
		name = ofAccounts(tenant, name)
	}
	switch limit := a.Response.RateLimit; {
	case limit == nil && a.Fault != registry.FaultRateLimited:
	case limit == nil || limit.Remaining*fewLeft <= limit.Limit && limit.Window <= 0:
		c.near.note(tenant, name, nearFor)
	case limit.Remaining*fewLeft <= limit.Limit:
		c.near.note(tenant, name, min(limit.Window, nearFor))
	default:
		c.near.forget(name)
	}
}
