package registry_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// containerd resolves a reference with containerd's own resolver, set up as
// its transfer service does, against the test registry.
func containerd(t *testing.T, s *registrytest.Server, image string, cred *credential.Credential) error {
	t.Helper()
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	ctx, cancel := context.WithTimeout(log.WithLogger(t.Context(), logrus.NewEntry(logger)), 20*time.Second)
	defer cancel()
	var client *http.Client
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, config.HostOptions{
		Credentials: func(string) (string, string, error) {
			if cred == nil || cred.Username.Reveal() == "" {
				return "", "", nil
			}
			return cred.Username.Reveal(), cred.Password.Reveal(), nil
		},
		UpdateClient: func(c *http.Client) error {
			client = c
			tr, ok := c.Transport.(*http.Transport)
			if !ok {
				return errors.New("no transport")
			}
			tr.TLSClientConfig.RootCAs = s.CA.Pool()
			tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, s.Address)
			}
			return nil
		},
	})})
	_, _, err := resolver.Resolve(ctx, image)
	client.CloseIdleConnections()
	return err
}

// TestAgreesWithContainerd: the probe finds an image if, and only if,
// containerd resolves it, and then with the same requests.
func TestAgreesWithContainerd(t *testing.T) {
	differ := []string{
		"login page",                // containerd notices when it has the manifest
		"bearer, realm without TLS", // containerd sends the password there
	}
	for _, tc := range slices.Concat(plainCases(), missingCases(), basicCases(), bearerCases()) {
		if slices.Contains(differ, tc.name) {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			if tc.repo.Name == "" {
				tc.repo.Name = "team/app"
			}
			if tc.object == "" {
				tc.object = ":1.0"
			}
			tc.config.Repositories = []registrytest.Repository{tc.repo}
			s := registrytest.New(t, tc.config)
			err := containerd(t, s, s.Host+"/team/app"+tc.object, tc.cred)
			if (err == nil) != tc.want.Found {
				t.Errorf("containerd: %v; we: found %t", err, tc.want.Found)
			}
			missing := tc.want.Fault == registry.FaultTagNotFound || tc.want.Fault == registry.FaultRepositoryNotFound
			if missing && !errdefs.IsNotFound(err) {
				t.Errorf("containerd: %v; we: %s", err, tc.want.Fault)
			}
			if err == nil && !slices.Equal(s.Lines(), tc.lines) {
				t.Errorf("containerd asks %q, we ask %q", s.Lines(), tc.lines)
			}
			accept := s.Requests()[0].Header.Get("Accept")
			if !strings.HasSuffix(accept, ", */*") {
				t.Errorf("containerd accepts %q", accept)
			}
		})
	}
}

func TestAcceptHeader(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	if err := containerd(t, s, s.Host+"/team/app:1.0", nil); err != nil {
		t.Fatal(err)
	}
	if a := app(t, options(trusting(t, s)), s.Host, nil); !a.Found {
		t.Fatal(a.Err)
	}
	requests := s.Requests()
	if theirs, ours := requests[0].Header.Get("Accept"), requests[1].Header.Get("Accept"); theirs != ours {
		t.Errorf("we accept %q, containerd %q", ours, theirs)
	}
}

// One endpoint may be probed by several at a time.
func TestConcurrentProbes(t *testing.T) {
	noGoroutinesLeft(t)
	s := registrytest.New(t, registrytest.Config{Passwords: known(), Repositories: []registrytest.Repository{
		{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer},
	}})
	e := endpoint(t, options(trusting(t, s)), s.Host)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			cred := good()
			if i%2 == 1 {
				cred = bad()
			}
			if a := e.Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), cred); a.Found != (i%2 == 0) {
				t.Errorf("probe %d: found %t: %v", i, a.Found, a.Err)
			}
		})
	}
	wg.Wait()
}
