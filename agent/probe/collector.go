package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/registry"
)

// Metrics are told what the checks cost and found.
type Metrics interface {
	Checked(check diagnosis.Check, outcome diagnosis.Outcome, d time.Duration)
	RuntimeUp(up bool)
	SecretRead(result string)
}

// Collector gathers evidence. It is safe for use by many goroutines, and asks
// a registry only once where many pods need the same answer.
type Collector struct {
	Images  Images  // nil: there is no runtime to ask
	Secrets Secrets // nil: there is no API server to ask
	Metrics Metrics

	options registry.Options
	dns     *lookups
	asker   *asker
	configs configs
}

// New returns a collector. The registry options' Resolve is set to the node's
// resolver.
func New(images Images, secrets Secrets, m Metrics, o registry.Options, node NodeResolver) *Collector {
	c := &Collector{Images: images, Secrets: secrets, Metrics: m, options: o, dns: newLookups(node), asker: newAsker()}
	c.options.Resolve = c.dns.resolve
	return c
}

// Collect examines a failing container. The first evidence is complete for the
// checks that need neither the network nor patience; the channel then delivers
// the evidence of all checks, once. fresh asks anew what an earlier examination
// has asked.
func (c *Collector) Collect(ctx context.Context, f diagnosis.Failure, fresh bool) ([]diagnosis.Evidence, <-chan []diagnosis.Evidence) {
	known, logins := c.quick(ctx, f)
	all := make(chan []diagnosis.Evidence, 1)
	if why := needless(f, known); why != "" {
		evidence := append(known, skipped(why, diagnosis.CheckNodeDNS, diagnosis.CheckRegistry)...)
		evidence = append(evidence, later()...)
		all <- evidence
		return evidence, all
	}
	first := append(slices.Clip(known), pending()...)
	var since time.Time
	if fresh {
		since = c.asker.now()
	}
	go func() {
		evidence := append(slices.Clip(known), c.network(ctx, f, logins, since)...)
		all <- append(evidence, later()...)
	}()
	return first, all
}

// quick runs the checks that answer at once.
func (c *Collector) quick(ctx context.Context, f diagnosis.Failure) ([]diagnosis.Evidence, []keyring.Login) {
	var image diagnosis.Evidence
	var credentials []diagnosis.Evidence
	var logins []keyring.Login
	var wg sync.WaitGroup
	wg.Go(func() {
		start := time.Now()
		image = c.checkImage(ctx, f)
		c.Metrics.Checked(image.Check, image.Outcome, time.Since(start))
	})
	wg.Go(func() {
		start := time.Now()
		credentials, logins = c.checkCredentials(ctx, f)
		c.Metrics.Checked(diagnosis.CheckCredentials, worst(credentials), time.Since(start))
	})
	wg.Wait()
	return append([]diagnosis.Evidence{message(f), image}, credentials...), logins
}

// needless says why the network has nothing to add, or "".
func needless(f diagnosis.Failure, known []diagnosis.Evidence) string {
	for _, e := range known {
		switch {
		case e.Check == diagnosis.CheckImage && e.Fault == diagnosis.FaultNameInvalid:
			return "the image reference does not parse, so there is nobody to ask"
		case e.Check == diagnosis.CheckCredentials && e.Fault == diagnosis.FaultSecretMalformed:
			return "the kubelet gives up over the malformed secret before it asks anybody"
		}
	}
	if f.PullPolicy == "Never" { // whatever the runtime says, or does not
		return "the pull policy is Never, so nobody is asked"
	}
	return ""
}

func skipped(why string, checks ...diagnosis.Check) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, check := range checks {
		out = append(out, diagnosis.Evidence{Check: check, Outcome: diagnosis.NotRun, Detail: why})
	}
	return out
}

// later are the checks that whypull does not have yet.
func later() []diagnosis.Evidence {
	return skipped("this version of whypull has no such check", diagnosis.CheckPodDNS, diagnosis.CheckPull)
}

