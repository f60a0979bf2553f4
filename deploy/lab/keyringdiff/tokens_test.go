package keyringdiff

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/credentialprovider/plugin"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/provider"
	"github.com/whypull/whypull/cri/credential"
)

// tokenPlugin is a plugin whose password is a digest of its request, so that any byte
// that differs shows. The image's name decides for what the answer serves; for echo it
// is the token. Each run but those leaves a line, in the kubelet's file or in whypull's.
const tokenPlugin = `#!/bin/sh
request=$(cat)
password=$(printf %s "$request" | sha256sum | cut -c1-64)
key=Image
case $request in
*/registry-*) key=Registry ;;
*/global-*) key=Global ;;
esac
case $request in
*/echo-*) password=$(printf %s "$request" | sed 's/.*"serviceAccountToken":"\([^"]*\)".*/\1/') ;;
*) echo "$0" >>"$LAB_RUNS$LAB_SIDE" ;;
esac
printf '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"%s","cacheDuration":"30m","auth":{"hub.test":{"username":"%s","password":"%s"}}}' "$key" "${0##*/}" "$password"
`

// tokenPlugins are the plugins by their tokenAttributes; "plain" has none.
var tokenPlugins = []struct{ name, attributes string }{
	{"plain", ""},
	{"by-token", `{"serviceAccountTokenAudience":"one","cacheType":"Token","requireServiceAccount":true,"requiredServiceAccountAnnotationKeys":["corp.test/id"],"optionalServiceAccountAnnotationKeys":["zone"]}`},
	{"by-account", `{"serviceAccountTokenAudience":"two","cacheType":"ServiceAccount","requireServiceAccount":true,"optionalServiceAccountAnnotationKeys":["zone","corp.test/more"]}`},
	{"optional", `{"serviceAccountTokenAudience":"three","cacheType":"ServiceAccount","requireServiceAccount":false}`},
}

// cluster has service accounts, for both sides.
type cluster map[types.NamespacedName]kube.Account

func (c cluster) Account(_ context.Context, f diagnosis.Failure) (kube.Account, error) {
	if a, ok := c[types.NamespacedName{Namespace: f.Namespace, Name: f.ServiceAccount}]; ok {
		return a, nil
	}
	return kube.Account{}, kube.ErrNotFound
}

func (c cluster) Token(_ context.Context, f diagnosis.Failure, uid, audience string) (kube.Token, error) {
	text := boundToken(f.Namespace, f.ServiceAccount, uid, audience, f.Pod, f.UID)
	return kube.Token{Value: credential.Redact(text), Expires: time.Now().Add(time.Hour)}, nil
}

func boundToken(of ...string) string { return strings.Join(of, ".") }

func (c cluster) theirAccount(namespace, name string) (*v1.ServiceAccount, error) {
	a, ok := c[types.NamespacedName{Namespace: namespace, Name: name}]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, name)
	}
	return &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(a.UID), Annotations: a.Annotations}}, nil
}

func (c cluster) theirToken(namespace, name string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	ref := r.Spec.BoundObjectRef
	r.Status.Token = boundToken(namespace, name, string(r.UID), strings.Join(r.Spec.Audiences, ","), ref.Name, string(ref.UID))
	return r, nil
}

// change creates, deletes or changes an account.
func (c cluster) change(r *rand.Rand, n int) {
	key := types.NamespacedName{Namespace: []string{"a", "b"}[r.IntN(2)], Name: []string{"x", "y"}[r.IntN(2)]}
	if r.IntN(4) == 0 {
		delete(c, key)
		return
	}
	a, ok := c[key]
	if !ok {
		a.UID = fmt.Sprint("uid-", n)
	}
	a.Annotations = map[string]string{"other": fmt.Sprint(n)}
	for _, key := range []string{"corp.test/id", "zone", "corp.test/more"} {
		if r.IntN(3) > 0 {
			a.Annotations[key] = []string{"1", "2 & \"3\""}[r.IntN(2)]
		}
	}
	c[key] = a
}

