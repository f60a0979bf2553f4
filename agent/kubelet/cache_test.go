package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Data is cached for a second; after that a change is visible.
func TestCache(t *testing.T) {
	other := func(s string) string { return `{"auths":{"` + s + `":{}}}` }
	q := Question{Image: imageOf("nginx:1.27"), ImageRef: ref}
	for name, tc := range map[string]struct {
		file, before, after string
		ask                 func(*Kubelet) string
		first, then         string
	}{
		"docker configuration": {"var/lib/kubelet/config.json", other("a"), other("b"),
			func(k *Kubelet) string { f, _ := k.DockerConfig(); return string(f.Data.Reveal()) }, other("a"), other("b")},
		"docker configuration that appears": {"var/lib/kubelet/config.json", "", "{}",
			func(k *Kubelet) string { _, p := k.DockerConfig(); return string(p) }, "absent", "present"},
		"providers": {"etc/p", providerYAML("v1", ecr), providerYAML("v1", "b *.dkr.ecr.*.amazonaws.com"),
			func(k *Kubelet) string { return k.Providers(imageOf(ecrImage))[0].Name }, "ecr-credential-provider", "b"},
		"the unit": {"etc/systemd/system/kubelet.service", "[Service]\nEnvironment=HOME=/a\n", "[Service]\nEnvironment=HOME=/b\n",
			func(k *Kubelet) string { paths := k.DockerConfigPaths(); return paths[len(paths)-1] }, "/a/.dockercfg", "/b/.dockercfg"},
		"a record": {pulled(ref), pulledRecord(`"nginx":` + open), pulledRecord(`"nginx":` + regcred),
			func(k *Kubelet) string { return string(k.Use(q).Record) }, "nodeWide", "otherCredentials"},
		"a record that appears": {pulled(ref), "", pulledRecord(`"nginx":` + open),
			func(k *Kubelet) string { return string(k.Use(q).Record) }, "notPulled", "nodeWide"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"var/lib/kubelet/pods/": "", "usr/": "", records + "pulled/": "", "etc/": ""}
			if tc.before != "" {
				files[tc.file] = tc.before
			}
			k := newNode(t, files)
			k.providerConfig = "/etc/p"
			synctest.Test(t, func(t *testing.T) {
				wantAnswer(t, "at first", tc.ask(k), tc.first)
				check(t, os.WriteFile(filepath.Join(k.host.Root(), tc.file), []byte(tc.after), 0o600))
				time.Sleep(cacheTTL - 1)
				wantAnswer(t, "within a second", tc.ask(k), tc.first)
				time.Sleep(time.Nanosecond)
				wantAnswer(t, "after a second", tc.ask(k), tc.then)
			})
		})
	}
}

func wantAnswer(t *testing.T, when, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", when, got, want)
	}
}

// The second counts from the read, not from the last use: pods that keep
// failing do not keep old data alive.
func TestCacheUnderSteadyUse(t *testing.T) {
	k := newNode(t, map[string]string{"usr/": "", "var/lib/kubelet/config.json": "{}"})
	synctest.Test(t, func(t *testing.T) {
		read := func() string {
			f, _ := k.DockerConfig()
			return string(f.Data.Reveal())
		}
		read()
		for i := range 3 {
			changed := fmt.Sprintf(`{"auths":{"%d":{}}}`, i)
			check(t, os.WriteFile(filepath.Join(k.host.Root(), "var/lib/kubelet/config.json"), []byte(changed), 0o600))
			for range 10 {
				time.Sleep(cacheTTL / 10)
				read()
			}
			wantAnswer(t, "a second later", read(), changed)
		}
	})
}

// Nothing is kept once nobody asks, because the data contains passwords.
func TestCacheIsDropped(t *testing.T) {
	k := newNode(t, map[string]string{"var/lib/kubelet/config.json": "{}"})
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			k.DockerConfig()
			if time.Sleep(cacheTTL - 1); k.docker.Len() == 0 {
				t.Error("dropped within a second")
			}
			time.Sleep(time.Nanosecond)
			if synctest.Wait(); k.docker.Len() != 0 {
				t.Error("still held after a second")
			}
		}
	})
}

// Pods that fail together cause one read.
func TestCacheServesConcurrentPods(t *testing.T) {
	k := newNode(t, map[string]string{"var/lib/kubelet/config.json": `{"auths":{}}`})
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		data := make([]*byte, 250)
		for i := range data {
			wg.Go(func() {
				f, _ := k.DockerConfig()
				data[i] = &f.Data.Reveal()[0]
			})
		}
		wg.Wait()
		for i := range data {
			if data[i] == nil || data[i] != data[0] {
				t.Fatalf("pod %d has a reading of its own", i)
			}
		}
	})
}

// Records of more images than the cache holds are read all the same, and the
// oldest are dropped.
func TestCachedRecordsAreBounded(t *testing.T) {
	files := map[string]string{records + "pulled/": ""}
	k := newNode(t, files)
	synctest.Test(t, func(t *testing.T) {
		ask := func(i int) diagnosis.Record {
			return k.Use(Question{Image: imageOf(fmt.Sprint("hub.test/app:", i)), ImageRef: ref}).Record
		}
		for i := range maxCachedImages + 5 {
			time.Sleep(time.Nanosecond)
			if got := ask(i); got != diagnosis.RecordNotPulled {
				t.Errorf("image %d: %q", i, got)
			}
		}
		if n := k.images.Len(); n != maxCachedImages {
			t.Errorf("%d images are held, want %d", n, maxCachedImages)
		}
		check(t, os.WriteFile(filepath.Join(k.host.Root(), pulled(ref)), []byte(pulledRecord(`"hub.test/app":`+open)), 0o600))
		if shared, own := ask(maxCachedImages+4), ask(0); shared != diagnosis.RecordNotPulled || own != diagnosis.RecordNodeWide {
			t.Errorf("shared %q, read for itself %q", shared, own)
		}
	})
}
