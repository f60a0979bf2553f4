package systemd

import (
	"fmt"
	"slices"
	"testing"

	"github.com/whypull/whypull/cri/credential/credentialtest"
	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
)

func node(t *testing.T, files map[string]string) hostfs.FS {
	t.Helper()
	return hostfs.New(hostfstest.New(t, files))
}

// Texts come in order of precedence, the reverse of the order in which systemd
// reads the files.
func TestReadService(t *testing.T) {
	t.Parallel()
	s := ReadService(node(t, map[string]string{
		"etc/systemd/system/a-b.service":               "[Unit]\nDescription=no\n[Service]\nExecStart=run \\\n  --x\nEnvironmentFile=-/etc/default/%N\n",
		"usr/lib/systemd/system/a-b.service":           "[Service]\nExecStart=other\n",
		"usr/lib/systemd/system/a-b.service.d/20.conf": "[Service]\nEnvironment=A=1 B=2\nEnvironmentFile=relative\nEnvironmentFile=/etc/d/*.env\n",
		"run/systemd/system/a-.service.d/10.conf":      "[Service]\nEnvironment=A=0 C=3\nUnsetEnvironment=C\n",
		"etc/systemd/system.conf":                      "[Manager]\nDefaultEnvironment=D=4 A=9\n",
		"etc/d/2.env":                                  "B=22\n",
		"etc/d/1.env":                                  "B=11\n",
	}), "a-b")
	if want := []string{"/etc/systemd/system/a-b.service", "/run/systemd/system/a-.service.d/10.conf", "/usr/lib/systemd/system/a-b.service.d/20.conf"}; !slices.Equal(s.Files(), want) {
		t.Errorf("files %q", s.Files())
	}
	if want := []string{"A=1 B=2\nrelative\n/etc/d/*.env", "A=0 C=3\nC", "run    --x\n-/etc/default/%N"}; !slices.Equal(s.Texts(), want) {
		t.Errorf("texts %q", s.Texts())
	}
	if want := []string{"/etc/default/a-b", "/etc/d/1.env", "/etc/d/2.env"}; !slices.Equal(s.EnvironmentFiles(), want) {
		t.Errorf("environment files %q", s.EnvironmentFiles())
	}
	env := s.Environment()
	for name, want := range map[string]string{"A": "1", "B": "22", "C": "", "D": "4"} {
		if got := env.First(name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
	if got := env.FileOf("B"); got != "/etc/d/2.env" {
		t.Errorf("B is of %s", got)
	}
}

// Specifiers are those of the system's manager; a variable with one that there is not, as in a
// password that is percent-encoded, is not set.
func TestSpecifiers(t *testing.T) {
	t.Parallel()
	env := ReadService(node(t, map[string]string{
		"etc/systemd/system/k3s-agent.service": "[Service]\nEnvironment=A=%H/%l/%m B=%G:%u@%h C=%t/%N.sock:%S:%E D=p%%40ss%%23 F=%j%i%q G=p%40ss H=100%%40%% I=5%\n",
		"etc/hostname":                         "n1.corp.test\n",
	}), "k3s-agent").Environment()
	for name, want := range map[string]string{"A": "n1.corp.test/n1/%m", "B": "0:root@/root", "C": "/run/k3s-agent.sock:/var/lib:/etc", "D": "p%40ss%23", "F": "agent%q", "G": "", "H": "100%40%", "I": "5%"} {
		if got := env.First(name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
}

// A unit's command line and variables may hold a password.
func TestServicesDoNotPrint(t *testing.T) {
	t.Parallel()
	credentialtest.NeverShows(t, ReadService(node(t, map[string]string{
		"etc/systemd/system/a.service": "[Service]\nExecStart=run --x=hunter2\nEnvironment=A=hunter2\nUnsetEnvironment=A=hunter2\n",
		"etc/systemd/system.conf":      "[Manager]\nDefaultEnvironment=D=hunter2\n",
	}), "a"), "hunter2")
}

func TestNoService(t *testing.T) {
	t.Parallel()
	s := ReadService(node(t, nil), "a")
	if len(s.Files())+len(s.Texts())+len(s.EnvironmentFiles())+len(s.Environment()) > 0 {
		t.Errorf("files %q, texts %q", s.Files(), s.Texts())
	}
}

// A pattern may match any number of files.
func TestEnvironmentFilesAreBounded(t *testing.T) {
	t.Parallel()
	files := map[string]string{"etc/systemd/system/a.service": "[Service]\nEnvironmentFile=/etc/d/*\n"}
	for i := range maxEnvironmentFiles + 5 {
		files[fmt.Sprintf("etc/d/%d", i)] = ""
	}
	if got := len(ReadService(node(t, files), "a").EnvironmentFiles()); got != maxEnvironmentFiles {
		t.Errorf("%d files", got)
	}
}
