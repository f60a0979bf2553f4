package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/report/fleet"
)

func TestStatus(t *testing.T) {
	s := apitest.New(t, broken("shop", "web", diagnosis.CredentialsRejected), fine("shop", "db"), fine("calm", "a"), silent("quiet", "q"))
	for name, tc := range map[string]struct {
		args   []string
		status int
		stdout string // contains
		stderr string // contains
	}{
		"a namespace that fails": {nil, 1, "1 pod on node n1: CredentialsRejected, secret shop/regcred for hub.test\n", ""},
		"one that does not":      {[]string{"-n", "calm"}, 0, "No pod in namespace calm fails to pull an image.\n", ""},
		"one that does not exist": {[]string{"-n", "none"}, 0,
			"No pod in namespace none fails to pull an image.\n", ""},
		"all namespaces":           {[]string{"-A"}, 1, "quiet/q", ""},
		"all, long":                {[]string{"--all-namespaces", "-o", "wide"}, 1, "CONFIDENCE", ""},
		"a pod that fails":         {[]string{"web"}, 1, "container app: CredentialsRejected (Confirmed)\n  a sentence on web\n", ""},
		"the remedy":               {[]string{"web"}, 1, "\n    kubectl -n shop create secret docker-registry regcred --from-file=.dockerconfigjson=<config.json>\n", ""},
		"what the kubelet says":    {[]string{"web"}, 1, "The kubelet says (ErrImagePull)\n    401 Unauthorized\n", ""},
		"with its kind":            {[]string{"pod/web"}, 1, "pod shop/web on node n1", ""},
		"a pod that runs":          {[]string{"db"}, 0, "No container of pod shop/db fails to pull its image.\n", ""},
		"no report":                {[]string{"-n", "quiet"}, 1, "1 pod on node n1: no report, the whypull agent on node n1 has not reported", ""},
		"pod of another namespace": {[]string{"-n", "quiet", "q"}, 1, "container app: no report", ""},
		"no such pod":              {[]string{"none"}, 2, "", `kubectl why-pull: pods "none" not found`},
		"a pod, all namespaces":    {[]string{"-A", "web"}, 2, "", "cannot be combined"},
		"two pods":                 {[]string{"web", "db"}, 2, "", "accepts at most 1 arg"},
		"no name":                  {[]string{"pod/"}, 2, "", "the pod name is empty"},
		"output":                   {[]string{"-o", "xml"}, 2, "", `kubectl why-pull: --output: "xml" is not one of table, wide, json, yaml`},
		"flag":                     {[]string{"--nonsense"}, 2, "", "kubectl why-pull: unknown flag: --nonsense"},
		"no credentials":           {[]string{"--context", "wrong"}, 2, "", "kubectl why-pull: Unauthorized"},
		"no context":               {[]string{"--context", "none"}, 2, "", `context "none" does not exist`},
		"the token given":          {[]string{"--context", "wrong", "--token", apitest.Token, "-n", "shop"}, 1, "CredentialsRejected", ""},
		"no server":                {[]string{"-s", "https://127.0.0.1:1"}, 2, "", "dial tcp 127.0.0.1:1: connect"},
		"help":                     {[]string{"--help"}, 0, "kubectl why-pull [POD | TYPE/NAME] [flags]", ""},
		"version":                  {[]string{"--version"}, 0, "kubectl why-pull version dev\n", ""},
		"explain":                  {[]string{"explain", "tagnotfound"}, 0, "TagNotFound: Tag not found\n", ""},
		"explain all":              {[]string{"explain"}, 0, "NotReproducible", ""},
		"explain what is none":     {[]string{"explain", "TagNotFund"}, 2, "", "did you mean TagNotFound?"},
		"explain two":              {[]string{"explain", "a", "b"}, 2, "", "accepts at most 1 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			args := tc.args
			if len(args) == 0 || args[0] != "explain" {
				args = append(slices.Clone(args), "--kubeconfig", s.Kubeconfig(t))
			}
			var out, errs output
			status := run(args, &out, &errs)
			if status != tc.status || !strings.Contains(out.String(), tc.stdout) || !strings.Contains(errs.String(), tc.stderr) ||
				tc.stderr == "" && errs.String() != "" || tc.stdout == "" && out.String() != "" {
				t.Errorf("status %d, want %d\nstdout %s\nwant   %s\nstderr %s\nwant   %s", status, tc.status, out.String(), tc.stdout, errs.String(), tc.stderr)
			}
		})
	}
}

