package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/deploy/lab/image"
	labnode "github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// nodeFaults are the faults of the node's side: disks, names, registries, the runtime, the way to
// the API server.
func nodeFaults() []fault {
	all := []fault{
		{name: "the runtime is killed during a pull", strike: killedDuringPull, shakes: true},
		{name: "the node is down", strike: nodeDown(time.Minute), shakes: true},
		{name: "the runtime's socket is removed", strike: withoutSocket(15 * time.Second), shakes: true},
	}
	for _, o := range outages() {
		brings := []string{"PullStalled", "PullTimeout"}
		for _, v := range o.victims {
			brings = append(brings, v.causes...)
		}
		all = append(all, fault{name: o.name, strike: o.strike, shakes: true, brings: brings})
	}
	all = append(all, apiFaults()...)
	for i := range all {
		all[i].long = true
	}
	return all
}

// Images that can be pulled, which victims have.
const (
	plainVictim = registry.PlainApp
	hubVictim   = registry.Nginx112
)

func outages() []outage {
	unreachable := []string{"NetworkUnreachable"}
	timedOut := []string{"ConnectionTimeout", "PullStalled", "PullTimeout"}
	cut := []string{"NetworkUnreachable", "ContentCorrupt"}
	both := func(causes []string) []victim { return []victim{{hubVictim, causes}, {plainVictim, causes}} }
	return []outage{
		{name: "the registries accept and never answer", begin: intercepted(neverAnswer), victims: both(timedOut)},
		{name: "the registries reset connections", begin: intercepted(resetAfter(0)), victims: both(unreachable)},
		{name: "the registry resets in the middle of a layer", begin: intercepted(resetAfter(largerThanManifests)), victims: []victim{{large("reset"), cut}}},
		{name: "connections are lost in the middle of a layer", begin: intercepted(silentAfter(largerThanManifests)), victims: []victim{{large("lost"), timedOut}}},
		{name: "the registries send a byte a second", begin: intercepted(creepAfter(0)), victims: both(timedOut)},
		{name: "the registry sends a byte a second in the middle of a layer", begin: intercepted(creepAfter(largerThanManifests)), victims: []victim{{large("creep"), timedOut}}},

		{name: "the registry has a certificate of another authority", begin: certified(anotherAuthority), victims: []victim{{hubVictim, []string{"TLSUntrusted"}}}},
		{name: "the registry's certificate has expired", begin: certified(expired), victims: []victim{{hubVictim, []string{"TLSExpired"}}}},

		{name: "the node's DNS fails", begin: resolves(func(r *registryRecord) { r.answer.Rcode = "SERVFAIL" }), victims: both([]string{"DNSFailure"})},
		{name: "the node's DNS takes three seconds", begin: resolves(func(r *registryRecord) { r.answer.Delay = 3 * time.Second }), least: 30 * time.Second,
			victims: []victim{{plainVictim, nil}, {hubVictim, nil}, {registry.MissingHost + "/chaos/app:1.0", []string{"RegistryNameNotFound"}}}},
		{name: "the node's DNS has wrong addresses", begin: resolves(func(r *registryRecord) {
			r.answer.Addresses = []netip.Addr{netip.MustParseAddr(registry.OutsideAddress)}
		}), victims: both(unreachable)},
		{name: "the registries move to another address", begin: intercepted(passOn), least: 20 * time.Second, victims: both(nil)},

		{name: "the content store is full", begin: storeFull, victims: []victim{{large("full"), []string{"DiskFull"}}}},
		{name: "the kubelet's folder is full", begin: recordsFull, victims: []victim{{plainVictim, []string{"DiskFull"}}}},
		{name: "the agent's /tmp is full", begin: tmpFull, victims: []victim{
			{registry.HubHost + "/nginx/nginx:no-such-tag", []string{"TagNotFound"}}, {registry.MirroredHost + "/nginx/nginx:no-such-tag", []string{"TagNotFound", "RepositoryNotFound"}},
		}},
	}
}

// large returns the name of an image of largeImage bytes.
func large(name string) string {
	return registry.PlainHost + "/" + namespace + "/large-" + name + ":1.0"
}

const (
	// largerThanManifests is what passes before a layer is disturbed.
	largerThanManifests = 64 << 10
	largeImage          = 24 << 20
)

// pushLarge pushes the image of a name of large.
func pushLarge(ctx context.Context, reference string) error {
	program, err := node.lab.ToolPath("pause")
	if err != nil {
		return err
	}
	built, err := image.Build(image.Options{Name: reference, Program: program, Padding: largeImage})
	if err != nil {
		return err
	}
	return node.lab.Push(ctx, reference, built)
}

// sh runs a script on the node.
func sh(ctx context.Context, script string) error {
	_, _, err := node.lab.Exec(ctx, nil, "sh", "-c", "set -e\n"+script)
	return err
}

