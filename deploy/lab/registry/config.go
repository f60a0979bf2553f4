package registry

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/whypull/whypull/cri/catest"
)

// configDir is the directory with the registries' configuration inside the lab.
const configDir = "/etc/lab/registry"

// AuthorityFile is the CA certificate of the registries inside the lab.
const AuthorityFile = configDir + "/ca.crt"

// ConfigFile returns the configuration file of a registry inside the lab.
func ConfigFile(registry string) string { return configDir + "/" + registry + ".yaml" }

// Address returns the listen address of a registry inside the lab.
func Address(registry string) string {
	return map[string]string{
		Hub: hubAddress + ":443", Token: tokenAddress + ":443", Plain: plainAddress + ":5000", Auth: authAddress + ":443",
		Limited: limitedAddress + ":5000",
	}[registry]
}

// WriteConfig writes the registries' files, and the node's configuration for the
// registries, below root. The authority signs their certificates.
func WriteConfig(root string, authority *catest.Pair) error {
	dir := filepath.Join(root, configDir)
	if err := writeCertificates(dir, authority); err != nil {
		return err
	}
	files, err := configs(dir)
	if err != nil {
		return err
	}
	files[AuthorityFile] = string(authority.PEM())
	maps.Copy(files, hostFiles(string(authority.PEM())))
	return WriteFiles(root, files)
}

// WriteFiles writes files by their paths below root. Everybody may read them, as on a
// real node.
func WriteFiles(root string, files map[string]string) error {
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // #nosec G301
			return fmt.Errorf("configuration: %w", err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil { // #nosec G306
			return fmt.Errorf("configuration: %w", err)
		}
	}
	return nil
}

func writeCertificates(dir string, authority *catest.Pair) error {
	const day = 24 * time.Hour
	long := time.Now().Add(-2 * day)
	requests := map[string]catest.Request{
		"hub": {CommonName: HubHost, Names: []string{
			HubHost, HubHost2, UntrustedHost, MirroredHost, MisconfiguredHost, NodeLoginHost, ProxiedHost}},
		"token":     {CommonName: TokenHost, Names: []string{TokenHost, TokenHost2}},
		"auth":      {CommonName: AuthHost, Names: []string{AuthHost}},
		"expired":   {CommonName: ExpiredHost, Names: []string{ExpiredHost}, NotBefore: long, NotAfter: long.Add(day)},
		"expiring":  {CommonName: ExpiringHost, Names: []string{ExpiringHost}, NotBefore: long, NotAfter: time.Now().Add(10 * day)},
		"ending":    {CommonName: EndingHost, Names: []string{EndingHost}, NotBefore: long, NotAfter: time.Now().Add(2 * day)},
		"token-key": {CommonName: "token service"},
	}
	for name, request := range requests {
		pair, err := authority.Issue(request)
		if err != nil {
			return err
		}
		if err := pair.Write(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func configs(dir string) (map[string]string, error) {
	key, err := catest.Read(filepath.Join(dir, "token-key"))
	if err != nil {
		return nil, err
	}
	keys, err := keySet(key)
	if err != nil {
		return nil, err
	}
	passwords, err := htpasswd()
	if err != nil {
		return nil, err
	}
	return map[string]string{
		configDir + "/keys.json": string(keys),
		configDir + "/htpasswd":  passwords,
		ConfigFile(Hub): config(Hub) + tlsConfig("hub") + `auth:
  htpasswd:
    realm: lab
    path: ` + configDir + "/htpasswd\n",
		ConfigFile(Token): config(Token) + tlsConfig("token") + `auth:
  token:
    realm: https://` + AuthHost + `/token
    service: ` + TokenHost + `
    issuer: ` + AuthHost + `
    jwks: ` + configDir + "/keys.json\n",
		ConfigFile(Plain): config(Plain),
	}, nil
}

func htpasswd() (string, error) {
	var lines strings.Builder
	for _, user := range [][2]string{{Alice, AlicePassword}, {Bob, BobPassword}} {
		// A cheap hash: the passwords are public, and every request checks one.
		hash, err := bcrypt.GenerateFromPassword([]byte(user[1]), bcrypt.MinCost)
		if err != nil {
			return "", fmt.Errorf("password file: %w", err)
		}
		fmt.Fprintf(&lines, "%s:%s\n", user[0], hash)
	}
	return lines.String(), nil
}

// config returns the configuration that all registries share. It ends in the http
// section.
func config(name string) string {
	return `version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: /var/lib/lab/` + name + `
  delete:
    enabled: true
http:
  addr: ` + Address(name) + `
  secret: lab
`
}

func tlsConfig(pair string) string {
	return `  tls:
    certificate: ` + configDir + "/" + pair + `.crt
    key: ` + configDir + "/" + pair + ".key\n"
}

// HostsFile returns the path and content of the node's correct hosts.toml for one of
// the registries with TLS.
func HostsFile(host string) (path, content string) {
	const dir = "/etc/containerd/certs.d/"
	return dir + host + "/hosts.toml", fmt.Sprintf("server = %q\nca = %q\n\n[host.%q]\n  ca = %q\n",
		"https://"+host, dir+HubHost+"/ca.crt", "https://"+host, dir+HubHost+"/ca.crt")
}

// hostFiles returns containerd's configuration for the registries. UntrustedHost and
// PlainHost2 are omitted on purpose.
func hostFiles(ca string) map[string]string {
	const dir = "/etc/containerd/certs.d/"
	files := map[string]string{
		dir + MirroredHost + "/hosts.toml": fmt.Sprintf("server = %q\nca = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n",
			"https://"+MirroredHost, dir+HubHost+"/ca.crt", "http://"+PlainHost),
		dir + MisconfiguredHost + "/hosts.toml": "server = https://" + MisconfiguredHost + "\n",
	}
	insecure := []string{PlainHost, LimitedHost, ExhaustedHost, NearHost, StallHost, FlakyHost, SlowHost, FickleHost}
	for _, label := range Names() {
		insecure = append(insecure, NameHost(label))
	}
	for _, host := range insecure {
		files[dir+host+"/hosts.toml"] = fmt.Sprintf("server = %q\n\n[host.%q]\n", "http://"+host, "http://"+host)
	}
	for _, host := range []string{HubHost, HubHost2, MismatchHost, ExpiredHost, ExpiringHost, EndingHost, TokenHost, TokenHost2, NodeLoginHost, ProxiedHost} {
		url := "https://" + host
		files[dir+host+"/hosts.toml"] = fmt.Sprintf("server = %q\nca = %q\n\n[host.%q]\n  ca = %q\n", url, dir+host+"/ca.crt", url, dir+host+"/ca.crt")
		files[dir+host+"/ca.crt"] = ca
	}
	return files
}
