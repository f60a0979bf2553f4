package provider

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/hostfs"
)

const (
	// kubeletTimeout is the time that the kubelet gives a plugin (ExecPlugin).
	kubeletTimeout = time.Minute
	// maxRunning is how many plugins run at once, one for each namespace, and maxWaiting
	// how many runs for one namespace wait for it. Each is a process of some 40 MB.
	maxRunning, maxWaiting = 2, 32
	// maxAnswers is how many answers are kept.
	maxAnswers = 256
	// An answer serves for at least minLife, whatever it says, and for at most maxLife.
	minLife, maxLife = time.Minute, time.Hour
	// A failure is kept for firstFailure, and for twice as long after each further one,
	// up to maxFailure.
	firstFailure, maxFailure = time.Minute, 15 * time.Minute
)

// Plugins returns how the kubelet runs a plugin.
type Plugins interface {
	Plugin(name string) (kubelet.Plugin, bool)
}

// Options configure a Runner.
type Options struct {
	// Root is where the node's file system is mounted, as far as it is; empty means "/".
	Root    string
	Plugins Plugins
	// Accounts may be nil: then plugins that want a token are not run.
	Accounts Accounts
	Log      *slog.Logger
}

// Answer is what running a plugin came to.
type Answer struct {
	Run diagnosis.ProviderRun
	// ExitStatus is the plugin's, for ProviderExited.
	ExitStatus int
	// Annotation is the one that the pod's service account lacks, for ProviderNoAnnotation.
	Annotation string
	// Credentials are what it returned, by registry key; for ProviderGave and
	// ProviderGaveNone.
	Credentials credential.Redacted[map[string]credential.Credential]

	cacheKey string        // the name under which it serves for other images too
	life     time.Duration // how long it serves
	wait     time.Duration // of a failure: how long it is not repeated
}

// failed reports whether there is no answer of the plugin's to keep.
func (a *Answer) failed() bool {
	return a.Run != diagnosis.ProviderGave && a.Run != diagnosis.ProviderGaveNone
}

// Runner runs plugins. It is safe for concurrent use.
type Runner struct {
	host     hostfs.FS
	plugins  Plugins
	accounts Accounts
	log      *slog.Logger
	timeout  time.Duration
	now      func() time.Time

	turns   *share.Lanes
	running *share.Cache[cacheKey, *Answer] // by namespace, too: none waits for the turn of another
	answers *share.Cache[cacheKey, *Answer]
}

// cacheKey is a plugin, as it is configured and installed, and what an answer is for:
// an image, a registry or everything.
type cacheKey struct {
	plugin [sha256.Size]byte
	of     string
}

// everything is the cache key of an answer for all images. It is no image and no
// registry.
const everything = "<global>"

// New returns a Runner.
func New(o Options) *Runner { return newRunner(o, kubeletTimeout, time.Now) }

func newRunner(o Options, timeout time.Duration, now func() time.Time) *Runner {
	return &Runner{
		host: hostfs.New(o.Root), plugins: o.Plugins, accounts: o.Accounts, log: o.Log, timeout: timeout, now: now,
		turns:   share.NewSharedLanes(maxRunning, 1, maxWaiting),
		running: share.New[cacheKey](0, share.For[*Answer](0), now), // nothing is kept
		answers: share.New[cacheKey](maxAnswers, func(a *Answer) time.Duration { return a.life }, now),
	}
}

// Run returns what the plugin of a name returns for the image of a failure, or has
// returned if that serves. It takes at most the kubelet's time for a plugin, after
// waiting for a turn of the namespace that is the context's tenant; when the context
// ends, it gives up.
func (r *Runner) Run(ctx context.Context, name string, f diagnosis.Failure) Answer {
	plugin, ok := r.plugins.Plugin(name)
	if !ok {
		return Answer{Run: diagnosis.ProviderHidden}
	}
	of, why, lacks := r.account(ctx, plugin.Token, f)
	if why != "" {
		return Answer{Run: why, Annotation: lacks}
	}
	program, why := r.program(plugin)
	if why != "" {
		return Answer{Run: why}
	}
	id, image := identity(plugin, program, of), f.Ref().Name()
	if kept := r.kept(id, image); kept != nil {
		return *kept
	}
	a, err := r.running.Get(ctx, cacheKey{id, share.Tenant(ctx) + " " + image}, func(ctx context.Context) (*Answer, error) {
		return r.run(ctx, plugin, id, of, f)
	})
	if err != nil {
		return Answer{Run: diagnosis.ProviderBusy}
	}
	return *a
}

