package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/whypull/whypull/report"
)

const (
	// maxAnswer is how much of an agent's output is read.
	maxAnswer = 1 << 20
	// maxComplaint is how much of its error output is read.
	maxComplaint = 4 << 10
	// answerTimeout limits how long to wait for one agent.
	answerTimeout = 2 * time.Minute
	// maxAsked is how many agents are asked at the same time.
	maxAsked = 20
)

// Agents returns the agents' pods in a namespace by their nodes. Only pods of
// DaemonSets count, and only that namespace: whoever may create a pod elsewhere can
// give it the agents' labels, and would receive the credentials.
func (c *Client) Agents(ctx context.Context, namespace string) (map[string]*corev1.Pod, error) {
	var out map[string]*corev1.Pod
	_, err := c.List(ctx, Scope{Namespace: namespace, Labels: AgentSelector}, func() { out = map[string]*corev1.Pod{} }, func(p *corev1.Pod) {
		o := metav1.GetControllerOf(p)
		if o == nil || o.Kind != "DaemonSet" || p.Spec.NodeName == "" || len(p.Spec.Containers) == 0 {
			return
		}
		if was := out[p.Spec.NodeName]; was == nil || ready(p) && !ready(was) {
			out[p.Spec.NodeName] = p
		}
	})
	return out, err
}

// Nodes returns the names of the nodes with the labels.
func (c *Client) Nodes(ctx context.Context, selector string) ([]string, error) {
	var list metav1.PartialObjectMetadataList
	err := c.core.Get().Resource("nodes").Param("labelSelector", selector).SetHeader("Accept", namesOnly).Do(ctx).Into(&list)
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	return out, err
}

// Manifest returns what agents are asked about an image: a pod in the namespace
// with the pull secrets, and those secrets. They are read with the caller's rights.
func (c *Client) Manifest(ctx context.Context, image, namespace string, secrets []string) ([]byte, error) {
	var read []corev1.Secret
	for _, name := range secrets {
		answer := c.core.Get().Namespace(namespace).Resource("secrets").Name(name).Do(ctx)
		if err := answer.Error(); err != nil {
			return nil, err
		}
		var s corev1.Secret
		if answer.Into(&s) != nil {
			return nil, fmt.Errorf("read secret %s: the answer is not valid", name) // no part of it may be printed
		}
		s.Name = name
		read = append(read, s)
	}
	return manifest(image, namespace, secrets, read)
}

// Ask asks the agents of the nodes about a manifest, many at a time, and calls each
// with every answer, from one goroutine at a time.
func (c *Client) Ask(ctx context.Context, agents map[string]*corev1.Pod, nodes []string, manifest []byte, each func(Answer)) {
	var asked errgroup.Group
	asked.SetLimit(maxAsked)
	var mu sync.Mutex
	for _, node := range nodes {
		asked.Go(func() error {
			a := c.ask(ctx, report.Printable(node), agents[node], manifest)
			mu.Lock()
			defer mu.Unlock()
			each(a)
			return nil
		})
	}
	_ = asked.Wait() // no error: each answer has its own
}

func (c *Client) ask(ctx context.Context, node string, agent *corev1.Pod, manifest []byte) Answer {
	var a Answer
	err := errors.New("no whypull agent runs on the node")
	switch {
	case agent != nil && !ready(agent):
		err = errors.New("the whypull agent on the node is not ready")
	case agent != nil:
		a, err = c.exec(ctx, node, agent, manifest)
	}
	if err != nil {
		return Answer{Node: node, Error: clip(report.Printable(err.Error()), maxSummary)}
	}
	return a
}

// exec runs "whypull check" in the agent's pod. The manifest, which has credentials,
// is its standard input.
func (c *Client) exec(ctx context.Context, node string, agent *corev1.Pod, manifest []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	container := agentContainer(agent)
	executor, err := c.executor(agent, container)
	if err != nil {
		return Answer{}, err
	}
	stdout, stderr := &limited{most: maxAnswer, strict: true}, &limited{most: maxComplaint}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: bytes.NewReader(manifest), Stdout: stdout, Stderr: stderr})
	var exit utilexec.ExitError
	switch {
	case stdout.over():
		return Answer{}, fmt.Errorf("the agent's answer is larger than %d bytes", maxAnswer)
	case errors.Is(err, context.DeadlineExceeded):
		return Answer{}, fmt.Errorf("the agent has not answered within %s", answerTimeout)
	case errors.As(err, &exit) && exit.ExitStatus() != 1:
		return Answer{}, fmt.Errorf("whypull check in pod %s/%s: exit status %d: %s", agent.Namespace, agent.Name, exit.ExitStatus(), strings.TrimSpace(stderr.String()))
	case err != nil && exit == nil:
		return Answer{}, fmt.Errorf("exec into pod %s/%s: %w", agent.Namespace, agent.Name, err)
	}
	a, failed := parseAnswer(node, []byte(stdout.String()))
	if failed == nil && a.Pullable != (err == nil) {
		failed = errors.New("the agent's answer contradicts its exit status")
	}
	return a, failed
}

// agentContainer returns the agent's container.
func agentContainer(agent *corev1.Pod) *corev1.Container {
	all := agent.Spec.Containers
	return &all[max(slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == "agent" }), 0)]
}

// executor returns what runs the command: over a WebSocket, else over SPDY, as
// kubectl does.
func (c *Client) executor(agent *corev1.Pod, container *corev1.Container) (remotecommand.Executor, error) {
	request := c.core.Post().Namespace(agent.Namespace).Resource("pods").Name(agent.Name).SubResource("exec").
		Param("container", container.Name).Param("stdin", "true").Param("stdout", "true").Param("stderr", "true")
	for _, word := range checkCommand(container) {
		request.Param("command", word)
	}
	url := request.URL()
	socket, err := remotecommand.NewWebSocketExecutor(c.config, "GET", url.String())
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, "POST", url)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	return remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

// PodSecrets returns a pod's pull secrets and node.
func (c *Client) PodSecrets(ctx context.Context, namespace, name string) (secrets []string, node string, err error) {
	pod, err := c.Get(ctx, namespace, name)
	if err != nil {
		return nil, "", err
	}
	return pullSecrets(pod), pod.Spec.NodeName, nil
}

// limited keeps the first bytes that are written. The executor may still write when
// it has returned.
type limited struct {
	most   int
	strict bool // whether more is an error

	mu      sync.Mutex
	b       bytes.Buffer
	dropped bool
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := l.most - l.b.Len()
	l.dropped = l.dropped || len(p) > room
	l.b.Write(p[:min(len(p), room)])
	if l.dropped && l.strict {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func (l *limited) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped && l.strict
}

func (l *limited) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