// What manages a pod's Deployment is read with the caller's rights, and not needed.
func TestManagedBy(t *testing.T) {
	pod := broken("shop", "web", diagnosis.TagNotFound)
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "1", Controller: new(true)}}
	pod.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
	for name, tt := range map[string]struct {
		refused  bool
		args     []string
		want     string
		requests int // for the owner
	}{
		"its owner's": {false, []string{"-n", "shop", "web"}, "\nmanaged by Argo CD application shop: change it in the source of the application\n", 1},
		"its own":     {true, []string{"-n", "shop", "web"}, "\nmanaged by Helm: change it in the values or the chart of the release\n", 1},
		"as JSON":     {false, []string{"-n", "shop", "web", "-o", "json"}, `"managedBy": "Argo CD application shop"`, 1},
		"of many":     {false, []string{"-n", "shop", "-o", "json"}, `"managedBy": "Helm"`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := apitest.NewWith(t, func(w http.ResponseWriter, r apitest.Request) {
				if tt.refused {
					apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "no")
					return
				}
				apitest.Write(w, "application/json", &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
					UID: "1", Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"},
				}})
			})
			s.Put(pod)
			if status, out, errs := called(t, s, tt.args...); status != 1 || !strings.Contains(out, tt.want) {
				t.Errorf("status %d, %s%s\nwant %s", status, out, errs, tt.want)
			}
			n := 0
			for _, line := range s.Lines() {
				if strings.Contains(line, "/deployments/web") {
					n++
				}
			}
			if n != tt.requests {
				t.Errorf("%d requests for the owner, want %d: %q", n, tt.requests, s.Lines())
			}
		})
	}
}

// ofDeployment returns a failing pod of a Deployment on a node.
func ofDeployment(name, deployment, node string, cause diagnosis.Cause) *corev1.Pod {
	p := broken("shop", name, cause)
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-77", UID: "rs", Controller: new(true)}}
	p.Labels = map[string]string{"pod-template-hash": "77", "app": deployment}
	p.Spec.NodeName = node
	return p
}

// workloads starts a server with pods of the Deployments web and api. Of owners it
// has only web; statefulsets may not be read.
func workloads(t *testing.T) *apitest.Server {
	t.Helper()
	s := apitest.NewWith(t, func(w http.ResponseWriter, r apitest.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/namespaces/shop/deployments/web"), strings.HasSuffix(r.URL.Path, "/deployments/idle"):
			apitest.Write(w, "application/json", &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "1"}})
		case strings.Contains(r.URL.Path, "/statefulsets/"):
			apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "statefulsets is forbidden")
		default:
			apitest.Fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no such object")
		}
	})
	for _, p := range []*corev1.Pod{
		ofDeployment("web-77-a", "web", "n1", diagnosis.DiskFull), ofDeployment("web-77-b", "web", "n2", diagnosis.DiskFull),
		ofDeployment("web-77-c", "web", "n2", diagnosis.TagNotFound), ofDeployment("api-77-a", "api", "n2", diagnosis.TagNotFound),
		silent("shop", "quiet"), fine("shop", "db"),
	} {
		s.Put(p)
	}
	return s
}

