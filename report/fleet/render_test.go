package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/runbook"
	"github.com/whypull/whypull/report"
)

func TestTableGolden(t *testing.T) {
	t.Parallel()
	o := overview(failingCluster()...)
	golden(t, "table", o.Table(Layout{}, noon(), "", "", false))
	golden(t, "table-narrow", o.Table(Layout{Width: 60}, noon(), "", "", false))
	golden(t, "table-color", o.Table(Layout{Width: 100, Color: true}, noon(), "shop", "", false))
	golden(t, "wide", o.Table(Layout{Width: 140}, noon(), "", "", true))
}

func TestTableOfNothing(t *testing.T) {
	t.Parallel()
	for namespace, want := range map[string]string{
		"":                 "No pod in any namespace fails to pull an image.\n",
		"shop":             "No pod in namespace shop fails to pull an image.\n",
		"\x1b[31mshop\x1b": "No pod in namespace shop fails to pull an image.\n",
	} {
		if got := overview(runningPod("fine")).Table(Layout{}, noon(), namespace, "", false); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestJSONGolden(t *testing.T) {
	t.Parallel()
	o := overview(failingPod("web", diagnosis.CredentialsRejected, "hub.test rejects the credentials of pull secret regcred", secrets("regcred")),
		testPod("quiet", stuck, on("worker-9")))
	out, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "json", string(out)+"\n")
	empty, err := json.Marshal(overview())
	if want := `{"schema":"whypull.dev/pods/v1","groups":[],"pods":[]}`; err != nil || string(empty) != want {
		t.Errorf("got %s, want %s (%v)", empty, want, err)
	}
}

// storyPod is a pod with all kinds of facts.
func storyPod() *corev1.Pod {
	long := "kubectl -n shop create secret docker-registry regcred --dry-run=client -o yaml --from-file=.dockerconfigjson=<config.json> | kubectl apply -f -"
	return testPod("web", stuck, secrets("regcred"), ownedBy("ReplicaSet", "web-5d7f8"), volume("data", "hub.test/models:1"),
		withContainer("side", "hub.test/side:1", "data"), withStatus("side", waiting("ContainerCreating", "")), withContainer("new", "hub.test/new:1"),
		withStatus("new", waiting("ErrImagePull", "x")),
		withReport(verdict(diagnosis.CredentialsRejected, "hub.test rejects the credentials of pull secret regcred", func(c *report.Container) {
			c.Remedy = []string{"# in the directory of the manifests", long}
			c.Hosts = []string{"auth.hub.test:443", "hub.test:443"}
			c.Evidence = []report.Entry{
				{Check: "message", Outcome: "Inconclusive", Detail: "the runtime's text points to CredentialsRejected"},
				{Check: "image", Outcome: "Failed", Fault: "ImageAbsent", Detail: "the image is not on node worker-1"},
				{Check: "credentials", Outcome: "Passed", Detail: "secret regcred has credentials for hub.test under hub.test"},
				{Check: "podDNS", Outcome: "NotRun"},
				{Check: "pull", Outcome: "NewOutcome"},
				{Check: "registry", Outcome: "Failed", Fault: "Unauthorized", Detail: "https://hub.test rejects the credentials of secret regcred (HTTP 401)"},
			}
		}), verdict(diagnosis.TagNotFound, "hub.test/models has no tag 1", named(diagnosis.KindImageVolume, "data"), about("hub.test/models:1"))))
}

func TestStoryGolden(t *testing.T) {
	t.Parallel()
	o := overview(storyPod(), runningPod("other", on("worker-2")), runningPod("again"))
	golden(t, "story", o.Pods[0].Story(Layout{}, noon(), false))
	golden(t, "story-wide", o.Pods[0].Story(Layout{}, noon(), true))
	golden(t, "story-narrow", o.Pods[0].Story(Layout{Width: 50}, noon(), false))
	golden(t, "story-color", o.Pods[0].Story(Layout{Width: 80, Color: true}, noon(), false))
}

// A story points to the node like the groups do: not if the image runs on it.
func TestStoryPointsTo(t *testing.T) {
	t.Parallel()
	const points = "this points to node worker-1"
	failing, other, here := failingPod("web", diagnosis.DNSFailure, "x"), runningPod("b", on("worker-2")), runningPod("c")
	for want, o := range map[bool]Overview{true: overview(failing, other), false: overview(failing, other, here)} {
		if got := o.Pods[0].Story(Layout{}, noon(), false); strings.Contains(got, points) != want || !strings.Contains(got, "1 other node (worker-2)") {
			t.Errorf("want %t:\n%s", want, got)
		}
	}
}

// A remedy can be copied at every width.
func TestRemedyIsWhole(t *testing.T) {
	t.Parallel()
	pod := storyPod()
	d, err := report.Parse(pod.Annotations[report.ReportAnnotation])
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{0, 1, 20, 80, 300} {
		lines := strings.Split(overview(pod).Pods[0].Story(Layout{Width: width}, noon(), false), "\n")
		for _, line := range d.Containers[0].Remedy {
			if !slices.Contains(lines, "    "+line) {
				t.Errorf("width %d: no line %q", width, line)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	got, err := Explain(Layout{Width: 60}, "pullsecretNOMATCH")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "explain", got)
	golden(t, "causes", Causes(Layout{Width: 80}))
	for _, e := range diagnosis.Catalogue() {
		if text, err := Explain(Layout{}, string(e.Cause)); err != nil || !strings.Contains(text, e.Meaning) || !strings.Contains(text, e.Advice) {
			t.Errorf("%s: %q, %v", e.Cause, text, err)
		}
	}
	for name, want := range map[string]string{"TagNotFund": "TagNotFound", "dnsfail": "DNSFailure", strings.Repeat("x", 10000): "\""} {
		if _, err := Explain(Layout{}, name); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%.20s: %v", name, err)
		}
	}
}

// inOrder reports whether text contains all parts, one after the other.
func inOrder(text string, parts ...string) bool {
	for _, part := range parts {
		_, rest, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = "\n" + rest
	}
	return true
}

// The runbook's pages are Markdown; a terminal shows their text and their commands
// without the markup.
func TestExplainShowsNoMarks(t *testing.T) {
	t.Parallel()
	for _, e := range diagnosis.Catalogue() {
		for _, width := range []int{0, 1, 40, 80, 300} {
			text, err := Explain(Layout{Width: width}, string(e.Cause))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(text, string(e.Cause)+":") || !inOrder(text, "\nMeaning\n", "\nDiagnosis\n", "\nMitigation\n", "\nPrevention\n") && width > 20 {
				t.Errorf("%s, width %d: %s", e.Cause, width, text)
			}
			for line := range strings.Lines(text) {
				code := strings.HasPrefix(line, codeIndent)
				if n := columns(strings.TrimRight(line, "\n")); width >= 40 && !code && n > min(width, pageWidth) && strings.Contains(strings.TrimSpace(line), " ") {
					t.Errorf("%s, width %d: %d columns: %q", e.Cause, width, n, line)
				}
				if mark := strings.ContainsAny(line, "`") || strings.Contains(line, "**") || strings.Contains(line, ".md)"); mark && !code || strings.Contains(line, "<!--") {
					t.Errorf("%s, width %d: %q", e.Cause, width, line)
				}
			}
		}
	}
}

// What is to be copied from a page is not wrapped.
func TestExplainKeepsCommands(t *testing.T) {
	t.Parallel()
	for _, e := range diagnosis.Catalogue() {
		source, err := runbook.Page(e)
		if err != nil {
			t.Fatal(err)
		}
		text, err := Explain(Layout{Width: 40}, string(e.Cause))
		if err != nil {
			t.Fatal(err)
		}
		shown, within := strings.Split(text, "\n"), false
		for line := range strings.Lines(source) {
			line = strings.TrimSuffix(line, "\n")
			switch {
			case strings.HasPrefix(line, "```"):
				within = !within
			case within && !slices.Contains(shown, codeIndent+line):
				t.Errorf("%s: no line %q", e.Cause, line)
			}
		}
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		layout       Layout
		source, want string
	}{
		"nothing":                   {Layout{}, "", ""},
		"comment":                   {Layout{}, "<!-- x -->\ny\n", "y\n"},
		"paragraph":                 {Layout{}, "a `b`\n**c** [d](e.md)\n", "a b c d\n"},
		"paragraph without an end":  {Layout{}, "a", "a\n"},
		"wrapped":                   {Layout{Width: 5}, "aa bb cc\n", "aa bb\ncc\n"},
		"no wider than is read":     {Layout{Width: 500}, strings.Repeat("aaaa ", 30), strings.TrimSpace(strings.Repeat("aaaa ", 20)) + "\n" + strings.TrimSpace(strings.Repeat("aaaa ", 10)) + "\n"},
		"list":                      {Layout{Width: 6}, "- a b\n  c\n- d\n", "- a b\n  c\n- d\n"},
		"list in a section":         {Layout{Width: 8}, "## S\n- a b\n  c\n", "S\n  - a b\n    c\n"},
		"paragraph after a list":    {Layout{}, "- a\n\nb\n", "- a\n\nb\n"},
		"text before a list":        {Layout{}, "a\n- b\n", "a\n- b\n"},
		"heading":                   {Layout{Color: true}, "# a `b`\n", "\x1b[1ma b\x1b[0m\n"},
		"heading of two lines":      {Layout{Color: true, Width: 3}, "# aaa bbb\n", "\x1b[1maaa\x1b[0m\n\x1b[1mbbb\x1b[0m\n"},
		"heading ends a paragraph":  {Layout{}, "a\n## b\nc\n", "a\nb\n  c\n"},
		"code":                      {Layout{Width: 3}, "```sh\na  b `c` **d** [e](f)\n\n# g\n- h\n```\ni\n", "      a  b `c` **d** [e](f)\n\n      # g\n      - h\ni\n"},
		"code ends a paragraph":     {Layout{}, "a\n```\nb\n```\n", "a\n      b\n"},
		"marks within code stay":    {Layout{}, "`**` and `[a](b)`\n", "** and [a](b)\n"},
		"a bracket that is no link": {Layout{}, "[a] (b)\n", "[a] (b)\n"},
	} {
		if got := c.layout.markdown(c.source); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// hostile puts terminal escapes into every text of a pod.
func hostile() *corev1.Pod {
	const bad = "\x1b[2J\x1b]0;x\x07\u202e\u009b31m\r\nEVIL\xff"
	p := testPod("p"+bad, in("n"+bad), on("w"+bad), of("hub.test/"+bad), ownedBy("K"+bad, bad), secrets("s"+bad),
		withStatus("app", waiting("ErrImagePull", bad+strings.Repeat("y", 100))), withContainer("c"+bad, bad), withStatus("c"+bad, waiting("ErrImagePull", bad)))
	withReport(verdict("Cause"+bad, bad, about("hub.test/"+bad), func(c *report.Container) {
		c.Remedy, c.Since, c.Confidence = []string{bad, bad}, bad, bad
		c.Evidence = []report.Entry{{Check: bad, Outcome: bad, Fault: bad, Detail: bad}}
	}), verdict("Other"+bad, bad, named(diagnosis.Kind(bad), bad)))(p)
	return p
}

// No text from the cluster moves the cursor, in any output.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	o := overview(hostile(), testPod("q\x1b[2J", on("n\x1b[2J"), withStatus("app", waiting("ErrImagePull", "\x1b[2J"))))
	if len(o.Pods) != 2 {
		t.Fatalf("%d pods, want 2", len(o.Pods))
	}
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string]string{"json": string(data), "lines": strings.Join(append(o.Pods[0].Lines(), o.Pods[1].Lines()...), "\n")}
	for _, width := range []int{0, 40} {
		outputs[fmt.Sprint("table ", width)] = o.Table(Layout{Width: width}, noon(), "", "", false)
		outputs[fmt.Sprint("wide ", width)] = o.Table(Layout{Width: width}, noon(), "", "", true)
		outputs[fmt.Sprint("story ", width)] = o.Pods[0].Story(Layout{Width: width}, noon(), false) + o.Pods[1].Story(Layout{Width: width}, noon(), false)
	}
	for name, text := range outputs {
		bad := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
		if i := strings.IndexFunc(text, bad); i >= 0 || strings.Contains(text, `\u00`) || strings.Contains(text, `\u20`) {
			t.Errorf("%s: at %d in %q", name, i, text)
		}
		if !strings.Contains(text, "EVIL") {
			t.Errorf("%s: the test shows nothing: %q", name, text)
		}
	}
}

// Whatever the names, a table is not wider than the terminal.
func TestTableFits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	var rows [][]string
	for _, name := range []string{"POD", long, "漢字" + strings.Repeat("漢", 150), "é" + strings.Repeat("e\u0301", 100), "a"} {
		rows = append(rows, []string{name, "app", "worker-1", "4m", name})
	}
	for _, width := range []int{40, 79, 80, 200, 400} {
		for line := range strings.Lines(Layout{Width: width}.table("  ", rows)) {
			if got := columns(strings.TrimSuffix(line, "\n")); got > width {
				t.Errorf("width %d: %d columns: %s", width, got, line)
			}
		}
	}
	if got := (Layout{}).table("", rows); !strings.Contains(got, long) {
		t.Error("cut without a terminal")
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcdef", 5, "ab…ef"}, {"abcdef", 4, "ab…f"}, {"abcdef", 1, "…"},
		{"漢字漢字", 8, "漢字漢字"}, {"漢字漢字", 7, "漢…漢字"}, {"漢字漢字", 5, "漢…字"}, {"漢字漢字", 2, "…"},
	} {
		got := fit(tc.in, tc.n)
		if columns(got) > tc.n {
			t.Errorf("fit(%q, %d): %q is too wide", tc.in, tc.n, got)
		}
		if tc.in != "漢字漢字" && got != tc.want {
			t.Errorf("fit(%q, %d): %q, want %q", tc.in, tc.n, got, tc.want)
		}
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "漢字": 4, "ｱ": 1, "Ａ": 2, "…": 1} {
		if got := columns(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in, indent string
		n          int
		want       string
	}{
		{"a b c", "", 0, "a b c\n"}, {"aa bb cc", "  ", 7, "  aa bb\n  cc\n"}, {"aa bb", "", 5, "aa bb\n"}, {"aa bb", "", 4, "aa\nbb\n"},
		{"a longest b", " ", 4, " a\n longest\n b\n"}, {"", "  ", 10, "\n"}, {"漢字 漢字", "", 8, "漢字\n漢字\n"},
	} {
		if got := wrap(tc.in, tc.indent, tc.n); got != tc.want {
			t.Errorf("wrap(%q, %q, %d): %q, want %q", tc.in, tc.indent, tc.n, got, tc.want)
		}
	}
}

func TestScreen(t *testing.T) {
	t.Parallel()
	text := "1\n2\n3\n4\n5\n"
	for height, want := range map[int]string{
		0: text, 1: text, 6: text, 7: text, 5: "1\n2\n3\n... and 2 lines more\n", 3: "1\n... and 4 lines more\n", 2: "... and 5 lines more\n",
	} {
		if got := (Layout{Height: height}).Screen(text); got != want {
			t.Errorf("height %d: %q, want %q", height, got, want)
		}
	}
}

func TestNoColors(t *testing.T) {
	t.Parallel()
	o := overview(failingCluster()...)
	plain := o.Table(Layout{Width: 80}, noon(), "", "", true) + o.Pods[0].Story(Layout{Width: 80}, noon(), false)
	colored := o.Table(Layout{Width: 80, Color: true}, noon(), "", "", true) + o.Pods[0].Story(Layout{Width: 80, Color: true}, noon(), false)
	if strings.Contains(plain, "\x1b") || !strings.Contains(colored, "\x1b[") {
		t.Error("unexpected colors")
	}
	for _, code := range []string{"0", "1", "2", "1;31", "31", "32", "33"} {
		colored = strings.ReplaceAll(colored, "\x1b["+code+"m", "")
	}
	if colored != plain {
		t.Error("colors change the text")
	}
}

func TestKindNames(t *testing.T) {
	t.Parallel()
	for kind, want := range map[diagnosis.Kind]string{
		diagnosis.KindContainer: "container", diagnosis.KindInitContainer: "init container", diagnosis.KindEphemeralContainer: "ephemeral container",
		diagnosis.KindImageVolume: "image volume", "to come": "container",
	} {
		if got := kind.Words(); got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}

// An outcome has a mark, and a word if the report has no detail.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[diagnosis.Outcome]string{
		diagnosis.Passed: "✓ x  passed", diagnosis.Failed: "✗ x  failed", diagnosis.Inconclusive: "? x  inconclusive",
		diagnosis.NotRun: "- x  not run", "ToCome": "? x  ToCome",
	} {
		got := Layout{}.evidence([]report.Entry{{Check: "x", Outcome: string(outcome)}})
		if want = "\n  Evidence\n    " + want + "\n"; got != want {
			t.Errorf("%s: %q, want %q", outcome, got, want)
		}
	}
}

func TestFleetLine(t *testing.T) {
	t.Parallel()
	for want, tc := range map[string]struct {
		images   int
		nodes    []string
		pointsTo string
	}{
		"": {1, nil, "n1"},
		"the same image runs on 1 other node (a)":                                           {1, []string{"a"}, ""},
		"the same images run on 3 other nodes (a, b, c)":                                    {2, []string{"a", "b", "c"}, ""},
		"the same image runs on 5 other nodes (a, b, c and 2 more): this points to node n1": {1, []string{"a", "b", "c", "d", "e"}, "n1"},
	} {
		if got := fleetLine(tc.images, tc.nodes, tc.pointsTo); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Without commands, the remedy is the catalog's advice; an unknown cause has
// none.
func TestRemedyAdvice(t *testing.T) {
	t.Parallel()
	for cause, want := range map[string]string{"DiskFull": "\n  Remedy\n    Free space on the node, or enlarge the file system.\n\n", "NewCause": "\n"} {
		if got := (Layout{}).remedy(report.Container{Cause: cause}); got != want {
			t.Errorf("%s: %q, want %q", cause, got, want)
		}
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"2026-01-02T11:59:30Z": "30s", "2026-01-02T13:59:30+02:00": "30s", "2026-01-01T11:00:00Z": "25h", "2026-01-02T12:00:09Z": "0s",
		"0001-01-01T00:00:00Z": "-", "yesterday": "-", "": "-",
	} {
		if got := since(at, noon()); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	if got := since("", noon()); got != "-" {
		t.Error(got)
	}
}

// Every cause has something by which its pods are grouped, and only
// node-specific causes point to a node.
func TestEveryCauseIsGrouped(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, e := range diagnosis.Catalogue() {
		fmt.Fprintf(&b, "%s: %s", e.Cause, cmp.Or(e.Group, "image"))
		if nodeSpecific(string(e.Cause)) {
			b.WriteString(", points to the node")
		}
		b.WriteString("\n")
	}
	golden(t, "groups", b.String())
}
