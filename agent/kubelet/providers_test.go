package kubelet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// providerYAML returns a configuration with these plugins, "name pattern
// pattern".
func providerYAML(version string, plugins ...string) string {
	s := "apiVersion: kubelet.config.k8s.io/" + version + "\nkind: CredentialProviderConfig\nproviders:\n"
	for _, p := range plugins {
		f := strings.Fields(p)
		s += fmt.Sprintf("- name: %q\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n  defaultCacheDuration: 12h\n  matchImages: [\"%s\"]\n", f[0], strings.Join(f[1:], `", "`))
	}
	return s
}

const ecrImage = "123.dkr.ecr.eu-west-1.amazonaws.com/app:1"

const ecr = "ecr-credential-provider *.azurecr.io *.dkr.ecr.*.amazonaws.com"

// Where the configuration is found.
func TestProviderPath(t *testing.T) {
	t.Parallel()
	const flagged = "/usr/bin/kubelet --v=2 --image-credential-provider-config=/etc/here.yaml --image-credential-provider-bin-dir=/opt/bin"
	const unit, dropIn = "etc/systemd/system/kubelet.service", "etc/systemd/system/kubelet.service.d/"
	all := func(files map[string]string) map[string]string {
		out := map[string]string{"usr/lib/": ""}
		maps.Copy(out, files)
		return out
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing is mounted":           {map[string]string{"x/": ""}, ""},
		"only etc is":                  {map[string]string{unit: "[Service]\nExecStart=/usr/bin/kubelet"}, ""},
		"all is, and no service":       {all(nil), ""},
		"all is, no flag":              {all(map[string]string{unit: "[Service]\nExecStart=/usr/bin/kubelet"}), ""},
		"in the unit":                  {map[string]string{unit: "[Service]\nExecStart=" + flagged}, "/etc/here.yaml"},
		"with a blank":                 {map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-config /etc/b.yaml"}, "/etc/b.yaml"},
		"continued lines":              {map[string]string{unit: "[Service]\nExecStart=kubelet \\\n  --image-credential-provider-config=/etc/c.yaml \\\n --v=1"}, "/etc/c.yaml"},
		"the last of two":              {map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-config=/etc/a --image-credential-provider-config=/etc/b"}, "/etc/b"},
		"in a comment":                 {all(map[string]string{unit: "[Service]\nExecStart=kubelet\n# " + flagged}), ""},
		"another flag that begins so":  {all(map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-config-dir=/x"}), ""},
		"a drop-in wins":               {map[string]string{unit: "[Service]\nExecStart=" + flagged, dropIn + "10-a.conf": "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--image-credential-provider-config=/etc/10", dropIn + "20-b.conf": "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--image-credential-provider-config=/etc/20", dropIn + "30.bak": "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--image-credential-provider-config=/etc/30"}, "/etc/20"},
		"a drop-in's own command":      {map[string]string{unit: "[Service]\nExecStart=" + flagged, dropIn + "10.conf": "[Service]\nExecStart=\nExecStart=kubelet --image-credential-provider-config=/etc/d"}, "/etc/d"},
		"no assignment of the service": {all(map[string]string{unit: "[Unit]\nDescription=" + flagged + "\n[Service]\nExecStart=kubelet"}), ""},
		"KUBELET_EXTRA_ARGS":           {map[string]string{unit: "[Service]\nExecStart=" + flagged, "etc/default/kubelet": `KUBELET_EXTRA_ARGS="--image-credential-provider-config=/etc/extra --v=3"`}, "/etc/extra"},
		"sysconfig":                    {map[string]string{"etc/sysconfig/kubelet": `KUBELET_EXTRA_ARGS=--image-credential-provider-config=/etc/sys`}, "/etc/sys"},
		"an environment file":          {map[string]string{unit: "[Service]\nEnvironmentFile=-/etc/eks/kubelet/environment\nExecStart=kubelet $ARGS", "etc/eks/kubelet/environment": `ARGS="--image-credential-provider-config=/etc/eks/x.json"`}, "/etc/eks/x.json"},
		"a missing environment file":   {all(map[string]string{unit: "[Service]\nEnvironmentFile=-/etc/eks/kubelet/environment\nExecStart=kubelet $ARGS"}), ""},
		"a process":                    {map[string]string{"proc/1/cmdline": "init\x00", "proc/20/cmdline": "/usr/bin/kubelet\x00--image-credential-provider-config=/etc/proc\x00", "proc/x/cmdline": "kubelet\x00--image-credential-provider-config=/no"}, "/etc/proc"},
		"a process without":            {map[string]string{"proc/20/cmdline": "/usr/bin/kubelet\x00--v=1\x00", "etc/eks/image-credential-provider/config.json": "{}"}, ""},
		"well known":                   {map[string]string{"etc/eks/image-credential-provider/config.json": "{}"}, "/etc/eks/image-credential-provider/config.json"},
		"a relative path":              {all(map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-config=etc/x"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := newNode(t, tc.files).providerPath(); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestProviders(t *testing.T) {
	t.Parallel()
	changed := func(old, text string) string { return strings.Replace(providerYAML("v1", ecr), old, text, 1) }
	for name, tc := range map[string]struct {
		files map[string]string
		want  []string // name, pattern
	}{
		"v1":                     {map[string]string{"etc/p": providerYAML("v1", ecr)}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com"}},
		"v1beta1":                {map[string]string{"etc/p": providerYAML("v1beta1", ecr)}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com"}},
		"v1alpha1":               {map[string]string{"etc/p": providerYAML("v1alpha1", ecr)}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com"}},
		"JSON":                   {map[string]string{"etc/p": `{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[{"name":"a","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"1h","matchImages":["*.*.*.*.amazonaws.com"],"tokenAttributes":{"requireServiceAccount":true,"serviceAccountTokenAudience":"x","cacheType":"ServiceAccount"}}]}`}, []string{"a *.*.*.*.amazonaws.com token"}},
		"several, in order":      {map[string]string{"etc/p": providerYAML("v1", "z "+strings.SplitN(ecrImage, "/", 2)[0], "b gcr.io", "a *.dkr.ecr.*.amazonaws.com")}, []string{"z 123.dkr.ecr.eu-west-1.amazonaws.com", "a *.dkr.ecr.*.amazonaws.com"}},
		"none for it":            {map[string]string{"etc/p": providerYAML("v1", "gcr gcr.io")}, nil},
		"a directory":            {map[string]string{"etc/p/2.yaml": providerYAML("v1", "two *.*.*.*.*.com"), "etc/p/1.yml": providerYAML("v1", ecr), "etc/p/0.txt": "x", "etc/p/x.json/": ""}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com", "two *.*.*.*.*.com"}},
		"an empty directory":     {map[string]string{"etc/p/": ""}, nil},
		"a name twice":           {map[string]string{"etc/p/1.yaml": providerYAML("v1", ecr), "etc/p/2.yaml": providerYAML("v1", ecr)}, nil},
		"not there":              {map[string]string{"etc/": ""}, nil},
		"a later version":        {map[string]string{"etc/p": providerYAML("v2", ecr)}, nil},
		"another kind":           {map[string]string{"etc/p": strings.ReplaceAll(providerYAML("v1", ecr), "ProviderConfig", "Config")}, nil},
		"another group":          {map[string]string{"etc/p": strings.ReplaceAll(providerYAML("v1", ecr), "kubelet.config", "x")}, nil},
		"not YAML":               {map[string]string{"etc/p": "{"}, nil},
		"a name with a slash":    {map[string]string{"etc/p": providerYAML("v1", "../x *.dkr.ecr.*.amazonaws.com")}, nil},
		"a name with a break":    {map[string]string{"etc/p": strings.ReplaceAll(providerYAML("v1", ecr), "ecr-c", `ecr\nc`)}, nil},
		"a name that is a dot":   {map[string]string{"etc/p": providerYAML("v1", ".. *.dkr.ecr.*.amazonaws.com")}, nil},
		"no version of its own":  {map[string]string{"etc/p": changed("  apiVersion: credentialprovider.kubelet.k8s.io/v1\n", "")}, nil},
		"that of the file":       {map[string]string{"etc/p": changed("credentialprovider.kubelet", "kubelet.config")}, nil},
		"no duration":            {map[string]string{"etc/p": changed("  defaultCacheDuration: 12h\n", "")}, nil},
		"a negative duration":    {map[string]string{"etc/p": changed("12h", "-1s")}, nil},
		"a duration of 0":        {map[string]string{"etc/p": changed("12h", `"0"`)}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com"}},
		"one without patterns":   {map[string]string{"etc/p": changed("", "") + strings.ReplaceAll(strings.SplitN(providerYAML("v1", "a b"), "providers:\n", 2)[1], `["b"]`, "[]")}, nil},
		"no address":             {map[string]string{"etc/p": providerYAML("v1", "a *.dkr.ecr.*.amazonaws.com *.azurecr.io:*")}, nil},
		"tokens without a kind":  {map[string]string{"etc/p": changed("", "") + "  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true}\n"}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com token"}},
		"tokens of another kind": {map[string]string{"etc/p": changed("", "") + "  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true, cacheType: Pod}\n"}, nil},
		"tokens, need not said":  {map[string]string{"etc/p": changed("", "") + "  tokenAttributes: {serviceAccountTokenAudience: x, cacheType: Token}\n"}, nil},
		"tokens, no need":        {map[string]string{"etc/p": changed("", "") + "  tokenAttributes: {serviceAccountTokenAudience: x, cacheType: Token, requireServiceAccount: false, optionalServiceAccountAnnotationKeys: [a]}\n"}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com token"}},
		"no need of a required":  {map[string]string{"etc/p": changed("", "") + "  tokenAttributes: {serviceAccountTokenAudience: x, cacheType: Token, requireServiceAccount: false, requiredServiceAccountAnnotationKeys: [a]}\n"}, nil},
		"an annotation twice":    {map[string]string{"etc/p": changed("", "") + "  tokenAttributes: {serviceAccountTokenAudience: x, cacheType: Token, requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [b, a, b]}\n"}, nil},
		"required and optional":  {map[string]string{"etc/p": changed("", "") + "  tokenAttributes: {serviceAccountTokenAudience: x, cacheType: Token, requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [a], optionalServiceAccountAnnotationKeys: [a]}\n"}, nil},
		"tokens in v1beta1":      {map[string]string{"etc/p": strings.Replace(changed("", ""), "kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", 1) + "  tokenAttributes: {serviceAccountTokenAudience: x, cacheType: Token, requireServiceAccount: true}\n"}, nil},
		"tokens for no one":      {map[string]string{"etc/p": changed("", "") + "  tokenAttributes: {cacheType: Token, requireServiceAccount: true}\n"}, nil},
		"tokens of old":          {map[string]string{"etc/p": changed("provider.kubelet.k8s.io/v1", "provider.kubelet.k8s.io/v1beta1") + "  tokenAttributes: {serviceAccountTokenAudience: x, cacheType: Token, requireServiceAccount: true}\n"}, nil},
		"a pattern not to show":  {map[string]string{"etc/p": providerYAML("v1", "a 123.dkr.ecr.eu-west-1.amazonaws.com/%61pp")}, []string{"a "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newNode(t, tc.files)
			k.providerConfig = "/etc/p"
			var got []string
			for _, p := range k.Providers(imageOf(ecrImage)) {
				s := p.Name + " " + p.Pattern
				if p.TokenMode {
					s += " token"
				}
				got = append(got, s)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestProvidersNotConfigured(t *testing.T) {
	t.Parallel()
	k := newNode(t, map[string]string{"usr/lib/": "", "etc/systemd/system/kubelet.service": "[Service]\nExecStart=kubelet"})
	if all := k.Providers(imageOf(ecrImage)); all != nil {
		t.Errorf("%v", all)
	}
	if all := newNode(t, nil).Providers(imageOf(ecrImage)); all != nil {
		t.Errorf("%v for a node that is not visible", all)
	}
	if all := New(Options{Root: k.host.Root(), ProviderConfig: "/etc/p"}).Providers(imageOf("Not/Valid")); all != nil {
		t.Errorf("%v for what is no image", all)
	}
}

// A pattern that nearly matches is noted: the kubelet takes port and path as they
// are written, and knows no scheme.
func TestNearProviders(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pattern, image string
		near           bool
	}{
		"port lacks":         {"10.9.8.7", "10.9.8.7:5000/library/nginx:1", true},
		"another port":       {"10.9.8.7:80", "10.9.8.7:5000/library/nginx:1", true},
		"a port too many":    {"reg.test:443", "reg.test/app:1", true},
		"wildcard in a path": {"harbor.test/*", "harbor.test/team/app:1", true},
		"wildcard behind":    {"harbor.test/team/*", "harbor.test/team/app:1", true},
		"scheme":             {"https://acme.azurecr.io", "acme.azurecr.io/team/app:1", true},
		"a variable":         {"$ACCOUNT.dkr.ecr.$(REGION).amazonaws.com", ecrImage, true},
		"a blank to fill in": {"<registry>.azurecr.io", "acme.azurecr.io/team/app:1", true},
		"a variable as path": {"harbor.test/$TEAM", "harbor.test/team/app:1", true},
		"in braces":          {"${ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", ecrImage, false}, // the kubelet does not start
		"of another host":    {"$ACCOUNT.azurecr.io", ecrImage, false},
		"it matches":         {"*.azurecr.io", "acme.azurecr.io/team/app:1", false},
		"another host":       {"10.9.8.8", "10.9.8.7:5000/library/nginx:1", false},
		"another path":       {"harbor.test/other/*", "harbor.test/team/app:1", false},
	} {
		k := newNode(t, map[string]string{"etc/p": providerYAML("v1", "corp "+tc.pattern)})
		k.providerConfig = "/etc/p"
		if got := k.NearProviders(imageOf(tc.image)); (len(got) == 1) != tc.near || tc.near && got[0].Pattern != safePattern(tc.pattern) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := newNode(t, nil).NearProviders(imageOf(ecrImage)); got != nil {
		t.Errorf("%+v", got)
	}
}