func TestSelection(t *testing.T) {
	s := workloads(t)
	for name, tc := range map[string]struct {
		args   []string
		status int
		pods   string // in the table
		stdout string // contains
		stderr string // contains
	}{
		"a Deployment":              {[]string{"deploy/web"}, 1, "web-77-a web-77-b web-77-c", "3 pods in namespace shop (only deploy/web) cannot pull their images, for 3 reasons.\n", ""},
		"one of its nodes":          {[]string{"deploy/web", "--node", "n2"}, 1, "web-77-b web-77-c", "(only deploy/web --node n2)", ""},
		"for a cause":               {[]string{"Deployments.apps/web", "--cause", "diskfull"}, 1, "web-77-a web-77-b", "--cause DiskFull)", ""},
		"for several":               {[]string{"--cause", "DiskFull, TagNotFound"}, 1, "api-77-a web-77-a web-77-b web-77-c", "", ""},
		"for causes":                {[]string{"--cause=DNSFailure", "--cause=DiskFull", "--node=n1"}, 1, "web-77-a", "", ""},
		"for another cause":         {[]string{"deploy/web", "--cause", "DNSFailure"}, 0, "", "No pod in namespace shop (only deploy/web --cause DNSFailure) fails to pull an image.\n", ""},
		"a Deployment without pods": {[]string{"deploy/idle"}, 0, "", "No pod in namespace shop (only deploy/idle) fails to pull an image.\n", ""},
		"by labels":                 {[]string{"-l", "app in (api)"}, 1, "api-77-a", "(only -l app in (api))", ""},
		"by other labels":           {[]string{"-l", "app=none"}, 0, "", "No pod", ""},
		"of all":                    {[]string{"-A", "--node", "n2", "-l", "app=web"}, 1, "shop/web-77-b shop/web-77-c", "", ""},
		"of a while":                {[]string{"--since", "1ns"}, 0, "", "(only --since 1ns)", ""},
		"of a long while":           {[]string{"--since", "2000000h", "--node", "n1", "-l", "!app"}, 1, "quiet", "", ""},
		"as JSON":                   {[]string{"deploy/web", "-o", "json"}, 1, "", `"kind": "Deployment",`, ""},
		"no such Deployment":        {[]string{"deploy/wbe"}, 2, "", "", "no such object"},
		"may not, and no pod":       {[]string{"sts/db"}, 2, "", "", "no pod in namespace shop belongs to sts/db"},
		"no such kind":              {[]string{"deplyo/web"}, 2, "", "", "no pod in namespace shop belongs to deplyo/web"},
		"no name":                   {[]string{"deploy/"}, 2, "", "", "is not TYPE/NAME, such as deploy/web"},
		"in all namespaces":         {[]string{"deploy/web", "-A"}, 2, "", "", "deploy/web cannot be combined with --all-namespaces"},
		"a node as an owner":        {[]string{"node/n1"}, 2, "", "", "use --node n1"},
		"a pod and a cause":         {[]string{"web-77-a", "--cause", "DiskFull"}, 2, "", "", "a pod name cannot be combined with --cause"},
		"a pod and labels":          {[]string{"pod/web-77-a", "-l", "app=web"}, 2, "", "", "a pod name cannot be combined with --selector"},
		"no cause":                  {[]string{"--cause", ""}, 2, "", "", "--cause: no cause is given"},
		"unknown cause":             {[]string{"--cause", "DiskFul"}, 2, "", "", `--cause: unknown cause "DiskFul"; did you mean DiskFull?`},
		"an empty cause":            {[]string{"--cause", "DiskFull,"}, 2, "", "", `--cause: unknown cause ""`},
		"no selector":               {[]string{"-l", "app==" + "="}, 2, "", "", `--selector: "app===" is not a label selector, such as app=web`},
		"no node":                   {[]string{"--node", ""}, 2, "", "", `--node: "" is not the name of a node`},
		"not a node":                {[]string{"--node", "n1,n2"}, 2, "", "", `--node: "n1,n2" is not the name of a node`},
		"no time":                   {[]string{"--since", "0"}, 2, "", "", "--since: 0s is not a time like 30m or 48h"},
		"not a time":                {[]string{"--since", "2d"}, 2, "", "", "--since"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := called(t, s, append(tc.args, "-o", "wide")...)
			if slices.Contains(tc.args, "json") {
				status, out, errs = called(t, s, tc.args...)
			}
			var pods []string
			for line := range strings.Lines(out) {
				if f := strings.Fields(line); strings.HasPrefix(line, "  ") && len(f) > 4 && f[1] == "app" {
					pods = append(pods, f[0])
				}
			}
			slices.Sort(pods)
			if status != tc.status || strings.Join(pods, " ") != tc.pods || !strings.Contains(out, tc.stdout) ||
				!strings.Contains(errs, tc.stderr) || (status == 2) != (errs != "") {
				t.Errorf("status %d, want %d; pods %q, want %s\n%s%s", status, tc.status, pods, tc.pods, out, errs)
			}
		})
	}
}

