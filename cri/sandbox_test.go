package cri_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/critest"
)

func infoOf(t *testing.T, runtime string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "sandbox", runtime+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sandboxOf asks a runtime with the single sandbox s1 of the pod u1.
func sandboxOf(t *testing.T, s critest.Sandbox) cri.Sandbox {
	t.Helper()
	s.ID, s.PodUID = "s1", "u1"
	fake := critest.New(t)
	fake.AddSandbox(s)
	got, err := dial(t, fake.Socket).Sandbox(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSandboxOfEachRuntime(t *testing.T) {
	const resolvConf = "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/s1/resolv.conf"
	for runtime, want := range map[string]cri.Sandbox{
		"containerd-2": {
			NetNS:      "/var/run/netns/cni-00000000-0000-4000-8000-000000000002",
			ResolvConf: resolvConf,
			DNS: cri.DNS{
				Servers:  []string{"10.96.0.10"},
				Searches: []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"},
				Options:  []string{"ndots:5"},
			},
		},
		"containerd-1.7": {
			NetNS:      "/var/run/netns/cni-00000000-0000-4000-8000-000000000017",
			ResolvConf: resolvConf,
			DNS:        cri.DNS{Servers: []string{"192.0.2.53", "2001:db8::53"}, Options: []string{"timeout:2", "edns0"}},
		},
		"containerd-1.6": {
			NetNS:      "/var/run/netns/cni-00000000-0000-4000-8000-000000000016",
			ResolvConf: resolvConf,
		},
		"crio": {
			NetNS:      "/var/run/netns/00000000-0000-4000-8000-0000000000c0",
			ResolvConf: "/run/containers/storage/overlay-containers/s1/userdata/resolv.conf",
		},
	} {
		t.Run(runtime, func(t *testing.T) {
			want.ID = "s1"
			if got := sandboxOf(t, critest.Sandbox{Info: infoOf(t, runtime)}); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			// CRI-O lists a namespace path even for a pod with the node's
			// network.
			want.HostNetwork, want.NetNS = true, ""
			if got := sandboxOf(t, critest.Sandbox{Info: infoOf(t, runtime), HostNetwork: true}); !reflect.DeepEqual(got, want) {
				t.Errorf("with the node's network: got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// A missing part or one of unknown form does not affect the others.
func TestSandboxInfoIsReadLeniently(t *testing.T) {
	const dns = `"config":{"dns_config":{"servers":["10.0.0.1"]}}`
	const metadata = `"sandboxMetadata":{"Version":"v1","Metadata":{"NetNSPath":"/run/netns/b"}}`
	wantDNS := cri.DNS{Servers: []string{"10.0.0.1"}}
	for name, tc := range map[string]struct {
		info string
		want cri.Sandbox
	}{
		"none":            {"", cri.Sandbox{}},
		"not JSON":        {"<html>", cri.Sandbox{}},
		"a list":          {"[]", cri.Sandbox{}},
		"null":            {"null", cri.Sandbox{}},
		"too much":        {`{` + dns + `,"x":"` + strings.Repeat("x", 4<<20) + `"}`, cri.Sandbox{}},
		"spec a text":     {`{"runtimeSpec":"x",` + dns + `}`, cri.Sandbox{DNS: wantDNS}},
		"spec null":       {`{"runtimeSpec":null,` + dns + `,` + metadata + `}`, cri.Sandbox{DNS: wantDNS, NetNS: "/run/netns/b"}},
		"config a list":   {`{"config":[],` + metadata + `}`, cri.Sandbox{NetNS: "/run/netns/b"}},
		"metadata a text": {`{"sandboxMetadata":"x",` + dns + `}`, cri.Sandbox{DNS: wantDNS}},
		"spec first":      {`{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid","path":"/a"},{"type":"network","path":"/run/netns/a"}]}},` + metadata + `}`, cri.Sandbox{NetNS: "/run/netns/a"}},
		"empty DNS":       {`{"config":{"dns_config":{}}}`, cri.Sandbox{}},
		"DNS null":        {`{"config":{"dns_config":null}}`, cri.Sandbox{}},
		"other kinds of annotations": {
			`{"runtimeSpec":{"annotations":{"a":1},"linux":{"namespaces":[{"type":"network","path":"/run/netns/a"}]}}}`,
			cri.Sandbox{NetNS: "/run/netns/a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.want.ID = "s1"
			if got := sandboxOf(t, critest.Sandbox{Info: tc.info}); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestNetNSPathIsStrict(t *testing.T) {
	for path, ok := range map[string]bool{
		"/var/run/netns/cni-1":                   true,
		"/run/netns/" + strings.Repeat("n", 200): true,
		"":                                       false,
		"/":                                      false,
		"run/netns/a":                            false,
		"/run/netns/../../etc/shadow":            false,
		"/run//netns/a":                          false,
		"/run/netns/a/":                          false,
		"/run/netns/a b":                         false,
		`/run/netns/a\n`:                         false,
		`/run/netns/a\u0000`:                     false,
		"/run/" + strings.Repeat("n/", 2100) + "n": false,
	} {
		info := fmt.Sprintf(`{"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"%s"}]}}}`, path)
		want := ""
		if ok {
			want = path
		}
		if got := sandboxOf(t, critest.Sandbox{Info: info}).NetNS; got != want {
			t.Errorf("%.60q: got %.60q, want %.60q", path, got, want)
		}
	}
}

// Whoever creates a pod can write CRI-O's annotation. It must not lead to a
// file that is not the sandbox's.
func TestResolvConfIsTheSandboxs(t *testing.T) {
	const own = "/run/containers/storage/overlay-containers/s1/userdata/resolv.conf"
	for noted, want := range map[string]string{
		own:                                 own,
		"/etc/shadow":                       "",
		"/etc/resolv.conf":                  "",
		"/run/s2/resolv.conf":               "",
		"/run/s1/shadow":                    "",
		"/run/s1/../../etc/resolv.conf":     "",
		"run/s1/resolv.conf":                "",
		"/run/xs1/resolv.conf":              "",
		"/var/lib/kubelet/pods/resolv.conf": "",
		"":                                  "",
	} {
		info := fmt.Sprintf(`{"runtimeSpec":{"annotations":{"io.kubernetes.cri-o.ResolvPath":%q}}}`, noted)
		if got := sandboxOf(t, critest.Sandbox{Info: info}).ResolvConf; got != want {
			t.Errorf("annotation %q: got %q, want %q", noted, got, want)
		}
	}
	both := `{"runtimeSpec":{"mounts":[{"destination":"/etc/resolv.conf","source":"` + own + `"}],
		"annotations":{"io.kubernetes.cri-o.ResolvPath":"/x/s1/resolv.conf"}}}`
	if got := sandboxOf(t, critest.Sandbox{Info: both}).ResolvConf; got != own {
		t.Errorf("a mount and an annotation: got %q, want the mount's", got)
	}
}

func TestDNSIsValidatedAndBounded(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`"10.0.0.1",`, 1000), ",")
	info := `{"config":{"dns_config":{
		"servers":["name.example","10.0.0.1 ",` + many + `],
		"searches":["", "a b", "evil\noptions debug", "` + strings.Repeat("x", 256) + `", "."],
		"options":["ndots:5", "\u001b[31m"]}}}`
	got := sandboxOf(t, critest.Sandbox{Info: info}).DNS
	if len(got.Servers) != 30 || got.Servers[0] != "10.0.0.1" {
		t.Errorf("servers %q", got.Servers)
	}
	want := cri.DNS{Servers: got.Servers, Searches: []string{"."}, Options: []string{"ndots:5"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWhichSandbox(t *testing.T) {
	box := func(id, uid string, attempt uint32, created int64) critest.Sandbox {
		return critest.Sandbox{ID: id, PodUID: uid, Attempt: attempt, Created: created}
	}
	dead := box("dead", "u1", 9, 9)
	dead.NotReady = true
	stops := box("stops", "u1", 1, 1)
	stops.Stops = true
	for name, tc := range map[string]struct {
		sandboxes []critest.Sandbox
		want      string
		err       error
	}{
		"none":               {nil, "", cri.ErrNoSandbox},
		"another pod's":      {[]critest.Sandbox{box("a", "u2", 0, 1), box("b", "", 0, 1)}, "", cri.ErrNoSandbox},
		"not ready":          {[]critest.Sandbox{dead}, "", cri.ErrSandboxNotReady},
		"no longer ready":    {[]critest.Sandbox{stops}, "", cri.ErrSandboxNotReady},
		"ready before dead":  {[]critest.Sandbox{dead, box("a", "u1", 0, 1)}, "a", nil},
		"highest attempt":    {[]critest.Sandbox{box("a", "u1", 2, 1), box("b", "u1", 10, 0), box("c", "u1", 1, 5)}, "b", nil},
		"newest of attempt":  {[]critest.Sandbox{box("a", "u1", 1, 7), box("b", "u1", 1, 8), box("c", "u1", 1, 6)}, "b", nil},
		"same age, one rule": {[]critest.Sandbox{box("b", "u1", 1, 7), box("c", "u1", 1, 7), box("a", "u1", 1, 7)}, "c", nil},
	} {
		t.Run(name, func(t *testing.T) {
			fake := critest.New(t)
			fake.AddSandbox(tc.sandboxes...)
			got, err := dial(t, fake.Socket).Sandbox(t.Context(), "u1")
			if got.ID != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %q, %v; want %q, %v", got.ID, err, tc.want, tc.err)
			}
		})
	}
}

// An empty UID matches no pod.
func TestSandboxWithoutUID(t *testing.T) {
	fake := critest.New(t)
	fake.AddSandbox(critest.Sandbox{ID: "a"})
	if _, err := dial(t, fake.Socket).Sandbox(t.Context(), ""); !errors.Is(err, cri.ErrNoSandbox) || fake.Calls("ListPodSandbox") != 0 {
		t.Errorf("error %v after %d calls", err, fake.Calls("ListPodSandbox"))
	}
}

func TestSandboxFaults(t *testing.T) {
	for _, method := range []string{"ListPodSandbox", "PodSandboxStatus"} {
		for code, want := range map[codes.Code]cri.Kind{
			codes.Unavailable: cri.KindDown, codes.DeadlineExceeded: cri.KindTimeout,
			codes.Unimplemented: cri.KindUnimplemented, codes.Unknown: cri.KindFailed,
		} {
			fake := critest.New(t)
			fake.AddSandbox(critest.Sandbox{ID: "a", PodUID: "u1"})
			fake.Set(critest.Fault{Code: code, Of: method})
			_, err := dial(t, fake.Socket).Sandbox(t.Context(), "u1")
			var failed *cri.Error
			if !errors.As(err, &failed) || failed.Op != method || failed.Kind != want {
				t.Errorf("%s, %s: error %v, want %s of it", method, code, err, want)
			}
		}
	}
	// Removed between the two calls.
	fake := critest.New(t)
	fake.AddSandbox(critest.Sandbox{ID: "a", PodUID: "u1"})
	fake.Set(critest.Fault{Code: codes.NotFound, Of: "PodSandboxStatus"})
	if _, err := dial(t, fake.Socket).Sandbox(t.Context(), "u1"); !errors.Is(err, cri.ErrNoSandbox) {
		t.Errorf("error %v, want no sandbox", err)
	}
}

// Calls at the same time share a list of all sandboxes, unless that is large: then each has
// its own, and no list of all is asked for.
func TestSandboxesOfManyPods(t *testing.T) {
	t.Parallel()
	const pods = 100
	for name, annotation := range map[string]string{"small": "", "large": strings.Repeat("x", 16<<10)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := critest.New(t)
			for i := range pods {
				fake.AddSandbox(critest.Sandbox{ID: fmt.Sprint("s", i), PodUID: fmt.Sprint("u", i), Annotations: map[string]string{"a": annotation}})
			}
			fake.Set(critest.Fault{Delay: 20 * time.Millisecond}) // so that calls meet
			r := dial(t, fake.Socket)
			ask := func() (calls int) {
				before := fake.Calls("ListPodSandbox")
				var wg sync.WaitGroup
				for i := range pods {
					wg.Go(func() {
						if got, err := r.Sandbox(t.Context(), fmt.Sprint("u", i)); err != nil || got.ID != fmt.Sprint("s", i) {
							t.Errorf("pod %d: got sandbox %q, error %v", i, got.ID, err)
						}
					})
				}
				wg.Wait()
				return fake.Calls("ListPodSandbox") - before
			}
			first, second := ask(), ask()
			switch {
			case annotation == "" && first+second > pods:
				t.Errorf("%d and %d lists for %d pods", first, second, pods)
			case annotation != "" && (first <= pods || second != pods):
				t.Errorf("%d and %d lists for %d pods, of which all are too many for one", first, second, pods)
			}
			if _, err := r.Sandbox(t.Context(), "other"); !errors.Is(err, cri.ErrNoSandbox) {
				t.Errorf("error %v for a pod without one", err)
			}
		})
	}
}
