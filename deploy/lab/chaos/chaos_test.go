package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
)

var (
	long = flag.Bool("long", false, "also the faults that take long")
	only = flag.String("fault", "", "only the faults whose names match this regular expression, also those that take long")
	seed = flag.Uint64("seed", 1, "seed of what happens to the pods")
)

// cluster is the lab with whypull installed.
type cluster struct {
	lab    *lab.Lab
	client *kubernetes.Clientset
	// note logs what a fault measures.
	note func(format string, args ...any)
}

var node *cluster // created in TestMain

func TestMain(m *testing.M) {
	if lab.Reexec() {
		return
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	c, err := start(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the cluster for the tests:", err)
		return 1
	}
	node = c
	if err := prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := c.lab.Remove(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func start(ctx context.Context) (*cluster, error) {
	dir, err := lab.DefaultDir()
	if err != nil {
		return nil, err
	}
	l, err := lab.Open(dir + "-chaos")
	if err != nil {
		return nil, err
	}
	l.Precedence = true
	if err := l.Reset(ctx, os.Stderr); err != nil {
		return nil, err
	}
	if err := demo.Install(ctx, l, "../../..", demo.Options{}); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.KubeconfigPath())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Timeout = -1, 10*time.Second // the API server hangs, too
	client, err := kubernetes.NewForConfig(config)
	return &cluster{lab: l, client: client}, err
}

// tell prints the agent's log.
func (c *cluster) tell(t *testing.T) {
	t.Helper()
	for _, previous := range []string{"--previous=true", "--previous=false"} {
		logs, err := c.lab.Kubectl(context.WithoutCancel(t.Context()), nil, "-n", "whypull", "logs", "daemonset/whypull-agent", "--tail=100", previous)
		t.Logf("the agent's log (%s): %v\n%s", previous, err, logs)
	}
}

// selected returns the faults to strike with.
func selected() ([]fault, error) {
	name, err := regexp.Compile(*only)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(slices.Concat(faults(), nodeFaults(), clusterFaults()), func(f fault) bool {
		return !name.MatchString(f.name) || f.long && !*long && *only == ""
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("no fault matches -fault=%s", *only)
	}
	return all, nil
}

// TestBadDay strikes with one fault after the other while pods fail, heal, go and come
// back, and expects after each that whypull says the truth about every pod.
func TestBadDay(t *testing.T) {
	ctx := t.Context()
	chosen, err := selected()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(*seed)
	for range maxPods / 2 {
		w.change(ctx, t)
	}
	w.settles(ctx, t)
	before, err := measure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("before:", before)
	for _, f := range chosen {
		t.Run(f.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				w.churn(ctx, t, time.Second)
			}()
			node.note = t.Logf
			err := f.strike(t.Context())
			stop()
			<-ended
			if err != nil {
				t.Fatal(err)
			}
			if f.shakes {
				w.shake(f.brings)
			}
			w.settles(t.Context(), t)
			if f.after != nil {
				if err := f.after(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	after, err := measure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("after: ", after)
	if after.leftovers != "" || after.threads > before.threads+20 || after.files > before.files+20 {
		t.Errorf("before: %s; after: %s", before, after)
	}
}
