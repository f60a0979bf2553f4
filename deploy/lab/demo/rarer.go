package demo

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// rarer returns scenarios that the demo leaves out. Most need a broken node or
// registry, which the commands of the remedy alone cannot fix.
func rarer() []Scenario {
	all := []Scenario{mirrorHides(), hostsFileBroken(), platformMismatch(), layerCorrupt(), tokenExpired(), rateLimited(), proxyDown(), nodeLogin()}
	for i := range all {
		all[i].TestsOnly = true
	}
	return all
}

// expect returns the expectation for one failing container called app in the pod app.
func expect(cause, confidence string, summary []string, evidence ...Evidence) []Expectation {
	return []Expectation{{Pod: "app", Container: "app", Kind: "container", Cause: cause, Confidence: confidence, Summary: summary, Evidence: evidence}}
}

// containerd 2 shows the mirror's "not found" and hides that the upstream registry
// requires credentials.
func mirrorHides() Scenario {
	reference := registry.MirroredHost + "/demo/mirrored:1.0"
	return Scenario{
		Name: "mirror-hides-upstream", Title: "a mirror without the image hides that the upstream registry requires credentials",
		Images: []string{hub("mirrored")}, Manifests: []string{Pod("app", reference, "", "")},
		Expect: expect("MirrorFailed", confirmed, []string{registry.PlainHost},
			Evidence{"message", "Failed", "TagNotFound", "not found"},
			Evidence{"registry", "Failed", "RepositoryNotFound", registry.PlainHost},
			Evidence{"registry", "Failed", "Unauthorized", registry.MirroredHost}),
		Fill: credentials(registry.Alice, registry.AlicePassword),
	}
}

func hostsFileBroken() Scenario {
	reference := registry.MisconfiguredHost + "/demo/misconfigured:1.0"
	return Scenario{
		Name: "hosts-file-broken", Title: "the node's hosts.toml for the registry does not parse", Images: []string{hub("misconfigured")},
		Manifests: []string{manifests(Secret("regcred", registry.MisconfiguredHost, registry.Alice, registry.AlicePassword),
			Pod("app", reference, "", PullSecrets("regcred")))},
		Expect: expect("RegistryConfigInvalid", "Likely", []string{registry.MisconfiguredHost},
			Evidence{"message", "Failed", "TLSUntrusted", ""},
			Evidence{"registry", "Inconclusive", "RegistryConfigInvalid", "hosts.toml does not parse (line 1)"},
			Evidence{"registry", "Failed", "TLSUntrusted", ""}),
		Fix: func(_ context.Context, l *lab.Lab) error {
			name, content := registry.HostsFile(registry.MisconfiguredHost)
			return l.WriteFile(name, []byte(content))
		},
	}
}

func platformMismatch() Scenario {
	return Scenario{
		Name: "platform-mismatch", Title: "the image has no variant for the node's architecture",
		Manifests: []string{Pod("app", registry.PlainForeign, "", "")},
		Expect: expect("PlatformMismatch", confirmed, []string{"linux/"},
			Evidence{"message", "Failed", "PlatformMismatch", ""},
			Evidence{"registry", "Failed", "PlatformMismatch", "linux/"}),
		Fix: func(ctx context.Context, l *lab.Lab) error { // the tag gets an image for this node
			i, err := l.PauseImage(registry.PlainForeign)
			if err != nil {
				return err
			}
			return l.Push(ctx, registry.PlainForeign, i)
		},
	}
}

// A layer in the registry's storage has a flipped bit.
func layerCorrupt() Scenario {
	reference := plain("layer-corrupt")
	return Scenario{
		Name: "layer-corrupt", Title: "the registry's copy of a layer is damaged",
		Manifests: []string{Pod("app", reference, "", "")},
		Prepare: func(ctx context.Context, l *lab.Lab) error {
			i, err := paddedImage(l, reference)
			if err != nil {
				return err
			}
			if err := l.Push(ctx, reference, i); err != nil {
				return err
			}
			return writeLayer(l, i, func(data []byte) { data[len(data)/2] ^= 1 })
		},
		Expect: expect("ContentCorrupt", confirmed, []string{"sha256:", registry.PlainHost},
			Evidence{"message", "Failed", "ContentCorrupt", ""},
			Evidence{"registry", "Failed", "ContentCorrupt", ""},
			Evidence{"pull", "Failed", "ContentCorrupt", "without credentials"}), // pulled, or replayed if the kubelet is pulling for others
		Fix: func(_ context.Context, l *lab.Lab) error {
			i, err := paddedImage(l, reference)
			if err != nil {
				return err
			}
			return writeLayer(l, i, func([]byte) {})
		},
	}
}

