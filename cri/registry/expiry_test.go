package registry_test

import (
	"testing"
	"time"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// TestCertificateExpiry: the reported expiry is the one that the node goes by.
func TestCertificateExpiry(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	ca := catest.New(t) // ends in 48 hours
	for name, tc := range map[string]struct {
		leaf    catest.Request
		foreign bool
		plain   bool
		skip    bool
		want    time.Duration // from now; 0: none
	}{
		"the certificate's":       {leaf: catest.Request{NotAfter: now.Add(time.Hour)}, want: time.Hour},
		"its authority's":         {leaf: catest.Request{NotAfter: now.Add(1000 * time.Hour)}, want: 48 * time.Hour},
		"expired":                 {leaf: catest.Request{NotBefore: now.Add(-3 * time.Hour), NotAfter: now.Add(-time.Hour)}, want: -time.Hour},
		"for another name":        {leaf: catest.Request{Names: []string{"other.test"}}},
		"of an unknown authority": {foreign: true},
		"without TLS":             {plain: true},
		"that nobody verifies":    {leaf: catest.Request{NotAfter: now.Add(time.Hour)}, skip: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cert := ca.Issue(tc.leaf)
			s := registrytest.New(t, registrytest.Config{CA: ca, Certificate: cert, Plain: tc.plain,
				Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}})
			files := map[string]string{"etc/ssl/certs/ca-certificates.crt": string(ca.PEM())}
			if tc.foreign {
				files["etc/ssl/certs/ca-certificates.crt"] = string(catest.New(t).PEM())
			}
			if tc.skip {
				files["etc/containerd/certs.d/"+folder(s.Host)+"/hosts.toml"] = "[host.\"https://" + s.Host + "\"]\nskip_verify = true\n"
			}
			opts := options(node(t, files))
			opts.CertsDir = "/etc/containerd/certs.d"
			eps, _ := endpoints(t, opts, s.Host)
			got := eps[0].Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil).TLS.Expiry
			if tc.want == 0 {
				if !got.IsZero() {
					t.Errorf("%s, want none", got)
				}
				return
			}
			if off := got.Sub(now.Add(tc.want)).Abs(); off > time.Minute {
				t.Errorf("%s, want %s from now", got, tc.want)
			}
		})
	}
}
