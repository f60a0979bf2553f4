package probe

import (
	"context"
	"math"
	"math/rand/v2"
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

// Metrics records durations and results of the checks.
type Metrics interface {
	Checked(check diagnosis.Check, outcome diagnosis.Outcome, d time.Duration)
	Phase(phase diagnosis.Phase, d time.Duration)
	RuntimeUp(up bool)
	SecretRead(result string)
	// CertificateExpires and RateLimit record what a registry has sent. registry is
	// the host in the image reference, or that of the mirror.
	CertificateExpires(registry string, at time.Time)
	RateLimit(registry string, remaining int, known bool)
}

// Options configure a Collector.
type Options struct {
	Images  Images  // nil: no container runtime
	Secrets Secrets // nil: no API server
	Metrics Metrics
	Node    NodeCredentials // nil: the node's files are not read
	Basis   Basis           // nil: not recorded
	// Providers runs credential provider plugins; nil: they are not run.
	Providers Providers
	// Registries are the options for registry requests. New replaces Resolve by the
	// collector's, which uses Resolver, and sets Room if it is nil.
	Registries nodeconfig.Options
	Resolver   NodeResolver
	// Transfers are the runtime's running pulls; nil: they are not followed.
	Transfers Transfers
	// StallAfter is the time without a received byte after which a pull counts as
	// stalled; 0: DefaultStallAfter.
	StallAfter time.Duration
	// Platform is the platform to check images for; nil: this process's.
	Platform *ocispec.Platform
	// Brief: no layers are downloaded, whatever the runtime's message says. Whether
	// they exist is still checked.
	Brief bool
	// Unrestricted: the readers of the evidence may see the whole node, so it is shown
	// for every image whether the node has it.
	Unrestricted bool
	// Found, if set, is called with the evidence of the network checks as it arrives,
	// in its final order, from one goroutine per failure.
	Found func(f diagnosis.Failure, e ...diagnosis.Evidence)
	// Spread is the maximum random delay from the beginning of an examination until a
	// registry is asked that no pod has needed lately, so that not all nodes ask at the
	// same time; 0: none.
	Spread time.Duration
	// Retry configures the retry of failed pulls.
	Retry Retry
	// Filesystems returns the runtime's image file systems; nil: those in its
	// configuration.
	Filesystems Filesystems
	// Sandboxes returns pods' sandboxes; nil: no DNS lookups as a pod.
	Sandboxes Sandboxes
	// PodNetwork: a pod's lookups are made in its network namespace; otherwise its
	// DNS servers are asked from the node's network.
	PodNetwork bool
}

// Collector collects evidence. It asks a registry only once if several pods need
// the same answer. It is safe for concurrent use.
type Collector struct {
	Options

	dns     *lookups
	pods    *share.Cache[podQuestion, *podAnswer]
	images  *share.Cache[string, *imageAnswer]
	retries *retries
	podPort uint16 // of pods' DNS servers; 0: 53
	asker   *asker
	configs *configs
	starts  *share.Cache[string, struct{}] // of questions to registries

	disturbed disturbance
	follower  follower
	slow      hostSet       // that answered slowly
	idle      hostSet       // that sent nothing in a pull retry
	near      hostSet       // that have few requests left
	begun     *share.Lanes  // limits the failures that are examined, or wait for it
	asking    *share.Lanes  // limits those whose registries are asked
	store     *share.Lanes  // limits who looks into the runtime's content store
	patience  time.Duration // that the slow checks of a failure have together
}

const (
	// examinationTime is for how long the slow checks of a failure may go on: longer
	// than eight credentials take at a registry that hangs.
	examinationTime = 2 * time.Minute
	// maxUnderWay is how many failures of one namespace are examined at once, or
	// wait for it.
	maxUnderWay = 256
	// maxAsking is how many failures' registries are asked at once, and maxAskingOf
	// how many of one namespace; the others wait. The goroutines of one have 25 KiB of
	// stack or more.
	maxAsking   = 256
	maxAskingOf = 128
	// maxLooks is how many pods' pulls are looked for in the runtime's content store at
	// once, and maxLooksOf how many of one namespace. What each lists may have megabytes.
	maxLooks   = 4
	maxLooksOf = 2
	// maxLarge is how many responses of more than 256 KiB are read at once, and maxLargeOf
	// how many of one namespace, since a registry may send them slowly.
	maxLarge   = 2
	maxLargeOf = 1
	// startLife is for how long failures at a registry begin without a delay after the
	// first, which had one. maxStarts limits for how many registries.
	startLife = time.Second
	maxStarts = 64
)

// New returns a collector.
func New(o Options) *Collector {
	c := &Collector{
		Options: o, asker: newAsker(), retries: newRetries(), patience: examinationTime,
		begun:  share.NewSharedLanes(math.MaxInt, maxUnderWay, 0),
		asking: share.NewSharedLanes(maxAsking, maxAskingOf, maxUnderWay),
		store:  share.NewSharedLanes(maxLooks, maxLooksOf, math.MaxInt),
	}
	c.dns, c.configs = newLookups(o.Resolver, c.now), newConfigs(c.now)
	c.slow, c.idle, c.near = newHostSet(c.now), newHostSet(c.now), newHostSet(c.now)
	c.starts = share.New[string](maxStarts, share.For[struct{}](startLife), c.now)
	c.pods = share.New[podQuestion](maxLookups, share.For[*podAnswer](lookupLife), c.now)
	c.images = share.New[string](0, share.For[*imageAnswer](0), c.now) // nothing is kept
	c.Registries.Resolve = c.dns.resolve
	if c.Registries.Room == nil {
		c.Registries.Room = registry.NewRoom(share.NewSharedLanes(maxLarge, maxLargeOf, math.MaxInt))
	}
	c.asker.heard = c.heard
	return c
}

// heard records the metrics of an answer to a tenant, and whether the registry is slow.
func (c *Collector) heard(tenant string, e registry.Endpoint, ref reference.Named, a registry.Answer) {
	var longest time.Duration
	for phase, took := range timings(a.Durations) {
		c.Metrics.Phase(phase, took)
		longest = max(longest, took)
	}
	c.answered(tenant, e, longest)
	c.noteLimit(tenant, e, ref, a)
	host := reference.Domain(ref)
	if e.Mirror {
		host = e.Host
	}
	if !a.TLS.Expiry.IsZero() {
		c.Metrics.CertificateExpires(host, a.TLS.Expiry)
	}
	switch {
	case a.Fault == registry.FaultRateLimited:
		c.Metrics.RateLimit(host, 0, true)
	case a.Response.RateLimit != nil:
		c.Metrics.RateLimit(host, a.Response.RateLimit.Remaining, true)
	case a.Found:
		c.Metrics.RateLimit(host, 0, false)
	}
}

// Collect examines a failing container. It returns the evidence of the quick checks
// (message, image, credentials, disks); the channel delivers the evidence of all
// checks, once. fresh ignores answers of registries from earlier examinations.
//
// The slow checks have examinationTime together, and at most maxUnderWay failures of
// one namespace are examined at once; what was not checked is NotRun.
func (c *Collector) Collect(ctx context.Context, f diagnosis.Failure, fresh bool) ([]diagnosis.Evidence, <-chan []diagnosis.Evidence) {
	begun := time.Now()
	ctx = withDoubt(share.WithTenant(ctx, f.Namespace), doubtOf(f))
	known, creds := c.quick(ctx, f)
	look := c.lookAtDisk(ctx, f, known)
	quick := known
	known = slices.Concat(quick, look.evidence())
	all := make(chan []diagnosis.Evidence, 1)
	why := needless(f, known)
	var leave func()
	if why == "" {
		var entered bool
		if leave, entered = c.begun.TryEnter(ctx, ""); !entered {
			why = diagnosis.ReasonManyUnderWay
		}
	}
	if why != "" {
		evidence := slices.Concat(c.disclosed(f, known, nil), skipped(why, diagnosis.CheckNodeDNS, diagnosis.CheckPodDNS, diagnosis.CheckRegistry, diagnosis.CheckPull))
		all <- evidence
		close(all)
		return evidence, all
	}
	pull := c.checkPull(ctx, f)
	early := c.disclosed(f, c.whileRunning(f, known), nil)
	first := slices.Concat(early, stillRunning(diagnosis.CheckNodeDNS, diagnosis.CheckPodDNS, diagnosis.CheckRegistry), pull)
	if f.Stall == "" {
		first = append(first, stillRunning(diagnosis.CheckPull)...)
	}
	text := known[0]
	var since time.Time
	if fresh {
		since = c.asker.now()
	}
	go func() {
		defer leave()
		c.awaitStart(ctx, f.Registry, begun)
		quick, creds := c.runProviders(ctx, f, quick, creds)
		found := c.networkInTurn(ctx, f, text, creds, since)
		quick = c.disclosed(f, quick, found)
		look.learn(found)
		if f.Stall == "" {
			pull = c.retried(ctx, f, slices.Concat(quick, found, look.evidence()), creds)
			look.learn(pull)
		}
		all <- slices.Concat(quick, found, look.evidence(), pull)
		close(all)
	}()
	return first, all
}

// awaitStart waits until Spread after the examination has begun at most, one time for all
// failures at a registry.
func (c *Collector) awaitStart(ctx context.Context, registry string, begun time.Time) {
	if c.Spread == 0 {
		return
	}
	_, _ = c.starts.Get(ctx, registry, func(ctx context.Context) (struct{}, error) { // the error is that of ctx, and seen by the checks
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(c.Spread) - time.Since(begun)): //nolint:gosec // jitter, not a secret
		}
		return struct{}{}, nil
	})
}