// program returns what identifies the plugin's program, or why it cannot be run.
func (r *Runner) program(p kubelet.Plugin) (string, diagnosis.ProviderRun) {
	if p.Path == "" {
		return "", diagnosis.ProviderHidden
	}
	info, err := r.host.Stat(p.Path)
	switch {
	case err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0:
		return fmt.Sprint(info.Size(), info.ModTime().UnixNano()), ""
	case err == nil:
		return "", diagnosis.ProviderUnexecutable
	case r.host.IsHost(), len(r.host.List(path.Dir(p.Path))) > 0: // a directory that is not mounted looks empty
		return "", diagnosis.ProviderMissing
	}
	return "", diagnosis.ProviderHidden
}

// identity is a digest of all that an answer depends on besides the image.
func identity(p kubelet.Plugin, program string, of *account) [sha256.Size]byte {
	all, _ := json.Marshal([]any{p.Name, p.APIVersion, p.Path, p.Args.Reveal(), p.Env.Reveal(), p.CacheDuration, []any{program, p.Token, of}}) // texts always encode
	return sha256.Sum256(all)
}

// kept returns an answer that serves for the image (getCachedCredentials), or a failure
// that is not to be repeated yet; nil if there is none.
func (r *Runner) kept(id [sha256.Size]byte, image string) *Answer {
	registry, _, _ := strings.Cut(image, "/")
	var found *Answer
	for _, of := range []string{everything, registry, image} {
		k, ok := r.answers.Peek(cacheKey{id, of})
		switch {
		case ok && !k.Value.failed(), ok && found == nil && r.now().Before(k.Fetched.Add(k.Value.wait)):
			found = k.Value
		}
	}
	return found
}

// run runs the plugin when it is its turn, and keeps the answer.
func (r *Runner) run(ctx context.Context, p kubelet.Plugin, id [sha256.Size]byte, of *account, f diagnosis.Failure) (*Answer, error) {
	image := f.Ref().Name()
	leave, err := r.turns.Enter(ctx, "")
	if err != nil {
		return nil, err
	}
	defer leave()
	if kept := r.kept(id, image); kept != nil { // one for another image has ended meanwhile
		return kept, nil
	}
	a, err := r.execute(ctx, p, of, f)
	if err != nil {
		return nil, err
	}
	key := cacheKey{id, cmp.Or(a.cacheKey, image)}
	before, _ := r.answers.Peek(key)
	if a.failed() {
		a.wait = firstFailure
		if before.Value != nil {
			a.wait = min(max(2*before.Value.wait, firstFailure), maxFailure)
		}
		a.life = 2 * a.wait // so that the next one knows of it
		r.log.Info("credential provider failed", "provider", p.Name, "run", string(a.Run), "exit_status", a.ExitStatus)
	}
	r.answers.Put(ctx, key, a)
	return a, nil
}

// execute runs the plugin, with a token that is requested for this run and kept nowhere.
// The error is that of ctx.
func (r *Runner) execute(ctx context.Context, p kubelet.Plugin, of *account, f diagnosis.Failure) (a *Answer, err error) {
	var token kube.Token
	var annotations map[string]string
	if of != nil {
		if token, err = r.accounts.Token(ctx, f, of.UID, p.Token.Audience); err != nil {
			why := r.unavailable(err)
			if why == diagnosis.ProviderAccountMissing { // or the pod, since the account was read
				why = diagnosis.ProviderNoToken
			}
			return &Answer{Run: why}, ctx.Err()
		}
		annotations = of.Annotations
	}
	image := f.Ref().Name()
	request := newRequest(p.APIVersion, image, token.Value.Reveal(), annotations)
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	out := start(limited, process{root: r.host.Root(), path: p.Path, args: p.Args.Reveal(), env: p.Env.Reveal(), stdin: request})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if out.run != "" {
		return &Answer{Run: out.run, ExitStatus: out.status}, nil
	}
	a = answerOf(p, image, out.stdout)
	if of != nil {
		a.limit(p.Token, token, r.now())
	}
	return a, nil
}
