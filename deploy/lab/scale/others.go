package scale

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// otherManifests create the client that has nothing to do with whypull: a service
// account that reads everything and writes a ConfigMap of its own namespace.
const otherManifests = `apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: other, namespace: other}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: other}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: other}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: other, namespace: other}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: other, namespace: other}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: other, namespace: other}]
`

// Pauses between two requests of a kind. A list of thousands of pods is not small.
const (
	otherPause = 200 * time.Millisecond
	listPause  = 2 * time.Second
)

// others is a client that has nothing to do with whypull. It reads and writes all the
// time, with the priority that any service account has.
type others struct {
	client *kubernetes.Clientset

	mu   sync.Mutex
	done []request
}

// request is one of them.
type request struct {
	kind string
	at   time.Time
	took time.Duration
	err  error
}

// newOthers creates the client.
func (s *simulation) newOthers(ctx context.Context) (*others, error) {
	if _, err := s.lab.Kubectl(ctx, strings.NewReader(otherManifests), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	expires := int64((24 * time.Hour).Seconds())
	token, err := s.client.CoreV1().ServiceAccounts("other").CreateToken(ctx, "other", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &expires}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	admin, err := clientcmd.BuildConfigFromFlags("", s.lab.KubeconfigPath())
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken, config.QPS = token.Status.Token, -1
	client, err := kubernetes.NewForConfig(config)
	return &others{client: client}, err
}

// work sends requests until ctx ends, each kind one at a time.
func (o *others) work(ctx context.Context) {
	pods := o.client.CoreV1().Pods("whypull")
	maps := o.client.CoreV1().ConfigMaps("other")
	var wg sync.WaitGroup
	for kind, send := range map[string]func(context.Context, int) error{
		"get": func(ctx context.Context, _ int) error {
			_, err := pods.Get(ctx, "agent-"+nodeName(0), metav1.GetOptions{})
			return err
		},
		"list": func(ctx context.Context, _ int) error {
			_, err := pods.List(ctx, metav1.ListOptions{})
			return err
		},
		"update": func(ctx context.Context, i int) error {
			m, err := maps.Get(ctx, "other", metav1.GetOptions{})
			if err != nil {
				return err
			}
			m.Data = map[string]string{"i": strconv.Itoa(i)}
			_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
			return err
		},
	} {
		wg.Go(func() {
			wait := otherPause
			if kind == "list" {
				wait = listPause
			}
			for i := 0; pause(ctx, wait) == nil; i++ {
				at := time.Now()
				err := send(ctx, i)
				o.note(request{kind, at, time.Since(at), err})
			}
		})
	}
	wg.Wait()
}

func (o *others) note(r request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = append(o.done, r)
}

// since returns what was done from a time on.
func (o *others) since(at time.Time) []request {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []request
	for _, r := range o.done {
		if !r.at.Before(at) {
			out = append(out, r)
		}
	}
	return out
}

// latencies returns a line about requests.
func latencies(all []request) string {
	var parts []string
	for _, kind := range []string{"get", "list", "update"} {
		var times []time.Duration
		failed := 0
		for _, r := range all {
			switch {
			case r.kind != kind:
			case r.err != nil:
				failed++
			default:
				times = append(times, r.took)
			}
		}
		part := fmt.Sprintf("%s %d, median %v, p99 %v", kind, len(times), quantile(times, 0.5).Round(time.Millisecond), quantile(times, 0.99).Round(time.Millisecond))
		if failed > 0 {
			part += fmt.Sprintf(" (%d failed)", failed)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// updates returns how many writes were made.
func updates(all []request) int {
	n := 0
	for _, r := range all {
		if r.kind == "update" && r.err == nil {
			n++
		}
	}
	return n
}
