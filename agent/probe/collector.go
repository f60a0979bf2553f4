package probe

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

// Metrics are told what the checks cost and found.
type Metrics interface {
	Checked(check diagnosis.Check, outcome diagnosis.Outcome, d time.Duration)
	Phase(phase diagnosis.Phase, d time.Duration)
	RuntimeUp(up bool)
	SecretRead(result string)
	// CertificateExpires and RateLimit tell what was heard of a registry: of an
	// image's own, by the image's registry host, or of a mirror, by its own.
	CertificateExpires(registry string, at time.Time)
	RateLimit(registry string, remaining int, known bool)
}

// Options are what a Collector works with.
type Options struct {
	Images  Images  // nil: there is no runtime to ask
	Secrets Secrets // nil: there is no API server to ask
	Metrics Metrics
	Node    NodeCredentials // nil: the node's files are not read
	Basis   Basis           // nil: nobody wants to know what a verdict rests on
	// Registries are how registries are talked to; their Resolve is the
	// collector's own, which asks as Resolver says. So is their Room, if there is
	// none.
	Registries nodeconfig.Options
	Resolver   NodeResolver
	// Transfers are the pulls under way; nil: they are not followed.
	Transfers Transfers
	// StallAfter is for how long a pull receives nothing before it has stalled;
	// 0: DefaultStallAfter.
	StallAfter time.Duration
	// Platform is the one that images are looked at for; nil: this process's.
	Platform *ocispec.Platform
	// Brief: no layer is downloaded, whatever the runtime's text says. That they
	// are there is looked at all the same.
	Brief bool
	// Unrestricted: whoever reads the evidence may look at the whole node, so that
	// what the node has is shown of every image.
	Unrestricted bool
	// Found, if set, is called with the network's evidence as it comes, in the
	// order that it has in the end; by several goroutines, one for each failure.
	Found func(f diagnosis.Failure, e ...diagnosis.Evidence)
	// Retry is how failed pulls are tried again.
	Retry Retry
	// Filesystems are where the runtime has images; nil: where it has them by its
	// configuration.
	Filesystems Filesystems
	// Sandboxes are where pods' networks are; nil: names are not asked for as pods
	// do.
	Sandboxes Sandboxes
	// PodNetwork: the network namespaces of pods are entered; else their name
	// servers are asked from the node's network.
	PodNetwork bool
}

// Collector gathers evidence. It is safe for use by many goroutines, and asks
// a registry only once where many pods need the same answer.
type Collector struct {
	Options

	options nodeconfig.Options
	dns     *lookups
	pods    *share.Cache[shareKey, *podAnswer]
	images  *share.Cache[string, *imageAnswer]
	retries *retries
	podPort uint16 // of pods' name servers; 0: 53
	asker   *asker
	configs *configs

	follower follower
	slow     slowness
}

// New returns a collector.
func New(o Options) *Collector {
	c := &Collector{Options: o, options: o.Registries, asker: newAsker(), retries: newRetries()}
	c.dns, c.configs = newLookups(o.Resolver, c.now), newConfigs(c.now)
	c.pods = share.New[shareKey](maxLookups, share.For[*podAnswer](lookupLife), c.now)
	c.images = share.New[string](0, share.For[*imageAnswer](0), c.now) // nothing is kept
	c.options.Resolve = c.dns.resolve
	if c.options.Room == nil {
		c.options.Room = registry.NewRoom()
	}
	c.asker.heard = c.heard
	return c
}

// heard notes in the metrics a conversation that was held, and notes a registry
// that is slow.
func (c *Collector) heard(e registry.Endpoint, ref reference.Named, a registry.Answer) {
	for phase, took := range timings(a.Durations) {
		c.Metrics.Phase(phase, took)
		c.took(e, took)
	}
	host := reference.Domain(ref)
	if e.Mirror {
		host = e.Host
	}
	if !a.CertificateExpiry.IsZero() {
		c.Metrics.CertificateExpires(host, a.CertificateExpiry)
	}
	switch {
	case a.Fault == registry.FaultRateLimited:
		c.Metrics.RateLimit(host, 0, true)
	case a.RateLimit != nil:
		c.Metrics.RateLimit(host, a.RateLimit.Remaining, true)
	case a.Found:
		c.Metrics.RateLimit(host, 0, false)
	}
}

