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
		seen  Presence
	}{
		"nothing is mounted":           {map[string]string{"x/": ""}, "", NotVisible},
		"only etc is":                  {map[string]string{unit: "[Service]\nExecStart=/usr/bin/kubelet"}, "", NotVisible},
		"all is, and no service":       {all(nil), "", NotVisible},
		"all is, no flag":              {all(map[string]string{unit: "[Service]\nExecStart=/usr/bin/kubelet"}), "", Absent},
		"in the unit":                  {map[string]string{unit: "[Service]\nExecStart=" + flagged}, "/etc/here.yaml", Present},
		"with a blank":                 {map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-config /etc/b.yaml"}, "/etc/b.yaml", Present},
		"continued lines":              {map[string]string{unit: "[Service]\nExecStart=kubelet \\\n  --image-credential-provider-config=/etc/c.yaml \\\n --v=1"}, "/etc/c.yaml", Present},
		"the last of two":              {map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-config=/etc/a --image-credential-provider-config=/etc/b"}, "/etc/b", Present},
		"in a comment":                 {all(map[string]string{unit: "[Service]\nExecStart=kubelet\n# " + flagged}), "", Absent},
		"another flag that begins so":  {all(map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-config-dir=/x"}), "", Absent},
		"a drop-in wins":               {map[string]string{unit: "[Service]\nExecStart=" + flagged, dropIn + "10-a.conf": "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--image-credential-provider-config=/etc/10", dropIn + "20-b.conf": "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--image-credential-provider-config=/etc/20", dropIn + "30.bak": "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--image-credential-provider-config=/etc/30"}, "/etc/20", Present},
		"a drop-in's own command":      {map[string]string{unit: "[Service]\nExecStart=" + flagged, dropIn + "10.conf": "[Service]\nExecStart=\nExecStart=kubelet --image-credential-provider-config=/etc/d"}, "/etc/d", Present},
		"no assignment of the service": {all(map[string]string{unit: "[Unit]\nDescription=" + flagged + "\n[Service]\nExecStart=kubelet"}), "", Absent},
		"KUBELET_EXTRA_ARGS":           {map[string]string{unit: "[Service]\nExecStart=" + flagged, "etc/default/kubelet": `KUBELET_EXTRA_ARGS="--image-credential-provider-config=/etc/extra --v=3"`}, "/etc/extra", Present},
		"sysconfig":                    {map[string]string{"etc/sysconfig/kubelet": `KUBELET_EXTRA_ARGS=--image-credential-provider-config=/etc/sys`}, "/etc/sys", Present},
		"an environment file":          {map[string]string{unit: "[Service]\nEnvironmentFile=-/etc/eks/kubelet/environment\nExecStart=kubelet $ARGS", "etc/eks/kubelet/environment": `ARGS="--image-credential-provider-config=/etc/eks/x.json"`}, "/etc/eks/x.json", Present},
		"a missing environment file":   {all(map[string]string{unit: "[Service]\nEnvironmentFile=-/etc/eks/kubelet/environment\nExecStart=kubelet $ARGS"}), "", Absent},
		"a process":                    {map[string]string{"proc/1/cmdline": "init\x00", "proc/20/cmdline": "/usr/bin/kubelet\x00--image-credential-provider-config=/etc/proc\x00", "proc/x/cmdline": "kubelet\x00--image-credential-provider-config=/no"}, "/etc/proc", Present},
		"a process without":            {map[string]string{"proc/20/cmdline": "/usr/bin/kubelet\x00--v=1\x00", "etc/eks/image-credential-provider/config.json": "{}"}, "", Absent},
		"well known":                   {map[string]string{"etc/eks/image-credential-provider/config.json": "{}"}, "/etc/eks/image-credential-provider/config.json", Present},
		"a relative path":              {all(map[string]string{unit: "[Service]\nExecStart=kubelet --image-credential-provider-config=etc/x"}), "", Absent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, seen := newNode(t, tc.files).providerPath()
			if got != tc.want || seen != tc.seen {
				t.Errorf("%q (%q), want %q (%q)", got, seen, tc.want, tc.seen)
			}
		})
	}
}

func TestProviders(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		want  []string // name, pattern
		seen  Presence
	}{
		"v1":                    {map[string]string{"etc/p": providerYAML("v1", ecr)}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com"}, Present},
		"v1beta1":               {map[string]string{"etc/p": providerYAML("v1beta1", ecr)}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com"}, Present},
		"v1alpha1":              {map[string]string{"etc/p": providerYAML("v1alpha1", ecr)}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com"}, Present},
		"JSON":                  {map[string]string{"etc/p": `{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[{"name":"a","matchImages":["*.*.*.*.amazonaws.com"],"tokenAttributes":{"requireServiceAccount":true}}]}`}, []string{"a *.*.*.*.amazonaws.com token"}, Present},
		"several, in order":     {map[string]string{"etc/p": providerYAML("v1", "z "+strings.SplitN(ecrImage, "/", 2)[0], "b gcr.io", "a *.dkr.ecr.*.amazonaws.com")}, []string{"z 123.dkr.ecr.eu-west-1.amazonaws.com", "a *.dkr.ecr.*.amazonaws.com"}, Present},
		"none for it":           {map[string]string{"etc/p": providerYAML("v1", "gcr gcr.io")}, nil, Present},
		"a directory":           {map[string]string{"etc/p/2.yaml": providerYAML("v1", "two *.*.*.*.*.com"), "etc/p/1.yml": providerYAML("v1", ecr), "etc/p/0.txt": "x", "etc/p/x.json/": ""}, []string{"ecr-credential-provider *.dkr.ecr.*.amazonaws.com", "two *.*.*.*.*.com"}, Present},
		"an empty directory":    {map[string]string{"etc/p/": ""}, nil, NotVisible},
		"a name twice":          {map[string]string{"etc/p/1.yaml": providerYAML("v1", ecr), "etc/p/2.yaml": providerYAML("v1", ecr)}, nil, NotVisible},
		"not there":             {map[string]string{"etc/": ""}, nil, NotVisible},
		"a later version":       {map[string]string{"etc/p": providerYAML("v2", ecr)}, nil, NotVisible},
		"another kind":          {map[string]string{"etc/p": strings.ReplaceAll(providerYAML("v1", ecr), "ProviderConfig", "Config")}, nil, NotVisible},
		"another group":         {map[string]string{"etc/p": strings.ReplaceAll(providerYAML("v1", ecr), "kubelet.config", "x")}, nil, NotVisible},
		"not YAML":              {map[string]string{"etc/p": "{"}, nil, NotVisible},
		"a name with a slash":   {map[string]string{"etc/p": providerYAML("v1", "../x *.dkr.ecr.*.amazonaws.com")}, nil, NotVisible},
		"a name with a break":   {map[string]string{"etc/p": strings.ReplaceAll(providerYAML("v1", ecr), "ecr-c", `ecr\nc`)}, nil, NotVisible},
		"a name that is a dot":  {map[string]string{"etc/p": providerYAML("v1", ".. *.dkr.ecr.*.amazonaws.com")}, nil, NotVisible},
		"a pattern not to show": {map[string]string{"etc/p": providerYAML("v1", "a 123.dkr.ecr.eu-west-1.amazonaws.com/%61pp")}, []string{"a "}, Present},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newNode(t, tc.files)
			k.providerConfig = "/etc/p"
			all, seen := k.Providers(imageOf(ecrImage))
			var got []string
			for _, p := range all {
				s := p.Name + " " + p.Pattern
				if p.TokenMode {
					s += " token"
				}
				got = append(got, s)
			}
			if !slices.Equal(got, tc.want) || seen != tc.seen {
				t.Errorf("%q (%q), want %q (%q)", got, seen, tc.want, tc.seen)
			}
		})
	}
}

func TestProvidersNotConfigured(t *testing.T) {
	t.Parallel()
	k := newNode(t, map[string]string{"usr/lib/": "", "etc/systemd/system/kubelet.service": "[Service]\nExecStart=kubelet"})
	if all, seen := k.Providers(imageOf(ecrImage)); all != nil || seen != Absent {
		t.Errorf("%v (%q)", all, seen)
	}
	if all, seen := newNode(t, nil).Providers(imageOf(ecrImage)); all != nil || seen != NotVisible {
		t.Errorf("%v (%q)", all, seen)
	}
	if all, _ := New(Options{Root: k.host.Root(), ProviderConfig: "/etc/p"}).Providers(imageOf("Not/Valid")); all != nil {
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
		"it matches":         {"*.azurecr.io", "acme.azurecr.io/team/app:1", false},
		"another host":       {"10.9.8.8", "10.9.8.7:5000/library/nginx:1", false},
		"another path":       {"harbor.test/other/*", "harbor.test/team/app:1", false},
	} {
		k := newNode(t, map[string]string{"etc/p": providerYAML("v1", "corp "+tc.pattern)})
		k.providerConfig = "/etc/p"
		if got := k.NearProviders(imageOf(tc.image)); (len(got) == 1) != tc.near || tc.near && got[0].Pattern != tc.pattern {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := newNode(t, nil).NearProviders(imageOf(ecrImage)); got != nil {
		t.Errorf("%+v", got)
	}
}