// A Deployment costs one request more than its pods, which show that they are its.
func TestRequestsForOwner(t *testing.T) {
	s := workloads(t)
	called(t, s, "deploy/web", "--cause", "DNSFailure")
	want := []string{"GET /apis/apps/v1/namespaces/shop/deployments/web", "GET /api/v1/namespaces/shop/pods"}
	if got := s.Lines(); !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
}

// A pod may have the name of a subcommand.
func TestPodCalledExplain(t *testing.T) {
	s := apitest.New(t, broken("shop", "explain", diagnosis.DiskFull), broken("shop", "help", diagnosis.DiskFull), broken("shop", "check", diagnosis.DiskFull))
	for _, arg := range []string{"pod/explain", "pod/help", "pod/check"} {
		if status, out, errs := called(t, s, arg); status != 1 || !strings.Contains(out, "DiskFull") {
			t.Errorf("%s: status %d\n%s%s", arg, status, out, errs)
		}
	}
}

func TestNoKubeconfig(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	var out, errs output
	if status := run(nil, &out, &errs); status != 2 || !strings.Contains(errs.String(), "no configuration has been provided") {
		t.Errorf("status %d, %s", status, errs.String())
	}
}

func TestKubeconfigFromEnvironment(t *testing.T) {
	s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull))
	t.Setenv("KUBECONFIG", s.Kubeconfig(t))
	var out, errs output
	if status := run(nil, &out, &errs); status != 1 || !strings.Contains(out.String(), "DiskFull") {
		t.Errorf("status %d, %s%s", status, out.String(), errs.String())
	}
}

// Impersonation works with the same rights as in kubectl.
func TestFlagsOfKubectl(t *testing.T) {
	t.Parallel()
	flags := root().Flags()
	for _, name := range []string{
		"kubeconfig", "context", "cluster", "user", "namespace", "server", "token", "as", "as-group", "as-uid", "certificate-authority",
		"client-certificate", "client-key", "insecure-skip-tls-verify", "tls-server-name", "request-timeout", "proxy-url", "disable-compression",
	} {
		if flags.Lookup(name) == nil {
			t.Errorf("there is no --%s", name)
		}
	}
	for short, name := range map[string]string{"n": "namespace", "s": "server", "A": "all-namespaces", "o": "output", "w": "watch"} {
		if f := flags.ShorthandLookup(short); f == nil || f.Name != name {
			t.Errorf("-%s is not --%s", short, name)
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "password" || f.Usage == "" {
			t.Errorf("--%s: %q", f.Name, f.Usage)
		}
	})
}