// Collect examines a failing container. The first evidence is complete for the
// checks that need neither the network nor patience; the channel then delivers
// the evidence of all checks, once. fresh asks anew what an earlier examination
// has asked.
func (c *Collector) Collect(ctx context.Context, f diagnosis.Failure, fresh bool) ([]diagnosis.Evidence, <-chan []diagnosis.Evidence) {
	known, creds := c.quick(ctx, f)
	look := c.lookAtDisk(ctx, f, known)
	quick := known
	known = slices.Concat(quick, look.evidence())
	all := make(chan []diagnosis.Evidence, 1)
	if why := needless(f, known); why != "" {
		evidence := slices.Concat(c.disclosed(f, known, nil), skipped(why, diagnosis.CheckNodeDNS, diagnosis.CheckPodDNS, diagnosis.CheckRegistry, diagnosis.CheckPull))
		all <- evidence
		return evidence, all
	}
	pull := c.checkPull(ctx, f)
	first := slices.Concat(c.disclosed(f, known, nil), pending(), pull)
	if f.Stall == "" {
		first = slices.Concat(c.disclosed(f, known, nil), pending(), stillRunning(diagnosis.CheckPull))
	}
	text := known[0]
	var since time.Time
	if fresh {
		since = c.asker.now()
	}
	go func() {
		found := c.network(ctx, f, text, creds, since)
		quick := c.disclosed(f, quick, found)
		look.learn(found)
		if f.Stall == "" {
			pull = c.retried(ctx, f, slices.Concat(quick, found, look.evidence()), creds)
			look.learn(pull)
		}
		all <- slices.Concat(quick, found, look.evidence(), pull)
	}()
	return first, all
}

// quick runs the checks that answer at once.
func (c *Collector) quick(ctx context.Context, f diagnosis.Failure) ([]diagnosis.Evidence, []keyring.Credential) {
	var image diagnosis.Evidence
	var id string
	var took time.Duration
	var credentials []diagnosis.Evidence
	var creds []keyring.Credential
	var wg sync.WaitGroup
	wg.Go(func() {
		start := time.Now()
		image, id = c.checkImage(ctx, f)
		took = time.Since(start)
	})
	wg.Go(func() {
		start := time.Now()
		credentials, creds = c.checkCredentials(ctx, f)
		c.Metrics.Checked(diagnosis.CheckCredentials, worst(credentials), time.Since(start))
	})
	wg.Wait()
	image = c.checkUse(f, image, id, credentials, creds)
	c.Metrics.Checked(image.Check, image.Outcome, took)
	return append([]diagnosis.Evidence{messageEvidence(f), image}, credentials...), creds
}

// needless says why the network has nothing to add, or "".
func needless(f diagnosis.Failure, known []diagnosis.Evidence) diagnosis.Reason {
	for _, e := range known {
		switch {
		case e.Check == diagnosis.CheckImage && e.Fault == diagnosis.FaultNameInvalid:
			return diagnosis.ReasonNameInvalid
		case e.Check == diagnosis.CheckCredentials && e.Fault == diagnosis.FaultSecretMalformed:
			return diagnosis.ReasonSecretMalformed
		}
	}
	if f.PullPolicy == "Never" { // whatever the runtime says, or does not
		return diagnosis.ReasonPolicyNever
	}
	return ""
}

func skipped(why diagnosis.Reason, checks ...diagnosis.Check) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, check := range checks {
		out = append(out, diagnosis.Evidence{Check: check, Outcome: diagnosis.NotRun, Reason: why})
	}
	return out
}

func pending() []diagnosis.Evidence {
	return stillRunning(diagnosis.CheckNodeDNS, diagnosis.CheckPodDNS, diagnosis.CheckRegistry)
}

func stillRunning(checks ...diagnosis.Check) []diagnosis.Evidence {
	out := skipped(diagnosis.ReasonPending, checks...)
	for i := range out {
		out[i].Fault = diagnosis.FaultPending
	}
	return out
}

// network resolves the registry's name and asks its endpoints, in the
// runtime's order.
func (c *Collector) network(ctx context.Context, f diagnosis.Failure, text diagnosis.Evidence, creds []keyring.Credential, since time.Time) []diagnosis.Evidence {
	config := c.configs.load(ctx, c.options, c.Images)
	c.noteFiles(f, config)
	names, refusal := fullNames(config, f)
	if refusal != nil {
		return append(refusal, skipped(diagnosis.ReasonNoRegistry, diagnosis.CheckPodDNS)...)
	}
	var out []diagnosis.Evidence
	for _, ref := range names {
		endpoints, notices, err := config.EndpointsFor(ctx, domain(ref, f), ref)
		notices = append(slices.Clone(config.Notices()), notices...)
		odd := configEvidence(notices)
		if err != nil {
			odd = append(odd, refusedConfig(err)...)
		}
		out = append(out, odd...)
		c.found(f, odd...)
		if err != nil {
			out = append(out, skipped(diagnosis.ReasonRuntimeAsksNone, diagnosis.CheckPodDNS)...)
			continue
		}
		pod := c.beside(ctx, f, config, endpoints)
		blind := slices.ContainsFunc(notices, func(n nodeconfig.Notice) bool { return n.Kind == nodeconfig.NoticeNoAuthorities })
		v := visit{c: c, f: f, text: text, config: config, ref: ref, creds: creds, since: since, blind: blind}
		found := v.endpoints(ctx, endpoints)
		if len(found) == 0 {
			found = skipped(diagnosis.ReasonNoEndpoint, diagnosis.CheckNodeDNS, diagnosis.CheckRegistry)
		}
		out = append(append(out, found...), pod()...)
	}
	return out
}