// quick runs the checks that need neither DNS nor registries.
func (c *Collector) quick(ctx context.Context, f diagnosis.Failure) ([]diagnosis.Evidence, []keyring.Credential) {
	var image diagnosis.Evidence
	var id string
	var took time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		start := time.Now()
		image, id = c.checkImage(ctx, f)
		took = time.Since(start)
	})
	start := time.Now()
	credentials, creds := c.checkCredentials(ctx, f)
	c.Metrics.Checked(diagnosis.CheckCredentials, worst(credentials), time.Since(start))
	wg.Wait()
	image = c.checkUse(f, image, id, credentials, creds)
	c.Metrics.Checked(image.Check, image.Outcome, took)
	return append([]diagnosis.Evidence{messageEvidence(f), image}, credentials...), creds
}

// needless returns why the network checks would add nothing; "" if they would.
func needless(f diagnosis.Failure, known []diagnosis.Evidence) diagnosis.Reason {
	for _, e := range known {
		switch {
		case e.Check == diagnosis.CheckImage && e.Fault == diagnosis.FaultNameInvalid:
			return diagnosis.ReasonNameInvalid
		case e.Check == diagnosis.CheckCredentials && e.Fault == diagnosis.FaultSecretMalformed:
			return diagnosis.ReasonSecretMalformed
		}
	}
	if f.PullPolicy == "Never" { // whatever the runtime's message says
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

func stillRunning(checks ...diagnosis.Check) []diagnosis.Evidence {
	out := skipped(diagnosis.ReasonPending, checks...)
	for i := range out {
		out[i].Fault = diagnosis.FaultPending
	}
	return out
}

// networkInTurn is network once there is room for one more failure, all within the
// time limit. The pull retry does not count: it has a line of its own.
func (c *Collector) networkInTurn(ctx context.Context, f diagnosis.Failure, text diagnosis.Evidence, creds []keyring.Credential, since time.Time) []diagnosis.Evidence {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	leave, err := c.asking.Enter(ctx, "")
	if err != nil {
		return skipped(diagnosis.ReasonManyUnderWay, diagnosis.CheckNodeDNS, diagnosis.CheckPodDNS, diagnosis.CheckRegistry)
	}
	defer leave()
	return c.network(ctx, f, text, creds, since)
}

// network resolves the registry's name and asks its endpoints, in the order of the
// runtime.
func (c *Collector) network(ctx context.Context, f diagnosis.Failure, text diagnosis.Evidence, creds []keyring.Credential, since time.Time) []diagnosis.Evidence {
	c.noteFiles(ctx, f)
	config := c.configFor(ctx, f)
	names, short, refusal := fullNames(config, f)
	if refusal != nil {
		return append(refusal, skipped(diagnosis.ReasonNoRegistry, diagnosis.CheckPodDNS)...)
	}
	var out []diagnosis.Evidence
	for _, ref := range names {
		v, odd, asks := c.visitOf(ctx, f, config, ref)
		out = append(out, odd...)
		c.found(f, odd...)
		if !asks {
			out = append(out, skipped(diagnosis.ReasonRuntimeAsksNone, diagnosis.CheckPodDNS)...)
			continue
		}
		v.text, v.creds, v.since, v.short = text, creds, since, short
		pod := c.startPodDNS(ctx, f, config, v.all)
		found := v.endpoints(ctx)
		if len(found) == 0 {
			found = skipped(diagnosis.ReasonNoEndpoint, diagnosis.CheckNodeDNS, diagnosis.CheckRegistry)
		}
		beside := unreachedEvidence(v.notices, found)
		c.found(f, beside...)
		out = append(append(append(out, found...), beside...), pod()...)
	}
	return out
}

// config returns the node's registry configuration.
func (c *Collector) config(ctx context.Context) *nodeconfig.Config {
	return c.configs.load(ctx, c.Registries, c.Images)
}

// configFor returns the configuration as it is for one failure's pull.
func (c *Collector) configFor(ctx context.Context, f diagnosis.Failure) *nodeconfig.Config {
	if f.Kind == diagnosis.KindSandbox {
		return c.config(ctx).ForSandbox()
	}
	return c.config(ctx).ForPod(f.Namespace, f.Image)
}

// visitOf returns the visit that a pull makes for one name of the image, without
// credentials, and the evidence of the node's configuration. It reports whether the
// runtime asks any endpoint.
func (c *Collector) visitOf(ctx context.Context, f diagnosis.Failure, config *nodeconfig.Config, ref reference.Named) (v visit, odd []diagnosis.Evidence, asks bool) {
	endpoints, notices, err := c.configs.endpointsFor(ctx, config, f, ref)
	notices = append(slices.Clone(config.Notices()), notices...)
	odd = configEvidence(notices)
	if err != nil {
		odd = append(odd, refusedConfig(err)...)
	}
	return visit{c: c, f: f, config: config, notices: notices, ref: ref, all: endpoints}, odd, err == nil
}

// found passes evidence to Found.
func (c *Collector) found(f diagnosis.Failure, e ...diagnosis.Evidence) {
	if c.Found != nil && len(e) > 0 {
		c.Found(f, e...)
	}
}

// startPodDNS starts the pod's DNS check and returns a function that waits for its
// evidence. It checks the upstream registry, which the runtime asks after the
// mirrors.
func (c *Collector) startPodDNS(ctx context.Context, f diagnosis.Failure, config *nodeconfig.Config, endpoints []registry.Endpoint) func() []diagnosis.Evidence {
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

// completed returns the normalized reference of an image, with the tag latest if it
// has neither tag nor digest.
func completed(image string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, err
	}
	return reference.TagNameOnly(named), nil
}

// fullNames are the names that the runtime tries for the image: one, unless it
// is CRI-O and the image names no registry; or why it tries none.
func fullNames(config *nodeconfig.Config, f diagnosis.Failure) (names []reference.Named, isShort bool, refusal []diagnosis.Evidence) {
	short := config.ShortName(f.Image)
	if short.Refused != "" {
		return nil, false, refusedShort(short)
	}
	for _, candidate := range short.Candidates {
		if ref, err := completed(candidate); err == nil {
			names = append(names, ref)
		}
	}
	return names, short.Short, nil
}

// refusedShort returns the evidence about a short name that the runtime does not
// resolve.
func refusedShort(short nodeconfig.ShortName) []diagnosis.Evidence {
	if short.Refused == nodeconfig.ShortNameInvalid {
		const why = "CRI-O's image library takes no name whose registry is a literal IPv6 address"
		return append(skipped(diagnosis.ReasonNoRegistry, diagnosis.CheckNodeDNS, diagnosis.CheckRegistry), diagnosis.Evidence{
			Check: diagnosis.CheckImage, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNameInvalid, Body: &diagnosis.ImageFacts{Invalid: why},
		})
	}
	e := diagnosis.Evidence{
		Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNameAmbiguous,
		Body: &diagnosis.RegistryFacts{Candidates: short.Candidates, Source: short.Source},
	}
	if short.Refused == nodeconfig.ShortNameUnresolvable {
		e.Outcome, e.Fault, e.Reason = diagnosis.Inconclusive, "", diagnosis.ReasonShortNameUnresolvable
	}
	return append(skipped(diagnosis.ReasonNoRegistry, diagnosis.CheckNodeDNS), e)
}

// domain returns the registry of a reference. Unlike package reference, the runtime
// and diagnosis.Failure accept a host with an underscore.
func domain(ref reference.Named, f diagnosis.Failure) string {
	if ref.Name() == f.Ref().Name() {
		return f.Registry
	}
	return reference.Domain(ref)
}

// worst returns the outcome under which a check with several pieces of evidence is counted.
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