// No more is requested than the rights allow, and no more than is needed.
func TestRequests(t *testing.T) {
	elsewhere := fine("other", "b")
	elsewhere.Spec.NodeName = "n2"
	for name, tc := range map[string]struct {
		pods    []*corev1.Pod
		refused []string
		args    []string
		status  int
		asked   string
		stdout  string
	}{
		"nothing fails":  {[]*corev1.Pod{fine("shop", "a")}, nil, nil, 0, "list shop", ""},
		"something does": {[]*corev1.Pod{broken("shop", "a", diagnosis.DNSFailure), elsewhere}, nil, nil, 1, "list shop, list *", "the same image runs on 1 other node (n2): this points to node n1"},
		"all namespaces": {[]*corev1.Pod{broken("shop", "a", diagnosis.DNSFailure), elsewhere}, nil, []string{"-A"}, 1, "list *", "(n2): this points to node n1"},
		"a pod":          {[]*corev1.Pod{broken("shop", "a", diagnosis.DNSFailure), elsewhere}, nil, []string{"a"}, 1, "get shop, list *", "(n2): this points to node n1"},
		"a pod, no more": {[]*corev1.Pod{broken("shop", "a", diagnosis.DNSFailure), elsewhere}, []string{"list *", "list shop", "list whypull"}, []string{"a"}, 1,
			"get shop, list *, list shop, list whypull", "DNSFailure"},
		"one namespace only": {[]*corev1.Pod{silent("shop", "a")}, []string{"list *", "list whypull"}, nil, 1, "list shop, list *, list shop, list whypull",
			"no whypull agent has reported; without permission to list agent pods it is unknown whether one runs on node n1"},
		"the agents, too": {[]*corev1.Pod{silent("shop", "a"), agentPod("whypull", "n2")}, []string{"list *"}, nil, 1, "list shop, list *, list shop, list whypull",
			"no whypull agent runs on node n1"},
		"no agents":                   {[]*corev1.Pod{silent("shop", "a")}, nil, nil, 1, "list shop, list *", "no whypull agent runs in the cluster"},
		"agents in another namespace": {[]*corev1.Pod{silent("shop", "a"), agentPod("tools", "n2")}, nil, nil, 1, "list shop, list *", "no whypull agent runs on node n1"},
		"not even one":                {nil, []string{"list shop"}, nil, 2, "list shop", ""},
		"not all":                     {nil, []string{"list *"}, []string{"-A"}, 2, "list *", ""},
		"no pod":                      {nil, []string{"get shop"}, []string{"a"}, 2, "get shop", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := apitest.New(t, tc.pods...)
			s.Refuse(tc.refused...)
			status, out, errs := called(t, s, tc.args...)
			if asked := strings.Join(s.Requests(), ", "); status != tc.status || asked != tc.asked || !strings.Contains(out, tc.stdout) {
				t.Errorf("status %d, want %d; asked %s, want %s\n%s%s", status, tc.status, asked, tc.asked, out, errs)
			}
			if (status == 2) != strings.Contains(errs, "forbidden") || strings.Contains(errs, "\x1b") {
				t.Errorf("stderr %q", errs)
			}
		})
	}
}