// found hands on evidence as it comes.
func (c *Collector) found(f diagnosis.Failure, e ...diagnosis.Evidence) {
	if c.Found != nil && len(e) > 0 {
		c.Found(f, e...)
	}
}

// beside begins the pod's name check, and gives the way to wait for it. It is
// made for the image's own registry, which a node asks last.
func (c *Collector) beside(ctx context.Context, f diagnosis.Failure, config *nodeconfig.Config, endpoints []registry.Endpoint) func() []diagnosis.Evidence {
	i := slices.IndexFunc(endpoints, func(e registry.Endpoint) bool { return !e.Mirror })
	said := func(e diagnosis.Evidence) func() []diagnosis.Evidence {
		e.Check, e.Outcome = diagnosis.CheckPodDNS, diagnosis.NotRun
		return func() []diagnosis.Evidence { return []diagnosis.Evidence{e} }
	}
	if i < 0 {
		return said(diagnosis.Evidence{Reason: diagnosis.ReasonMirrorsOnly})
	}
	e := endpoints[i]
	if host := hostname(e.Host); net.ParseIP(host) != nil {
		return said(diagnosis.Evidence{Reason: diagnosis.ReasonIsAddress, Body: &diagnosis.DNSFacts{Host: host}})
	}
	if proxy, _ := config.ProxyFor(e); proxy != "" {
		return said(diagnosis.Evidence{Endpoint: diagnosis.Endpoint{URL: e.String()}, Body: &diagnosis.DNSFacts{Proxy: proxy}})
	}
	done := make(chan []diagnosis.Evidence, 1)
	go func() { done <- c.podNames(ctx, f, e) }()
	return func() []diagnosis.Evidence { return <-done }
}

// completed returns an image's name as package registry takes it: normalized, and
// with the tag latest if it has neither tag nor digest.
func completed(image string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, err
	}
	return reference.TagNameOnly(named), nil
}

// fullNames are the names that the runtime tries for the image: one, unless it
// is CRI-O and the image names no registry; or why it tries none.
func fullNames(config *nodeconfig.Config, f diagnosis.Failure) ([]reference.Named, []diagnosis.Evidence) {
	short := config.ShortName(f.Image)
	if short.Refused != "" {
		return nil, refusedShort(short)
	}
	var names []reference.Named
	for _, candidate := range short.Candidates {
		if ref, err := completed(candidate); err == nil {
			names = append(names, ref)
		}
	}
	return names, nil
}

// refusedShort is about a name without a registry that the runtime resolves to
// none.
func refusedShort(short nodeconfig.ShortName) []diagnosis.Evidence {
	e := diagnosis.Evidence{
		Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNameAmbiguous,
		Body: &diagnosis.RegistryFacts{Candidates: short.Candidates, Source: short.Source},
	}
	if short.Refused == nodeconfig.ShortNameUnresolvable {
		e.Outcome, e.Fault, e.Reason = diagnosis.Inconclusive, "", diagnosis.ReasonShortNameUnresolvable
	}
	return append(skipped(diagnosis.ReasonNoRegistry, diagnosis.CheckNodeDNS), e)
}

// domain is the registry of a name. Package reference takes a host with an
// underscore for a part of the path; the runtime, and the failure, do not.
func domain(ref reference.Named, f diagnosis.Failure) string {
	if ref.Name() == f.Ref().Name() {
		return f.Registry
	}
	return reference.Domain(ref)
}

// worst is the outcome to book a check with several pieces of evidence under.
func worst(all []diagnosis.Evidence) diagnosis.Outcome {
	out := diagnosis.NotRun
	for _, e := range all {
		switch {
		case e.Outcome == diagnosis.Failed:
			return diagnosis.Failed
		case e.Outcome == diagnosis.Inconclusive, e.Outcome == diagnosis.Passed && out == diagnosis.NotRun:
			out = e.Outcome
		}
	}
	return out
}