// paddedImage builds an image whose layer is in no other image.
func paddedImage(l *lab.Lab, reference string) (v1.Image, error) {
	program, err := l.ToolPath("pause")
	if err != nil {
		return nil, err
	}
	return image.Build(image.Options{Name: reference, Program: program, Padding: 4096})
}

// writeLayer overwrites the first layer of an image in the storage of the registry
// without TLS.
func writeLayer(l *lab.Lab, i v1.Image, change func([]byte)) error {
	layers, err := i.Layers()
	if err != nil {
		return fmt.Errorf("layers: %w", err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	content, err := layers[0].Compressed()
	if err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	data, err := io.ReadAll(content)
	if err = errors.Join(err, content.Close()); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	change(data)
	return l.WriteFile(path.Join("/var/lib/lab", registry.Plain, "docker/registry/v2/blobs/sha256", digest.Hex[:2], digest.Hex, "data"), data)
}

func tokenExpired() Scenario {
	reference := registry.TokenHost + "/team-a/token-expired:1.0"
	return Scenario{
		Name: "token-expired", Title: "the token in the secret has expired", Images: []string{reference},
		Manifests: []string{manifests(Secret("regcred", registry.TokenHost, "robot", expiredToken()), Pod("app", reference, "", PullSecrets("regcred")))},
		Expect: expect("CredentialsExpired", confirmed, []string{"regcred", "expired"},
			Evidence{"credentials", "Failed", "CredentialExpired", "expired at 2020-01-01"},
			Evidence{"registry", "Failed", "Unauthorized", "the credentials in secret regcred"}),
		Fill: credentials(registry.Admin, registry.AdminPassword),
	}
}

// expiredToken returns a JSON Web Token that expired in 2020.
func expiredToken() string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + part([]byte(`{"sub":"robot","exp":1577836800}`)) + "." + part(bytes.Repeat([]byte{1}, 64))
}

func rateLimited() Scenario {
	return Scenario{
		Name: "rate-limited", Title: "the registry limits the rate of pulls",
		Manifests: []string{Pod("app", registry.LimitedHost+"/demo/limited:1.0", "", "")}, Unfixable: true,
		Expect: expect("RateLimited", confirmed, []string{registry.LimitedHost},
			Evidence{"message", "Failed", "RateLimited", "429"},
			Evidence{"registry", "Failed", "RateLimited", ""}),
	}
}

func proxyDown() Scenario {
	return Scenario{
		Name: "proxy-down", Title: "the node's proxy for the registry is down",
		Manifests: []string{Pod("app", registry.ProxiedHost+"/demo/proxied:1.0", "", "")}, Unfixable: true,
		Expect: expect("ProxyFailed", confirmed, []string{"proxy"},
			Evidence{"message", "Failed", "ProxyFailed", "proxyconnect"},
			Evidence{"registry", "Failed", "ProxyFailed", ""}),
	}
}

func nodeLogin() Scenario {
	return Scenario{
		Name: "node-credentials-wrong", Title: "the node's own credentials for the registry are wrong",
		Manifests: []string{Pod("app", registry.NodeLoginHost+"/demo/node-login:1.0", "", "")}, Unfixable: true,
		Expect: expect("CredentialsRejected", confirmed, []string{registry.NodeLoginHost},
			Evidence{"message", "Failed", "CredentialsRejected", "401"},
			Evidence{"credentials", "Passed", "", "/var/lib/kubelet/config.json has credentials for " + registry.NodeLoginHost},
			Evidence{"registry", "Failed", "Unauthorized", ""}),
	}
}
