package node

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/deploy/lab/supervise"
)

func TestWrite(t *testing.T) {
	var root string
	authorities, err := OpenAuthorities(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for containerd, head := range map[int]string{1: "version = 2\n", 2: "version = 3\n"} {
		root = t.TempDir()
		if err := Write(root, authorities, containerd); err != nil {
			t.Fatal(err)
		}
		config := read(t, root, "/etc/containerd/config.toml")
		if !strings.HasPrefix(config, head) || !strings.Contains(config, `config_path = "/etc/containerd/certs.d"`) || !strings.Contains(config, SandboxImage) {
			t.Errorf("configuration of containerd %d:\n%s", containerd, config)
		}
	}
	if bundle := read(t, root, "/etc/ssl/certs/ca-certificates.crt"); strings.Contains(bundle, string(authorities.Registry.PEM())) {
		t.Error("the node trusts the registries' authority for every name")
	}
	for user := range clients() {
		if _, err := tls.LoadX509KeyPair(filepath.Join(root, pkiDir, user+".crt"), filepath.Join(root, pkiDir, user+".key")); err != nil {
			t.Error(err)
		}
	}
}

func TestAuthoritiesAreKept(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenAuthorities(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenAuthorities(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Cluster.Certificate.Equal(second.Cluster.Certificate) || first.Cluster.Certificate.Equal(first.Registry.Certificate) {
		t.Error("authorities change, or are identical")
	}
}

func TestAdminKubeconfigStandsAlone(t *testing.T) {
	authorities, err := OpenAuthorities(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config, err := AdminKubeconfig(authorities, "https://127.0.0.1:1234")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(config, "server: https://127.0.0.1:1234\n") {
		t.Errorf("no server in\n%s", config)
	}
	values := regexp.MustCompile(`-data: (\S+)`).FindAllStringSubmatch(config, -1)
	if len(values) != 3 {
		t.Fatalf("%d embedded files", len(values))
	}
	for _, v := range values {
		if data, err := base64.StdEncoding.DecodeString(v[1]); err != nil || !strings.HasPrefix(string(data), "-----BEGIN") {
			t.Errorf("not a PEM file: %v", err)
		}
	}
}

func TestZoneHasEveryRegistryOnAnAddressOfTheLab(t *testing.T) {
	zone := Zone(registry.Hosts())
	for _, host := range []string{registry.HubHost, registry.HubHost2, registry.TokenHost, registry.AuthHost} {
		if !strings.Contains(zone, " "+host+"\n") {
			t.Errorf("%s is not in the zone", host)
		}
	}
	for line := range strings.Lines(zone) {
		address, _, _ := strings.Cut(line, " ")
		if address != SilentAddress && !slices.Contains(Addresses(), address+"/24") {
			t.Errorf("no host has the address of %s", line)
		}
	}
	if strings.Contains(zone, registry.MissingHost) {
		t.Error("the missing name is there")
	}
}

func TestComponents(t *testing.T) {
	all := components(&apiClient{})
	if _, err := supervise.New(t.TempDir(), all); err != nil {
		t.Error(err)
	}
	for _, c := range all {
		if c.Title == "" || (c.Task == nil) == (c.Argv == nil) {
			t.Errorf("component %s needs a title, and either a program or a task", c.Name)
		}
	}
}

func TestNodeIsReadyOnlyByItsOwnWord(t *testing.T) {
	now := time.Now()
	var n nodeObject
	if err := n.ready(now); err == nil {
		t.Error("ready without a condition")
	}
	n.Status.Conditions = append(n.Status.Conditions, struct {
		Type, Status, Message string
		LastHeartbeatTime     time.Time
	}{"Ready", "True", "", now.Add(-time.Minute)})
	if err := n.ready(now); err == nil {
		t.Error("ready because of an earlier run")
	}
	n.Status.Conditions[0].LastHeartbeatTime = now
	if err := n.ready(now); err != nil {
		t.Error(err)
	}
	n.Status.Conditions[0].Status, n.Status.Conditions[0].Message = "False", "no network"
	if err := n.ready(now); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("not ready: %v", err)
	}
}

func TestForward(t *testing.T) {
	target := listen(t)
	go echo(target)
	front := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		Forward(ctx, front, func() (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", target.Addr().String())
		})
		close(done)
	}()

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	cancel()
	<-done
	if _, err := front.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func echo(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	_, _ = io.Copy(conn, conn)
	_ = conn.Close()
}

func read(t *testing.T, root, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Clean(filepath.Join(root, path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
