package diagnosis

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// shell runs a script with nothing in PATH, so that whatever is executed by
// mistake shows up on stderr.
func shell(t testing.TB, dir, script string, args ...string) (stderr string, err error) {
	t.Helper()
	sh, lookErr := exec.LookPath("sh")
	if lookErr != nil {
		t.Skip("no shell")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, sh, append(args, "-s")...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + filepath.Join(dir, "none"), "LOG=" + filepath.Join(dir, "log"), "HOME=" + dir}
	cmd.Stdin = strings.NewReader(script)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// end stands behind the words of one command. A command writes all of them at
// once, since those of a pipe run side by side.
const end = "\n--end--"

// programs are those that remedies run.
func programs() []string {
	return []string{"kubectl", "kubeseal", "getent", "curl", "mkdir", "cat", "crictl", "systemctl", "tee", "df", "k3s", "microk8s", "snap", "talosctl", "apiclient", "ctr", "oc", "journalctl", "tail", "ps", "docker", "ls"}
}

// stubs stand for the commands that a remedy uses. Each writes its words down,
// NUL behind each.
func stubs() string {
	var b strings.Builder
	for _, name := range programs() {
		b.WriteString(name + "() { printf '%s\\000' " + name + ` "$@" '` + end + `' >>"$LOG"; }` + "\n")
	}
	return b.String()
}

// commands are the words of each stub that a script has called.
func commands(t testing.TB, dir string) [][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out [][]string
	for call := range strings.SplitSeq(string(data), end+"\x00") {
		if call = strings.TrimSuffix(call, "\x00"); call != "" {
			out = append(out, strings.Split(call, "\x00"))
		}
	}
	return out
}

// filled is a remedy as a person runs it. What it writes on a node goes to dir.
func filled(lines []string, dir string) string {
	s := strings.Join(lines, "\n") + "\n"
	for _, name := range []string{"image", "tag", "digest", "repository", "registry", "registry:port", "config.json", "ca.crt", "patch.yaml", "base64"} {
		s = strings.ReplaceAll(s, "<"+name+">", "VALUE")
	}
	for _, folder := range []string{"/etc/containerd/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d", "/etc/containers/registries.conf.d", "/etc/rancher/k3s", "/etc/rancher/rke2", "/var/snap/microk8s/current/args/certs.d"} {
		s = strings.ReplaceAll(s, folder, dir)
	}
	return s
}

// run checks a remedy with a shell and then runs it against the stubs.
func run(t testing.TB, lines []string) [][]string {
	t.Helper()
	dir := t.TempDir()
	script := filled(lines, dir)
	if out, err := shell(t, dir, script, "-n"); err != nil || out != "" {
		t.Fatalf("not a script: %v %s\n%s", err, out, script)
	}
	if strings.Contains(script, dir) { // the folder that a person would have made
		if strings.Contains(strings.ReplaceAll(script, dir, ""), "..") {
			return nil
		}
		for _, name := range []string{"hub.example.com", "docker.io"} {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, err := shell(t, dir, stubs()+script); err != nil || out != "" {
		t.Fatalf("%v %s\n%s", err, out, script)
	}
	return commands(t, dir)
}

// TestRemediesRun: each remedy of the scenarios, filled in, is a script whose
// commands all succeed.
func TestRemediesRun(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range verdictCases(t) {
		lines := Diagnose(s.failure, s.evidence).Remedy
		key := strings.Join(lines, "\n")
		if seen[key] {
			continue
		}
		seen[key] = true
		wanted := 0
		for _, line := range lines {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "test -e") {
				wanted += 1 + strings.Count(line, " | kube") + strings.Count(line, " && cat ")
			}
		}
		if got := run(t, lines); len(got) != wanted {
			t.Errorf("%s: %d commands, want %d: %q", s.name(), len(got), wanted, got)
		}
	}
}

// harmless is a verdict of a scenario in which every name is text, but for the
// registry, which files are named after, and the container, whose name the API
// server takes care of.
func harmless(s verdictCase, text string) Verdict {
	f, evidence := spoil(s.failure, s.evidence, text)
	f.Registry, f.Container = s.failure.Registry, s.failure.Container
	for i := range evidence {
		evidence[i].Endpoint.ConfigDir, evidence[i].Endpoint.URL = "", "https://"+f.Registry
	}
	return Diagnose(f, evidence)
}

// checkHarmless runs the remedies for hostile names, as one script, and asserts
// that the names arrive as plain words.
func checkHarmless(t testing.TB, text string, cases ...verdictCase) {
	t.Helper()
	var lines []string
	for _, s := range cases {
		v := harmless(s, text)
		checkRemedy(t, v.Remedy)
		lines = append(lines, v.Remedy...)
	}
	for _, words := range run(t, lines) {
		if words[0] == "kubectl" {
			checkWords(t, words[1:], Printable(text))
		}
	}
}

func checkWords(t testing.TB, words []string, text string) {
	t.Helper()
	if slices.Equal(words, []string{"apply", "-f", "-"}) || slices.Equal(words, []string{"replace", "--force", "-f", "-"}) {
		return
	}
	if len(words) > 1 && words[0] == "argo" && words[1] == "rollouts" { // no flag may stand before a plugin's name
		words = words[2:]
	}
	if words[0] == "-n" {
		if !sameFilled(words[1], text) {
			t.Errorf("namespace %q, want %q", words[1], text)
		}
		words = words[2:]
	}
	if !slices.Contains([]string{"create", "patch", "set", "debug", "describe", "delete", "edit", "get"}, words[0]) {
		t.Errorf("kubectl %q", words)
	}
	for i, w := range words {
		switch {
		case words[max(0, i-1)] == "-p":
			if !json.Valid([]byte(w)) {
				t.Errorf("no JSON: %s", w)
			}
		case strings.HasPrefix(w, "pod/"):
			if !sameFilled(w, "pod/"+text) {
				t.Errorf("%q, want pod/%q", w, text)
			}
		case strings.HasPrefix(w, "-") && !slices.Contains(flags(), strings.SplitAfter(w, "=")[0]):
			t.Errorf("a flag that we do not use: %q", w)
		}
	}
}

// sameFilled compares a word with the text it was made from, whose blanks have
// been filled in.
func sameFilled(got, text string) bool {
	r := strings.NewReplacer(blankStart, "", blankEnd, "", "<tag>", "VALUE", "<image>", "VALUE", "tag", "VALUE", "image", "VALUE")
	return got == text || r.Replace(got) == r.Replace(text)
}

func flags() []string {
	return []string{
		"-n", "-o", "-p", "-f", "-", "--dry-run=", "--from-file=", "--image=",
		"--image-pull-policy=", "--watch", "--force", "--label-columns=", "--type=",
	}
}

// kindsOfRemedy are scenarios with different remedies, one of each shape.
func kindsOfRemedy(t testing.TB) []verdictCase {
	var out []verdictCase
	seen := map[string]bool{}
	for _, s := range verdictCases(t) {
		shape := strings.Join(Diagnose(s.failure, s.evidence).Remedy, "\n")
		if !seen[shape] {
			out = append(out, s)
		}
		seen[shape] = true
	}
	return out
}

func TestRemediesAreHarmless(t *testing.T) {
	t.Parallel()
	cases := kindsOfRemedy(t)
	for _, text := range hostile() {
		if checkHarmless(t, text, cases...); t.Failed() {
			t.Fatalf("with %q", text)
		}
	}
}

func FuzzRemedy(f *testing.F) {
	for i, text := range hostile() {
		f.Add(text, uint8(i*7))
	}
	cases := kindsOfRemedy(f)
	f.Fuzz(func(t *testing.T, text string, choice uint8) {
		if len(text) < 1000 {
			checkHarmless(t, text, cases[int(choice)%len(cases)])
		}
	})
}

// TestRemediesRefuseBlanks: a line that is not filled in changes nothing, even
// where a file has the name of a blank.
func TestRemediesRefuseBlanks(t *testing.T) {
	t.Parallel()
	for _, s := range kindsOfRemedy(t) {
		for _, line := range Diagnose(s.failure, s.evidence).Remedy {
			if strings.HasPrefix(line, "#") || !strings.Contains(line, "<") {
				continue
			}
			dir := t.TempDir()
			line = strings.ReplaceAll(line, "/etc/containerd/certs.d", dir)
			if _, err := shell(t, dir, stubs()+line+"\n"); err == nil && !strings.Contains(line, " | ") {
				t.Errorf("%s: the shell takes %s", s.name(), line)
			}
			for _, words := range commands(t, dir) {
				if words[1] != "replace" && words[1] != "apply" && words[0] != "kubeseal" {
					t.Errorf("%s: %q was run for %s", s.name(), words, line)
				}
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "log" {
				t.Errorf("%s: %v left by %s", s.name(), left, line)
			}
		}
	}
}

// TestRemediesHaveNoPasswordInThem: credentials are never part of a command, where
// the process list and the shell's history would show them.
func TestRemediesHaveNoPasswordInThem(t *testing.T) {
	n := 0
	for _, s := range verdictCases(t) {
		for _, line := range Diagnose(s.failure, s.evidence).Remedy {
			if strings.Contains(line, "--docker-") || strings.Contains(line, "password") {
				t.Errorf("%s: %s", s.name(), line)
			}
			if strings.Contains(line, " --from-file=.dockerconfigjson=<config.json>") {
				n++
			}
		}
	}
	if n == 0 {
		t.Error("no remedy creates a secret")
	}
}

// TestCommentsAreHarmless: an interactive zsh runs a pasted comment, so that nothing
// in it may be special to a shell but what is quoted, and the blanks.
func TestCommentsAreHarmless(t *testing.T) {
	t.Parallel()
	quoted := regexp.MustCompile(`'[^']*'|\\'|<[a-z.:]+>`)
	check := func(line string) {
		t.Helper()
		if rest := quoted.ReplaceAllString(line[1:], ""); strings.HasPrefix(line, "#") && strings.ContainsAny(rest, "`$;&|<>()'\"\\!*?[]{}~#") {
			t.Errorf("%q in %s", rest, line)
		}
	}
	for _, e := range Catalogue() {
		check("# " + e.Advice)
	}
	cases := kindsOfRemedy(t)
	for _, s := range cases {
		for _, line := range Diagnose(s.failure, s.evidence).Remedy {
			check(line)
		}
		for _, text := range hostile() {
			for _, line := range harmless(s, text).Remedy {
				check(line)
			}
		}
	}
}

// TestRemediesNameTheNamespace: every command on the cluster is about the pod's
// namespace; a replace takes it from what is piped into it.
func TestRemediesNameTheNamespace(t *testing.T) {
	for _, s := range verdictCases(t) {
		for _, line := range Diagnose(s.failure, s.evidence).Remedy {
			if !strings.HasPrefix(line, "kubectl ") {
				continue
			}
			if line == nodesByPlatform { // nodes are in no namespace
				continue
			}
			if want := "-n " + quote(s.failure.Namespace) + " "; !strings.HasPrefix(line, "kubectl "+want) && !strings.HasPrefix(line, "kubectl argo rollouts "+want) {
				t.Errorf("%s: %s", s.name(), line)
			}
			_, second, _ := strings.Cut(line, " | ")
			if strings.Contains(second, "-n ") {
				t.Errorf("%s: %s", s.name(), line)
			}
		}
	}
}

// Where clouds give the kubelet its credentials, a secret with a token is the second choice.
func TestRemediesAtClouds(t *testing.T) {
	matches := Evidence{Check: CheckCredentials, Outcome: NotRun, Fault: FaultProviderMatches, Body: &CredentialFacts{Provider: "p"}}
	for registry, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com": "AmazonEC2ContainerRegistryPullOnly", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn": "AmazonEC2ContainerRegistryPullOnly",
		"123456789012.dkr-ecr.eu-west-1.on.aws": "AmazonEC2ContainerRegistryPullOnly", "team.azurecr.io": "AcrPull",
		"eu-docker.pkg.dev": "roles/artifactregistry.reader", "gcr.io": "roles/artifactregistry.reader", "eu.gcr.io": "roles/artifactregistry.reader",
		"hub.example.com": "", "notgcr.io": "", "azurecr.io.example.com": "",
	} {
		f := ordinary()
		f.Registry = registry
		evidence := []Evidence{{Check: CheckCredentials, Outcome: Failed, Fault: FaultNoCredentials}, {Check: CheckRegistry, Outcome: Failed, Fault: FaultUnauthorized,
			Endpoint: Endpoint{URL: "https://" + registry}, Body: &RegistryFacts{Status: 401}}}
		v := Diagnose(f, evidence)
		said := strings.Contains(v.Remedy[0], "The kubelet of node")
		if v.Cause != AuthenticationRequired || said != (want != "") || !strings.Contains(v.Remedy[0], want) {
			t.Errorf("%s: %s: %s", registry, v.Cause, v.Remedy[0])
		}
		if v := Diagnose(f, append(evidence, matches)); strings.Contains(v.Remedy[0], "The kubelet of node") {
			t.Errorf("%s, where a provider is the question: %s", registry, v.Remedy[0])
		}
	}
}

// TestRemediesOfBarePods: a pod is created again without what may not be created,
// and people are told that it is deleted.
func TestRemediesOfBarePods(t *testing.T) {
	n := 0
	for _, s := range verdictCases(t) {
		lines := Diagnose(s.failure, s.evidence).Remedy
		for i, line := range lines {
			if !strings.Contains(line, "patch pod/") {
				continue
			}
			n++
			if !strings.Contains(line, `"ephemeralContainers":null`) || !strings.HasSuffix(line, " --dry-run=client -o json -p "+quote(patchIn(line))+" | kubectl replace --force -f -") {
				t.Errorf("%s: %s", s.name(), line)
			}
			if i == 0 || !strings.Contains(lines[i-1], "This deletes the pod") {
				t.Errorf("%s does not say that the pod is deleted", s.name())
			}
			if s.failure.Owner.Kind != "" {
				t.Errorf("%s: the pod is not bare", s.name())
			}
		}
	}
	if n == 0 {
		t.Error("none")
	}
}

// patchIn is the JSON of a line, without quotes.
func patchIn(line string) string {
	_, rest, _ := strings.Cut(line, " -p '")
	patch, _, _ := strings.Cut(rest, "' | ")
	return strings.NewReplacer("'<tag>'", blank("tag")).Replace(patch)
}

// TestRemediesPatchTheFailingContainer: a patch of a container that is not in
// the list would add one without an image.
func TestRemediesPatchTheFailingContainer(t *testing.T) {
	for kind, list := range map[Kind]string{KindContainer: "containers", KindInitContainer: "initContainers", KindImageVolume: "volumes"} {
		f := ordinary()
		f.Kind, f.PullPolicy, f.Owner = kind, "Never", Owner{Kind: "Deployment", Name: "web"}
		x := &facts{Failure: f}
		var patch struct {
			Spec struct {
				Template struct{ Spec map[string]json.RawMessage }
			}
		}
		lines := neverRemedy(x)
		last := lines[len(lines)-1]
		if err := json.Unmarshal([]byte(last[strings.Index(last, "'")+1:len(last)-1]), &patch); err != nil {
			t.Fatal(err, last)
		}
		if got := patch.Spec.Template.Spec; len(got) != 1 || got[list] == nil {
			t.Errorf("%s: %s", kind, last)
		}
	}
	f := ordinary()
	f.Kind, f.PullPolicy = KindEphemeralContainer, "Never"
	if all := strings.Join(neverRemedy(&facts{Failure: f}), "\n"); strings.Contains(all, "patch") || !strings.Contains(all, "debug pod/web") {
		t.Error(all)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "''",
		"app":                                    "app",
		"hub.example.com/a:1@b":                  "hub.example.com/a:1@b",
		"a b":                                    "'a b'",
		"it's":                                   `'it'\''s'`,
		"$x":                                     "'$x'",
		"a\\b":                                   `'a\b'`,
		"~":                                      "'~'",
		"é":                                      "'é'",
		blank("tag"):                             "<tag>",
		"a:" + blank("tag"):                      "a:<tag>",
		blank("registry") + "/a":                 "<registry>/a",
		"a b" + blank("tag") + "'":               `'a b'<tag>''\'''`,
		blank("repository") + ":" + blank("tag"): "<repository>:<tag>",
		blank("$(id)"):                           "'" + blank("$(id)") + "'",
		blankStart + blank("tag"):                "'" + blankStart + "'<tag>",
		blankStart + "tag":                       "'" + blankStart + "tag'",
		blankEnd + blankStart:                    "'" + blankEnd + blankStart + "'",
	} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// TestQuoteInAShell: what a shell makes of a quoted text is the text.
func TestQuoteInAShell(t *testing.T) {
	dir := t.TempDir()
	var script strings.Builder
	var want []string
	for _, text := range hostile() {
		if _, name, _ := cutBlank(text); name != "" || strings.Contains(text, "\x00") || strings.Contains(text, "\r") {
			continue
		}
		want = append(want, text)
		script.WriteString("printf '%s\\000' " + quote(text) + " >>\"$LOG\"\n")
	}
	if out, err := shell(t, dir, script.String()); err != nil || out != "" {
		t.Fatal(err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || string(got) != strings.Join(want, "\x00")+"\x00" {
		t.Errorf("%v %q\nwant %q", err, got, want)
	}
}

func TestCutBlank(t *testing.T) {
	for in, want := range map[string][3]string{
		"":                           {"", "", ""},
		"plain":                      {"plain", "", ""},
		"a" + blank("tag") + "b":     {"a", "tag", "b"},
		blank("no") + blank("image"): {blank("no"), "image", ""},
		blankStart + "tag":           {blankStart + "tag", "", ""},
	} {
		before, name, after := cutBlank(in)
		if got := [3]string{before, name, after}; got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestComment(t *testing.T) {
	if got := comment("put %s in %s", "a:"+blank("tag"), "pod `id`"); got != "# put a:<tag> in 'pod `id`'" {
		t.Error(got)
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"regcred": true, "a": true, "my-secret.v2": true, "9": true, strings.Repeat("a", 253): true,
		"": false, "My": false, "a_b": false, "-a": false, "a-": false, ".a": false, "a b": false, "--help": false,
		strings.Repeat("a", 254): false, "é": false, "a/b": false,
	} {
		if got := validName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestNewSecret(t *testing.T) {
	for registry, want := range map[string]string{
		"hub.example.com": "pull-hub.example.com", "hub.example.com:5000": "pull-hub.example.com-5000", "localhost": "pull-localhost",
		"[::1]:5000": "pull-1--5000", "HUB.Example.com": "pull-hub.example.com", "": "pull", "::": "pull", "a.b.": "pull-a.b",
	} {
		x := &facts{Failure: Failure{Registry: registry}}
		if got := x.newSecret(); got != want || !validName(got) {
			t.Errorf("%q: %q, want %q", registry, got, want)
		}
	}
	long := (&facts{Failure: Failure{Registry: strings.Repeat("a.", 300)}}).newSecret()
	if !validName(long) {
		t.Error(long)
	}
}

// TestSecretCommands: no command is printed for a name that no secret can have;
// it might be taken for a flag.
func TestSecretCommands(t *testing.T) {
	x := &facts{Failure: ordinary()}
	for _, line := range slices.Concat(x.createSecret("--from-file=/etc/shadow"), x.replaceSecret("-n", true), x.createSecret("")) {
		if !strings.HasPrefix(line, "# ") {
			t.Error(line)
		}
	}
	const create = "kubectl -n shop create secret docker-registry a --dry-run=client -o yaml --from-file=.dockerconfigjson=<config.json>"
	if got := x.replaceSecret("a", true); got[len(got)-1] != create+" | kubectl replace --force -f -" {
		t.Error(got)
	}
	if got := x.replaceSecret("a", false); got[len(got)-1] != create+" | kubectl apply -f -" {
		t.Error(got)
	}
}

func TestServer(t *testing.T) {
	for registry, want := range map[string]string{
		"docker.io": "https://index.docker.io/v1/", "hub.example.com:5000": "hub.example.com:5000", "registry-1.docker.io": "registry-1.docker.io",
	} {
		if got := server(registry); got != want {
			t.Errorf("%s: %s", registry, got)
		}
	}
}

func TestKubectl(t *testing.T) {
	for namespace, want := range map[string]string{
		"shop": "kubectl -n shop get pod/web", "": "kubectl get pod/web", "a b": "kubectl -n 'a b' get pod/web",
	} {
		x := &facts{Failure: Failure{Namespace: namespace}}
		if got := x.kubectl("get", "pod/web"); got != want {
			t.Errorf("%q: %s", namespace, got)
		}
	}
}

func TestImageParts(t *testing.T) {
	for image, want := range map[string][3]string{ // untagged, suffix, version
		"app":                        {"app", "", "tag latest"},
		"app:1":                      {"app", ":1", "tag 1"},
		"hub:5000/app":               {"hub:5000/app", "", "tag latest"},
		"hub:5000/app:1":             {"hub:5000/app", ":1", "tag 1"},
		"hub:5000/app@sha256:ab":     {"hub:5000/app", "@sha256:ab", "digest sha256:ab"},
		"hub:5000/a/app:1@sha256:ab": {"hub:5000/a/app", ":1@sha256:ab", "digest sha256:ab"},
		"":                           {"", "", "tag latest"},
	} {
		x := &facts{Failure: Failure{Image: image, Registry: "hub.test", Repository: "app"}}
		if got := [3]string{x.Ref().Untagged(), x.Ref().Suffix(), x.version()}; got != want {
			t.Errorf("%q: %q, want %q", image, got, want)
		}
	}
}

func TestHostOnly(t *testing.T) {
	for in, want := range map[string]string{
		"hub.example.com": "hub.example.com", "hub.example.com:5000": "hub.example.com", "[fd00::1]:5000": "fd00::1", "[fd00::1]": "fd00::1",
		"10.0.0.1:80": "10.0.0.1", "": "",
	} {
		if got := hostOnly(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// TestHostsFile: the lines arrive in the file as they are, and a file that is
// there stays.
func TestHostsFile(t *testing.T) {
	for _, there := range []bool{false, true} {
		dir := t.TempDir()
		file := filepath.Join(dir, "hosts.toml")
		want := "server = \"https://hub.example.com\"\nca = 'it''s'\n"
		if there {
			want = "mine\n"
			if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := shell(t, dir, writeUnlessThere(file, `server = "https://hub.example.com"`, `ca = 'it''s'`)+"\n"); err != nil || out != "" {
			t.Fatal(err, out)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("there %v: %q %v", there, got, err)
		}
	}
}

func TestHostsDir(t *testing.T) {
	x := &facts{Failure: ordinary()}
	if got := x.hostsDir(); got != "/etc/containerd/certs.d/hub.example.com" {
		t.Error(got)
	}
	x.all = []*Evidence{{Check: CheckRegistry, Endpoint: Endpoint{ConfigDir: "/srv/certs"}}}
	if got := x.hostsDir(); got != "/srv/certs/hub.example.com" {
		t.Error(got)
	}
}

func TestAsJSON(t *testing.T) {
	if got := asJSON(map[string]any{"a": "<b> & é"}); got != `{"a":"<b> & é"}` {
		t.Error(got)
	}
	if got := asJSON(func() {}); got != "{}" {
		t.Error(got)
	}
}
