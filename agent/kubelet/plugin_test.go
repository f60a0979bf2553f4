package kubelet

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/cri/credential/credentialtest"
)

// How the kubelet runs a plugin: its program, arguments, environment and cache.
func TestPlugin(t *testing.T) {
	t.Parallel()
	k := newNode(t, map[string]string{
		"etc/systemd/system/kubelet.service": "[Service]\nEnvironment=REGION=north HOME=/root\nEnvironmentFile=/etc/kubelet.env\n" +
			"ExecStart=/usr/bin/kubelet --image-credential-provider-config=/etc/p --image-credential-provider-bin-dir=/opt/plugins",
		"etc/kubelet.env": "PROXY=http://proxy.test\n",
		"etc/p": `{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[
			{"name":"corp","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"90m","matchImages":["hub.test"],
			"args":["get","--key=hunter2"],"env":[{"name":"REGION","value":"south"},{"name":"SECRET","value":"hunter2"}]},
			{"name":"token","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"0s","matchImages":["token.test"],"tokenAttributes":{"serviceAccountTokenAudience":"corp",
			"cacheType":"Token","requireServiceAccount":true,"requiredServiceAccountAnnotationKeys":["corp.test/id"],"optionalServiceAccountAnnotationKeys":["zone"]}}]}`,
	})
	got, ok := k.Plugin("corp")
	if !ok || got.Name != "corp" || got.Path != "/opt/plugins/corp" || got.APIVersion != "credentialprovider.kubelet.k8s.io/v1" ||
		got.CacheDuration != 90*time.Minute || got.Token != nil {
		t.Errorf("%t, %+v", ok, got)
	}
	if args := got.Args.Reveal(); !slices.Equal(args, []string{"get", "--key=hunter2"}) {
		t.Errorf("arguments %q", args)
	}
	environment := []string{defaultPath, "REGION=north", "HOME=/root", "PROXY=http://proxy.test", "REGION=south", "SECRET=hunter2"}
	if env := got.Env.Reveal(); !slices.Equal(env, environment) {
		t.Errorf("environment %q, want %q", env, environment)
	}
	credentialtest.NeverShows(t, got, "hunter2")
	want := TokenAttributes{Audience: "corp", RequireAccount: new(true), Required: []string{"corp.test/id"}, Optional: []string{"zone"}, CacheType: CacheByToken}
	if got, _ := k.Plugin("token"); !reflect.DeepEqual(got.Token, &want) || got.CacheDuration != 0 {
		t.Errorf("%+v", got)
	}
	if got, ok := k.Plugin("other"); ok || got.Path != "" {
		t.Errorf("%+v", got)
	}
}

// Where the plugins are.
func TestPluginDirectory(t *testing.T) {
	t.Parallel()
	const unit = "etc/systemd/system/kubelet.service"
	config := providerYAML("v1", "corp hub.test")
	for name, tc := range map[string]struct {
		files     map[string]string
		dir, want string
	}{
		"own option":      {map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-bin-dir=/no"}, "/own", "/own/corp"},
		"the unit":        {map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-bin-dir=/opt/bin"}, "", "/opt/bin/corp"},
		"a process":       {map[string]string{"proc/7/cmdline": "/usr/bin/kubelet\x00--image-credential-provider-bin-dir=/opt/b\x00"}, "", "/opt/b/corp"},
		"a relative path": {map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-bin-dir=../bin"}, "", ""},
		"not known":       {nil, "", ""},
	} {
		files := map[string]string{"etc/p": config}
		maps.Copy(files, tc.files)
		k := newNode(t, files)
		k.providerConfig, k.pluginDir = "/etc/p", tc.dir
		if got, ok := k.Plugin("corp"); !ok || got.Path != tc.want {
			t.Errorf("%s: %t, %q, want %q", name, ok, got.Path, tc.want)
		}
	}
	for _, known := range wellKnownProviders {
		if got, ok := newNode(t, map[string]string{known.config[1:]: config}).Plugin("corp"); !ok || got.Path != known.dir+"/corp" {
			t.Errorf("%s: %t, %q", known.config, ok, got.Path)
		}
	}
}

// A name leads to no other directory: the kubelet does not start with such a name.
func TestPluginNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../corp", "a/b", "..", "."} {
		k := newNode(t, map[string]string{"etc/p": providerYAML("v1", fmt.Sprint(name, " hub.test"))})
		k.providerConfig, k.pluginDir = "/etc/p", "/opt/bin"
		if got, ok := k.Plugin(name); ok {
			t.Errorf("%q: %q", name, got.Path)
		}
	}
}

// A configuration with an annotation's name that is none is not the one in use.
func TestAnnotationNames(t *testing.T) {
	t.Parallel()
	for key, valid := range map[string]bool{"corp.test/id": true, "zone": true, "": false, "corp test": false, "a\u0007b": false, strings.Repeat("a", 318): false} {
		for _, keys := range []string{"required", "optional"} {
			k := newNode(t, map[string]string{"etc/p": `{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[{"name":"corp",
				"apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"0s","matchImages":["token.test"],"tokenAttributes":{"serviceAccountTokenAudience":"x","cacheType":"Token","requireServiceAccount":true,"` + keys + `ServiceAccountAnnotationKeys":["` + key + `"]}}]}`})
			k.providerConfig = "/etc/p"
			if _, ok := k.Plugin("corp"); ok != valid {
				t.Errorf("%s %q: %t", keys, key, ok)
			}
		}
	}
}