func TestManyPages(t *testing.T) {
	s := apitest.New(t)
	for i := range 1200 {
		if i%100 == 0 {
			s.Put(broken("shop", fmt.Sprintf("p%04d", i), diagnosis.CredentialsRejected))
		} else {
			s.Put(fine("shop", fmt.Sprintf("p%04d", i)))
		}
	}
	s.ExpirePages(1)
	status, out, _ := called(t, s, "-A")
	if status != 1 || !strings.Contains(out, "12 pods on node n1: CredentialsRejected, secret shop/regcred for hub.test") {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestDocuments(t *testing.T) {
	s := apitest.New(t, broken("shop", "web", diagnosis.CredentialsRejected), silent("shop", "q"))
	status, asJSON, _ := called(t, s, "-o", "json")
	_, asYAML, _ := called(t, s, "-o", "yaml")
	var fromJSON, fromYAML fleet.Overview
	if err := json.Unmarshal([]byte(asJSON), &fromJSON); err != nil || status != 1 {
		t.Fatalf("status %d, %v", status, err)
	}
	if err := yaml.UnmarshalStrict([]byte(asYAML), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", fromJSON.Groups) != fmt.Sprintf("%+v", fromYAML.Groups) || len(fromJSON.Pods) != len(fromYAML.Pods) {
		t.Errorf("JSON and YAML differ:\n%s\n%s", asJSON, asYAML)
	}
	if fromJSON.Schema != fleet.Schema || len(fromJSON.Pods) != 2 || fromJSON.Pods[1].Report == nil || fromJSON.Pods[0].Report != nil {
		t.Errorf("%+v", fromJSON)
	}
	if !strings.Contains(asJSON, "<config.json>") {
		t.Error("the remedy's placeholders cannot be read")
	}
	status, none, _ := called(t, s, "-o", "json", "-n", "calm")
	if status != 0 || !strings.Contains(none, `"pods": []`) {
		t.Errorf("status %d, %s", status, none)
	}
}

// The help describes every field of the document.
func TestDocumentIsDescribed(t *testing.T) {
	for _, part := range []any{fleet.Overview{}, fleet.Group{}, fleet.GroupOwner{}, fleet.Pod{}, fleet.Container{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(part)) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !regexp.MustCompile(`\b` + name + `\b`).MatchString(root().Long) {
				t.Errorf("--help does not describe %s of %T", name, part)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	s := apitest.New(t, broken("shop", "web-1", diagnosis.DiskFull), broken("shop", "api", diagnosis.TagNotFound), silent("shop", "web-2"),
		fine("shop", "web-3"), broken("b", "web-9", diagnosis.DiskFull))
	agent := agentPod("whypull", "n3")
	agent.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "whypull-agent", UID: "1", Controller: new(true)}}
	s.Put(agent)
	t.Setenv("KUBECONFIG", s.Kubeconfig(t))
	for line, want := range map[string]string{
		"":                        "api\tTagNotFound\nweb-1\tDiskFull\nweb-2\ncheck\tAsk the agents whether their nodes can pull an image\nexplain\tExplain a cause, or list all causes; needs no cluster\nhelp\tHelp about any command\n:4\n",
		"web":                     "web-1\tDiskFull\nweb-2\n:4\n",
		"-n|b|w":                  "web-9\tDiskFull\n:4\n",
		"-A|":                     ":4\n",
		"web-1|":                  ":4\n",
		"-o|j":                    "table\nwide\njson\nyaml\n:4\n",
		"--context|":              "here\nwrong\n:4\n",
		"explain|tls":             "TLSUntrusted\tCertificate not trusted\nTLSHostnameMismatch\tCertificate for another name\nTLSExpired\tCertificate expired or not yet valid\nTLSHandshakeFailed\tTLS handshake failed\n:4\n",
		"explain|TagNot|x":        ":4\n",
		"--context|wrong|":        ":1\n",
		"check|--all-nodes|x|":    ":4\n",
		"check|--node|":           "n3\n:4\n",
		"--node|":                 "n1\n:4\n",
		"--node|x":                ":4\n",
		"--cause|DNS":             "DNSFailure\tDNS lookup failed\n:4\n",
		"--cause|DNSFailure,tagn": "DNSFailure,TagNotFound\tTag not found\n:4\n",
	} {
		var out, errs output
		if status := run(append([]string{"__complete"}, strings.Split(line, "|")...), &out, &errs); status != 0 {
			t.Errorf("%s: status %d", line, status)
		}
		lines := func(s string) []string {
			all := strings.Split(s, "\n")
			slices.Sort(all)
			return all
		}
		if got := out.String(); line != "--context|wrong|" && !slices.Equal(lines(got), lines(want)) || !strings.HasSuffix(got, want[strings.LastIndex(want, ":"):]) {
			t.Errorf("%s: got\n%s\nwant\n%s", line, got, want)
		}
	}
}

// kubectl's completion script passes its arguments on.
func TestCompletionScript(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows runs no shell scripts")
	}
	script, err := filepath.Abs("../../deploy/kubectl_complete-why_pull")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kubectl-why_pull"), []byte("#!/bin/sh\nprintf '<%s>' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), script, "-n", "my shop", "")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.Output()
	if err != nil || string(out) != "<__complete><-n><my shop><>" {
		t.Errorf("%s, %v", out, err)
	}
	page, err := os.ReadFile("../../deploy/docs/release.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile(`(?m)^printf '[^']*'`).Find(page)
	written, err := exec.CommandContext(t.Context(), "sh", "-c", string(documented)).Output() // #nosec G204 -- our own document
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	if want := regexp.MustCompile(`(?m)^# .*\n`).ReplaceAllString(string(text), ""); string(written) != want {
		t.Errorf("%s writes %q, want %q", documented, written, want)
	}
}
