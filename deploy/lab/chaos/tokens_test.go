package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"

	"github.com/whypull/whypull/deploy/lab/demo"
	labnode "github.com/whypull/whypull/deploy/lab/node"
)

// soon is the lifetime of a token that expires. The API server accepts it for a minute
// longer, for clocks that differ, and remembers for ten seconds that it did.
const soon = 20 * time.Second

// tokenExpires lets the running agent's token expire, as if the kubelet could not get
// another. The agent's watch on pods goes on, because it has been accepted, until the API
// server is restarted: then the agent sees nothing either, and is not ready.
func tokenExpires(ctx context.Context) error {
	return withToken(ctx, func(ctx context.Context, t *token) error {
		return saidAfterward(ctx, "token", func(ctx context.Context) error {
			if err := t.replace(ctx, soon); err != nil {
				return err
			}
			return until(ctx, "the token has expired", expiredToken(t.text))
		}, func(ctx context.Context, failed *corev1.Pod) error {
			if err := stopped(labnode.APIServer, time.Second)(ctx); err != nil {
				return err
			}
			blind := all(notReady, events(failed), expiredToken(t.text))
			if err := until(ctx, "the agent is not ready", blind); err != nil {
				return err
			}
			return errors.Join(pause(ctx, 15*time.Second), blind(ctx), t.replace(ctx, time.Hour))
		})
	})
}

// tokenReplaced replaces the agent's token when it expires, before the API server refuses
// it. Nothing is refused, and the agent stays ready.
func tokenReplaced(ctx context.Context) error {
	return withToken(ctx, func(ctx context.Context, t *token) error {
		before, err := refusedWrites(ctx)
		if err := errors.Join(err, t.replace(ctx, soon), pause(ctx, soon)); err != nil {
			return err
		}
		was := t.text
		if err := t.replace(ctx, time.Hour); err != nil {
			return err
		}
		for range 10 {
			if err := pause(ctx, 10*time.Second); err != nil {
				return err
			}
			now, err := refusedWrites(ctx)
			if err == nil && now != before {
				err = fmt.Errorf("writes were refused: %s, before %s", now, before)
			}
			if err != nil {
				return err
			}
			if _, err := demo.Get(ctx, node.lab, ready); err != nil {
				return err
			}
		}
		return expiredToken(was)(ctx)
	})
}

const (
	ready      = "http://127.0.0.1:9779/readyz"
	tokenMount = "/run/lab/token"
)

// notReady returns an error unless the agent says that it does not see the pods.
func notReady(ctx context.Context) error {
	_, err := demo.Get(ctx, node.lab, ready)
	if err == nil {
		return errors.New("the agent is ready")
	}
	if !strings.Contains(err.Error(), "the watch on pods") {
		return err
	}
	return nil
}

// refusedWrites returns the agent's count of its writes that failed.
func refusedWrites(ctx context.Context) (string, error) {
	body, err := demo.Get(ctx, node.lab, "http://127.0.0.1:9779/metrics")
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(body, "\nwhypull_api_writes_total{result=\"error\"} ")
	if !found {
		return "", errors.New("the agent does not count its writes")
	}
	count, _, _ := strings.Cut(rest, "\n")
	return count, nil
}

// token is the token of the agent's pod, in its file and in the agent's.
type token struct{ text string }

// withToken calls use with the token of the running agent, which the kubelet does not
// replace meanwhile: it writes to another file system, mounted over the one that the agent
// sees. Afterwards it replaces the token as ever. The agent goes on all the time.
func withToken(ctx context.Context, use func(context.Context, *token) error) error {
	pod, err := agentPod(ctx)
	if err != nil {
		return err
	}
	volume := "/var/lib/kubelet/pods/" + string(pod.UID) + "/volumes/kubernetes.io~projected/kube-api-access-*"
	if err := sh(ctx, fmt.Sprintf("mkdir -p %[1]s\nmount --bind %[2]s %[1]s\nmount --make-private %[1]s\nmount -t tmpfs tmpfs %[2]s", tokenMount, volume)); err != nil {
		return err
	}
	text, _, err := node.lab.Exec(ctx, nil, "cat", tokenMount+"/token")
	if err == nil {
		err = use(ctx, &token{text})
	}
	err = errors.Join(err, sh(context.WithoutCancel(ctx), "umount "+tokenMount+" "+volume))
	now, gone := agentContainer(ctx)
	if gone == nil && now.ContainerID != pod.Status.ContainerStatuses[0].ContainerID {
		gone = errors.New("the agent was restarted")
	}
	return errors.Join(err, gone)
}

// replace gives the agent a token of another lifetime, which the API server accepts.
func (t *token) replace(ctx context.Context, lifetime time.Duration) error {
	text, err := signed(t.text, time.Now().Add(lifetime))
	if err != nil {
		return err
	}
	if problem, err := review(ctx, text); err != nil || problem != "" {
		return errors.Join(err, fmt.Errorf("the API server does not accept a new token: %s", problem))
	}
	t.text = text
	_, _, err = node.lab.Exec(ctx, strings.NewReader(text), "sh", "-c", "cd "+tokenMount+"/..data && cat >new && mv new token")
	return err
}

// signed returns a token like another, signed with the key of the cluster's service
// accounts, that expires at the time.
func signed(like string, expires time.Time) (string, error) {
	file, err := node.lab.ReadFile("/etc/kubernetes/pki/service-accounts.key")
	if err != nil {
		return "", err
	}
	key, err := keyutil.ParsePrivateKeyPEM(file)
	if err != nil {
		return "", err
	}
	was, err := jose.ParseSignedCompact(like, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		return "", err
	}
	claims := map[string]json.RawMessage{}
	if err := json.Unmarshal(was.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return "", err
	}
	claims["exp"] = json.RawMessage(strconv.FormatInt(expires.Unix(), 10))
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	header := was.Signatures[0].Header
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(header.Algorithm), Key: key}, (&jose.SignerOptions{}).WithHeader("kid", header.KeyID))
	if err != nil {
		return "", err
	}
	signature, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signature.CompactSerialize()
}

// review returns why the API server does not accept a token; empty if it does.
func review(ctx context.Context, text string) (string, error) {
	r, err := node.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: text}}, metav1.CreateOptions{})
	if err != nil || r.Status.Authenticated {
		return "", err
	}
	return cmp.Or(r.Status.Error, "unknown"), nil
}

// expiredToken returns a check that the API server refuses a token because it has expired.
func expiredToken(text string) func(context.Context) error {
	return func(ctx context.Context) error {
		problem, err := review(ctx, text)
		if err == nil && !strings.Contains(problem, "expired") {
			err = fmt.Errorf("the token has not expired: %s", problem)
		}
		return err
	}
}
