package probe

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/nodeconfig/nodeconfigtest"
	"github.com/whypull/whypull/cri/registry"
)

// versioned is a runtime that says its version and has no images.
type versioned struct {
	name, version string
	asked         int
}

func (v *versioned) Version(context.Context) (string, string, error) {
	v.asked++
	return v.name, v.version, nil
}

func (*versioned) Image(context.Context, string) (string, bool, error) {
	return "", false, nil
}

func (*versioned) OtherNames(context.Context, string) ([]string, error) { return nil, nil }

// Which files count, and what a config_path with several folders means, depends
// on the runtime.
func TestConfigOfRuntime(t *testing.T) {
	t.Parallel()
	root := writeFiles(t, map[string]string{
		"etc/containerd/config.toml":      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/none:/etc/certs.d\"\n",
		"etc/certs.d/hub.test/hosts.toml": "[host.\"http://hub.test\"]\n",
		"etc/containers/registries.conf":  "[[registry]]\nlocation = \"hub.test\"\n[[registry.mirror]]\nlocation = \"mirror.test\"\n",
	})
	for name, tc := range map[string]struct {
		runtime Images
		want    string
	}{
		"containerd 1.7":  {&versioned{name: "containerd", version: "1.7.35"}, "http://hub.test"},
		"containerd 2.4":  {&versioned{name: "containerd", version: "2.4.2+unknown"}, "https://hub.test"},
		"CRI-O":           {&versioned{name: "cri-o", version: "1.37.0"}, "https://mirror.test"},
		"another runtime": {&versioned{name: "docker", version: "2.4.0"}, "https://hub.test"},
		"none":            {nil, "https://hub.test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newConfigs(time.Now)
			endpoints, _, err := c.load(t.Context(), nodeconfig.Options{Root: root, TempDir: t.TempDir()}, tc.runtime).EndpointsFor(t.Context(), "hub.test", nodeconfigtest.Ref(t, "hub.test/team/app"))
			if err != nil || len(endpoints) == 0 {
				t.Fatalf("%d endpoints, %v", len(endpoints), err)
			}
			if got := endpoints[0].String(); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// Pods that fail together share one reading; a change is seen a few seconds later,
// and one of the runtime itself, which is asked less often, within a minute, or
// when the node's files are seen to have changed.
func TestConfigShared(t *testing.T) {
	root := writeFiles(t, map[string]string{})
	synctest.Test(t, func(t *testing.T) {
		runtime, c := &versioned{name: "containerd", version: "2.4.2"}, newConfigs(time.Now)
		load := func() *nodeconfig.Config { return c.load(t.Context(), nodeconfig.Options{Root: root}, runtime) }
		first := load()
		time.Sleep(configLife - 1)
		if load() != first || runtime.asked != 1 {
			t.Errorf("read again too soon, the runtime asked %d times", runtime.asked)
		}
		time.Sleep(time.Nanosecond)
		if load() == first || runtime.asked != 1 {
			t.Errorf("not read again, or the runtime asked %d times", runtime.asked)
		}
		time.Sleep(versionLife)
		if load(); runtime.asked != 2 {
			t.Errorf("the runtime was asked %d times in a minute, want twice", runtime.asked)
		}
		c.forget()
		if load(); runtime.asked != 3 {
			t.Errorf("the runtime was asked %d times after a change, want 3", runtime.asked)
		}
	})
}

// Pods of one image that fail together share one reading of its registry's files; a change
// is seen after a second, or when the node's files are seen to have changed. CRI-O's
// credentials of one namespace are not another's, and no caller changes another's endpoints.
func TestEndpointsShared(t *testing.T) {
	t.Parallel()
	root := writeFiles(t, map[string]string{"etc/containers/registries.conf": "", "etc/crio/auth/.keep": ""})
	login := func(namespace, user string) {
		t.Helper()
		sum := sha256.Sum256([]byte("hub.test/app"))
		text := fmt.Sprintf(`{"auths":{"hub.test":{"auth":%q}}}`, base64.StdEncoding.EncodeToString([]byte(user+":p")))
		if err := os.WriteFile(filepath.Join(root, "etc/crio/auth", namespace+"-"+hex.EncodeToString(sum[:])+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	login("team", "a")
	login("others", "other")
	options := nodeconfig.Options{Root: root, TempDir: t.TempDir()}
	runtime := &versioned{name: "cri-o", version: "1.37.0"}
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Metrics: &fakeMetrics{}, Registries: options, Images: runtime})
		want := func(when, namespace, user string) {
			t.Helper()
			f := failure("hub.test/app:1")
			f.Namespace = namespace
			ref, err := completed(f.Image)
			if err != nil {
				t.Fatal(err)
			}
			endpoints, _, err := c.configs.endpointsFor(t.Context(), c.configFor(t.Context(), f), f, ref)
			if err != nil || len(endpoints) != 1 || endpoints[0].NodeCredential == nil {
				t.Fatalf("%s: %d endpoints, error %v", when, len(endpoints), err)
			}
			if got := endpoints[0].NodeCredential.Username.Reveal(); got != user {
				t.Errorf("%s, %s: user %q, want %q", when, namespace, got, user)
			}
			endpoints[0] = registry.Endpoint{}
		}
		want("at first", "team", "a")
		want("at first", "others", "other")
		login("team", "b")
		time.Sleep(endpointsLife - 1)
		want("within a second", "team", "a")
		time.Sleep(time.Nanosecond)
		want("after a second", "team", "b")
		login("team", "c")
		c.NodeChanged()
		want("after a change of the node", "team", "c")
	})
}