// certified gives the registry with passwords another certificate.
func certified(issue func(ours *catest.Pair, r catest.Request) (*catest.Pair, error)) begin {
	return func(ctx context.Context) (end, error) {
		authorities, err := labnode.OpenAuthorities(filepath.Join(node.lab.Dir(), "pki"))
		if err != nil {
			return nil, err
		}
		const certificate, key = "/etc/lab/registry/hub.crt", "/etc/lab/registry/hub.key"
		was, err := node.lab.ReadFile(certificate)
		if err != nil {
			return nil, err
		}
		wasKey, err := node.lab.ReadFile(key)
		if err != nil {
			return nil, err
		}
		pair, err := issue(authorities.Registry, catest.Request{CommonName: registry.HubHost, Names: []string{
			registry.HubHost, registry.HubHost2, registry.UntrustedHost, registry.MirroredHost,
		}})
		if err != nil {
			return nil, err
		}
		install := func(certificatePEM, keyPEM []byte) func(context.Context) error {
			return func(ctx context.Context) error {
				return errors.Join(node.lab.StopComponent(ctx, registry.Hub),
					node.lab.WriteFile(certificate, certificatePEM), node.lab.WriteFile(key, keyPEM),
					node.lab.StartComponent(ctx, registry.Hub))
			}
		}
		return install(was, wasKey), install(pair.PEM(), pair.KeyPEM())(ctx)
	}
}

func anotherAuthority(_ *catest.Pair, r catest.Request) (*catest.Pair, error) {
	other, err := catest.NewAuthority(catest.Request{CommonName: "another authority"})
	if err != nil {
		return nil, err
	}
	return other.Issue(r)
}

func expired(ours *catest.Pair, r catest.Request) (*catest.Pair, error) {
	r.NotBefore, r.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	return ours.Issue(r)
}

const (
	contentStore = "/var/lib/containerd/io.containerd.content.v1.content"
	imageRecords = "/var/lib/kubelet/image_manager"
)

// storeFull leaves containerd's content store less space than an image needs. The store
// stays on its small file system, which is enlarged in the end.
func storeFull(ctx context.Context) (end, error) {
	grow := func(ctx context.Context) error { return sh(ctx, "mount -o remount,size=2g "+contentStore) }
	if err := node.lab.StopComponent(ctx, labnode.Containerd); err != nil { // it would write what is not copied
		return nil, err
	}
	err := sh(ctx, fmt.Sprintf(`store=%s
if ! mountpoint -q $store; then
	mkdir -p /run/lab/store
	mount -t tmpfs -o size=2g tmpfs /run/lab/store
	cp -a $store/. /run/lab/store/
	mount --move /run/lab/store $store 2>/dev/null || { mount --bind /run/lab/store $store; umount /run/lab/store; }
fi
used=$(df -k --output=used $store | tail -n 1)
mount -o remount,size=$((used + 4096))k $store`, contentStore))
	return grow, errors.Join(err, node.lab.StartComponent(ctx, labnode.Containerd))
}

// recordsFull leaves the kubelet no space for its records of pulls.
func recordsFull(ctx context.Context) (end, error) {
	repair := func(ctx context.Context) error { return sh(ctx, "umount -l "+imageRecords) }
	return repair, sh(ctx, fmt.Sprintf(`mount -t tmpfs -o size=64k tmpfs %[1]s
mkdir -m 700 %[1]s/pulling %[1]s/pulled
dd if=/dev/zero of=%[1]s/filler bs=4k 2>/dev/null || true`, imageRecords))
}

// tmpFull fills the agent's volume for temporary files.
func tmpFull(ctx context.Context) (end, error) {
	const fillers = "/var/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir/tmp"
	repair := func(ctx context.Context) error { return sh(ctx, "rm "+fillers+"/filler") }
	return repair, sh(ctx, `for dir in `+fillers+`; do dd if=/dev/zero of=$dir/filler bs=4k 2>/dev/null || true; done
ls `+fillers+`/filler`)
}

// killedDuringPull kills the runtime while it receives a layer, three times.
func killedDuringPull(ctx context.Context) error {
	const reference = registry.SlowHost + "/" + namespace + "/killed:1.0"
	if err := pushLarge(ctx, strings.Replace(reference, registry.SlowHost, registry.PlainHost, 1)); err != nil {
		return err
	}
	v := victim{image: reference}
	if err := v.create(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	if err := times(3, 5*time.Second, killedOnce("containerd"))(ctx); err != nil {
		return err
	}
	return errors.Join(v.recovers(ctx, "the runtime is killed during a pull"), removeVictims(ctx))
}

// killedOnce kills the processes of a name.
func killedOnce(program string) func(context.Context) error {
	return func(ctx context.Context) error { return signalAll(ctx, program, "KILL") }
}

// withoutSocket removes the runtime's socket, and restarts the runtime after a while, so
// that there is another.
func withoutSocket(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := sh(ctx, "rm /run/containerd/containerd.sock"); err != nil {
			return err
		}
		return errors.Join(pause(ctx, d), stopped(labnode.Containerd, time.Second)(context.WithoutCancel(ctx)))
	}
}

// nodeDown stops everything that a node runs, as a reboot does.
func nodeDown(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		was, err := agentContainer(ctx)
		if err != nil {
			return err
		}
		for _, component := range []string{labnode.Kubelet, labnode.Containerd} {
			err = errors.Join(err, node.lab.StopComponent(ctx, component))
		}
		// The shims last: without them, some containers end by themselves.
		for _, program := range []string{"whypull", "pause", "containerd-shim"} {
			err = errors.Join(err, signalAll(ctx, program, "KILL"))
		}
		err = errors.Join(err, pause(ctx, d))
		for _, component := range []string{labnode.Containerd, labnode.Kubelet} {
			err = errors.Join(err, node.lab.StartComponent(context.WithoutCancel(ctx), component))
		}
		return errors.Join(err, waitAgent(ctx, was.ContainerID))
	}
}