// TestTokensSameAsKubelet has both sides run the same plugins, for pods whose service
// accounts change: the same credentials come of it, by the same requests, with the same
// number of runs.
func TestTokensSameAsKubelet(t *testing.T) {
	silenceKubelet()
	dir := t.TempDir()
	bin, config, runs := filepath.Join(dir, "bin"), filepath.Join(dir, "config.json"), filepath.Join(dir, "runs")
	writePlugins(t, bin, config, runs)
	accounts := cluster{}
	t.Setenv("LAB_SIDE", "-kubelet") // the environment of the kubelet's plugins, not of whypull's
	if err := plugin.RegisterCredentialProviderPlugins(config, bin, accounts.theirToken, accounts.theirAccount); err != nil {
		t.Fatal(err)
	}
	ours := provider.New(provider.Options{
		Plugins:  kubelet.New(kubelet.Options{ProviderConfig: config, PluginDir: bin}),
		Accounts: accounts, Log: slog.New(slog.DiscardHandler),
	})
	seed := number(t, "KEYRINGDIFF_SEED", 1)
	r, several := rand.New(rand.NewPCG(seed, 0)), 0 // #nosec G404 -- a sequence to repeat
	for n := range 300 {
		if r.IntN(3) == 0 {
			accounts.change(r, n)
		}
		pod := diagnosis.Failure{
			Namespace: []string{"a", "b"}[r.IntN(2)], ServiceAccount: []string{"x", "y", ""}[r.IntN(3)],
			Pod: "pod", UID: fmt.Sprint("pod-", r.IntN(3)), Registry: "hub.test",
			Repository: "team/" + []string{"image-", "registry-", "global-", "echo-"}[r.IntN(4)] + fmt.Sprint(r.IntN(2)),
		}
		pod.Image = pod.Registry + "/" + pod.Repository
		want, got := theirAttempts(pod), ourAttempts(t, ours, pod)
		if !slices.Equal(want, got) {
			t.Fatalf("KEYRINGDIFF_SEED=%d case %d: %+v with %+v\nkubelet %q\nours    %q", seed, n, pod, accounts, want, got)
		}
		if len(want) > 1 {
			several++
		}
	}
	theirRuns, ourRuns := sorted(t, runs+"-kubelet"), sorted(t, runs)
	if !slices.Equal(theirRuns, ourRuns) {
		t.Errorf("%d runs of the kubelet, %d of whypull", len(theirRuns), len(ourRuns))
	}
	t.Logf("seed %d: %d runs, %d with several credentials", seed, len(ourRuns), several)
	if several < 30 || len(ourRuns) < 30 {
		t.Error("the cases do not exercise the rules")
	}
}

func writePlugins(t *testing.T, bin, config, runs string) {
	t.Helper()
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	var providers []map[string]any
	for _, p := range tokenPlugins {
		if err := os.WriteFile(filepath.Join(bin, p.name), []byte(tokenPlugin), 0o700); err != nil { // #nosec G306 -- a program
			t.Fatal(err)
		}
		one := map[string]any{
			"name": p.name, "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "defaultCacheDuration": "30m",
			"matchImages": []string{"hub.test"}, "env": []map[string]string{{"name": "LAB_RUNS", "value": runs}},
		}
		if p.attributes != "" {
			one["tokenAttributes"] = json.RawMessage(p.attributes)
		}
		providers = append(providers, one)
	}
	text, err := json.Marshal(map[string]any{"kind": "CredentialProviderConfig", "apiVersion": "kubelet.config.k8s.io/v1", "providers": providers})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func theirAttempts(pod diagnosis.Failure) (out []string) {
	found, _ := plugin.NewExternalCredentialProviderDockerKeyring(pod.Namespace, pod.Pod, pod.UID, pod.ServiceAccount).Lookup(pod.Image)
	for _, a := range found {
		out = append(out, a.Username+" "+a.Password)
	}
	return out
}

func ourAttempts(t *testing.T, ours *provider.Runner, pod diagnosis.Failure) (out []string) {
	t.Helper()
	var provided []keyring.Provided
	for _, p := range tokenPlugins {
		answer := ours.Run(t.Context(), p.name, pod)
		provided = append(provided, keyring.Provided{Name: p.name, Credentials: answer.Credentials})
	}
	found, _ := keyring.FindProvided(pod.Ref(), provided, 1, time.Time{})
	for _, c := range found {
		username, password := c.Reveal()
		out = append(out, username+" "+password)
	}
	return out
}

// sorted returns the lines of a file.
func sorted(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile(name) // #nosec G304 -- the test's own
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(data))
	slices.Sort(lines)
	return lines
}