func pending() []diagnosis.Evidence {
	out := skipped("still running", diagnosis.CheckNodeDNS, diagnosis.CheckRegistry)
	for i := range out {
		out[i].Fault = diagnosis.FaultPending
	}
	return append(out, later()...)
}

// network resolves the registry's name and asks its endpoints, in the
// runtime's order.
func (c *Collector) network(ctx context.Context, f diagnosis.Failure, logins []keyring.Login, since time.Time) []diagnosis.Evidence {
	named, err := reference.ParseNormalizedNamed(f.Image)
	if err != nil { // the image check has said so
		return nil
	}
	config := c.configs.load(ctx, c.options, c.Images)
	endpoints, notices, err := config.Endpoints(ctx, f.Registry)
	notices = append(config.Notices(), notices...)
	out := configEvidence(notices)
	if err != nil {
		return append(out, refusedConfig(err, c.options.Root)...)
	}
	blind := slices.ContainsFunc(notices, func(n registry.Notice) bool { return n.Kind == registry.NoticeNoAuthorities })
	v := visit{c: c, f: f, ref: reference.TagNameOnly(named), logins: logins, since: since, blind: blind}
	found := v.endpoints(ctx, endpoints)
	if len(found) == 0 {
		found = skipped("the node's configuration has no endpoint that serves such a reference", diagnosis.CheckNodeDNS, diagnosis.CheckRegistry)
	}
	return append(out, found...)
}

// refusedConfig tells of a configuration without endpoints: one with which the
// runtime refuses the pull, or one that whypull itself cannot work with.
func refusedConfig(err error, root string) []diagnosis.Evidence {
	out := skipped("the node's registry configuration names no endpoint", diagnosis.CheckNodeDNS)
	if refused := (*registry.ConfigError)(nil); errors.As(err, &refused) {
		e := diagnosis.Evidence{
			Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultConfigInvalid,
			Detail: refused.Path + " names a certificate or key that cannot be read or is none; containerd refuses the pull over it",
		}
		if hidden(err, root) {
			e.Outcome = diagnosis.Inconclusive
			e.Detail = refused.Path + " names a file that whypull cannot see, since it is not below /etc; the runtime may"
		}
		return append(out, e)
	}
	return append(out, skipped("whypull could not work with the node's registry configuration", diagnosis.CheckRegistry)...)
}

// configEvidence tells what is odd about the node's registry configuration.
func configEvidence(notices []registry.Notice) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, n := range notices {
		if s := oddity(n); s != "" {
			out = append(out, diagnosis.Evidence{
				Check: diagnosis.CheckRegistry, Outcome: diagnosis.Inconclusive, Fault: diagnosis.FaultConfigInvalid, Detail: s,
			})
		}
	}
	return out
}

func oddity(n registry.Notice) string {
	switch n.Kind {
	case registry.NoticeHostsFileInvalid:
		return fmt.Sprintf("%s does not parse (line %d); containerd ignores it", n.Path, n.Line)
	case registry.NoticeHostsFileMisnamed:
		return n.Path + " is not read by anybody; the name is hosts.toml"
	case registry.NoticeConfigPathIgnored:
		return n.Path + " is not read: config_path lists several folders, which containerd's transfer service takes for one"
	case registry.NoticeHostsFileUnusable, registry.NoticeConfigUnreadable, registry.NoticeLegacyMirrors, registry.NoticeNoAuthorities:
	}
	return ""
}

// hidden tells that a file could not be opened because it lies outside of what
// of the node is mounted, or is a link to there: that says nothing of the node.
func hidden(err error, root string) bool {
	failed, ok := errors.AsType[*fs.PathError](err)
	if !ok || root == "" || root == "/" {
		return false
	}
	if !strings.HasPrefix(failed.Path, filepath.Join(root, "etc")+"/") {
		return true
	}
	_, err = os.Lstat(failed.Path)
	return err == nil
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
