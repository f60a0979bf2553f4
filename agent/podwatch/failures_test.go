package podwatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
)

func TestFailuresByReason(t *testing.T) {
	t.Parallel()
	const badBase64 = "illegal base64 data at input byte 0"
	tests := []struct {
		reason, message string
		want            bool
	}{
		{"ErrImagePull", "pull QPS exceeded", true},
		{"ErrImagePull", "", true},
		{"ImagePullBackOff", `Back-off pulling image "` + image + `"`, true},
		{"ErrImageNeverPull", `Container image "` + image + `" is not present with pull policy of Never`, true},
		{"InvalidImageName", `Failed to apply default image tag "App": couldn't parse image name "App"`, true},
		{"ImageInspectError", `Failed to inspect image "": rpc error: code = Unavailable desc = connection error`, true},
		{"RegistryUnavailable", "image pull failed for " + image + " because the registry is unavailable: x", true},
		{"SignatureValidationFailed", "image pull failed for " + image + " because the signature validation failed: x", true},

		// A pull secret that does not decode: the error is in both.
		{badBase64, badBase64, true},
		{"unable to parse auth field, must be formatted as base64(username:password)", "unable to parse auth field, must be formatted as base64(username:password)", true},
		{"json: cannot unmarshal string into Go struct field DockerConfigJSON.auths of type credentialprovider.DockerConfig",
			"json: cannot unmarshal string into Go struct field DockerConfigJSON.auths of type credentialprovider.DockerConfig", true},
		{"unexpected end of JSON input", "unexpected end of JSON input", true},
		// The kubelet's own record of pulls cannot be written.
		{"failed to record image pull intent: write /x: no space left on device",
			`Failed to record image pull intent for container image "` + image + `": failed to record image pull intent: write /x: no space left on device`, true},

		// Reasons that are not about the image.
		{"", "", false},
		{"ContainerCreating", "", false},
		{"PodInitializing", "", false},
		{"CrashLoopBackOff", "back-off 10s restarting failed container=app pod=web_shop(uid-1)", false},
		{"CreateContainerError", "ImageVolumeMountFailed: x", false},
		{"CreateContainerError", unmountable, false}, // it mounts no image volume
		{"CreateContainerConfigError", `secret "db" not found`, false},
		{"CreateContainerConfigError", "unable to find target container app", false},
		{"RunContainerError", "exec format error", false},
		{"PostStartHookError", "ErrImagePull", false},
		{"Completed", "", false},
		{"ErrImagePullSomething", "", false},
		{`runtimeclass.node.k8s.io "gvisor" not found`, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			t.Parallel()
			got := Failures(newPod(app(waits(tt.reason, tt.message))))
			if !tt.want {
				if len(got) != 0 {
					t.Fatalf("got %+v, want no failure", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("got %d failures, want 1", len(got))
			}
			if got[0].Reason != tt.reason || got[0].Message != tt.message {
				t.Errorf("got %q, %q, want %q, %q", got[0].Reason, got[0].Message, tt.reason, tt.message)
			}
		})
	}
}

func TestFailuresByState(t *testing.T) {
	t.Parallel()
	failed := waits("ErrImagePull", "x")
	tests := map[string]struct {
		pod  *corev1.Pod
		want int
	}{
		"no status":         {newPod(), 0},
		"status of another": {newPod(status("other", failed)), 0},
		"running":           {newPod(app(runs())), 0},
		"ended":             {newPod(app(ends("Error"))), 0},
		"failing":           {newPod(app(failed)), 1},
		"being deleted":     {newPod(app(failed), deleted), 0},
		"pod has failed":    {newPod(app(failed), phase(corev1.PodFailed)), 0},
		"pod has succeeded": {newPod(app(failed), phase(corev1.PodSucceeded)), 0},
		"pod runs":          {newPod(app(failed), phase(corev1.PodRunning)), 1},
		"no containers":     {&corev1.Pod{}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := len(Failures(tt.pod)); got != tt.want {
				t.Errorf("got %d failures, want %d", got, tt.want)
			}
		})
	}
}

func TestFailureFields(t *testing.T) {
	t.Parallel()
	pod := newPod(app(waits("ErrImagePull", "no basic auth credentials")), func(p *corev1.Pod) {
		p.Spec.ServiceAccountName = "builder"
		p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "b"}, {Name: ""}, {Name: "a"}, {Name: "b"}}
	})
	want := diagnosis.Failure{
		Namespace: "shop", Pod: "web", UID: "uid-1", SandboxUID: "uid-1", Node: "worker-3", Container: "app", Kind: diagnosis.KindContainer,
		Image: image, Registry: "hub.test", Repository: "team/app", PullPolicy: "IfNotPresent",
		Reason: "ErrImagePull", Message: "no basic auth credentials",
		PullSecrets: []string{"b", "a"}, ServiceAccount: "builder",
	}
	if got := only(t, pod); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestPullSecretsWithoutNames(t *testing.T) {
	t.Parallel()
	pod := newPod(app(waits("ErrImagePull", "")), func(p *corev1.Pod) {
		p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{}, {}}
	})
	if got := only(t, pod).PullSecrets; got != nil {
		t.Errorf("got %q, want none", got)
	}
}

func TestRegistryOfImage(t *testing.T) {
	t.Parallel()
	tests := []struct{ image, registry, repository string }{
		{"nginx", "docker.io", "library/nginx"},
		{"nginx:1.12.1", "docker.io", "library/nginx"},
		{"team/app", "docker.io", "team/app"},
		{"index.docker.io/team/app", "docker.io", "team/app"},
		{"localhost/app", "localhost", "app"},
		{"localhost:5000/a/b/c:x", "localhost:5000", "a/b/c"},
		{"10.0.0.1:5000/app", "10.0.0.1:5000", "app"},
		{"[fd00::1]:5000/app", "[fd00::1]:5000", "app"},
		{"hub.test/app@sha256:" + strings.Repeat("a", 64), "hub.test", "app"},
		{"hub.test/app:1@sha256:" + strings.Repeat("a", 64), "hub.test", "app"},
		// Invalid references.
		{"UPPER/Case:::x", "", ""},
		{"hub.test/App", "", ""},
		{"http://hub.test/app", "", ""},
		{"${IMAGE}", "", ""},
		{"app:", "", ""},
		{"", "", ""},
		{strings.Repeat("a", 64), "", ""},
		{"hub.test/app:\x00", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.image, func(t *testing.T) {
			t.Parallel()
			f := only(t, newPod(wanting(tt.image), app(waits("InvalidImageName", ""))))
			if f.Registry != tt.registry || f.Repository != tt.repository {
				t.Errorf("got %q, %q, want %q, %q", f.Registry, f.Repository, tt.registry, tt.repository)
			}
			if f.Image != tt.image {
				t.Errorf("image: got %q, want %q", f.Image, tt.image)
			}
		})
	}
}

func TestEveryKindInTheOrderOfTheSpec(t *testing.T) {
	t.Parallel()
	failed := waits("ImagePullBackOff", "x")
	pod := newPod(
		withEphemeral("debug", "busybox", failed),
		withContainer("side", "hub.test/side", failed),
		app(failed),
		withInit("setup", "hub.test/setup", ends("Completed")),
		withInit("wait", "hub.test/wait", failed),
	)
	var got []string
	for _, f := range Failures(pod) {
		got = append(got, string(f.Kind)+" "+f.Container+" "+f.Image+" "+f.PullPolicy)
	}
	want := []string{
		"initContainer wait hub.test/wait Always",
		"container app " + image + " IfNotPresent",
		"container side hub.test/side ",
		"ephemeralContainer debug busybox ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A pod may have a container and an init container of the same name in
// different status lists; each is looked up in its own list.
func TestStatusListsAreKeptApart(t *testing.T) {
	t.Parallel()
	pod := newPod(app(runs()), withInit("app", "hub.test/init", waits("ErrImagePull", "x")))
	if f := only(t, pod); f.Kind != diagnosis.KindInitContainer || f.Image != "hub.test/init" {
		t.Errorf("got %s %s, want the init container", f.Kind, f.Image)
	}
}

func TestImageVolumes(t *testing.T) {
	t.Parallel()
	const (
		models = "hub.test/team/models:1.0"
		digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	)
	containerd := func(image string) string {
		return `rpc error: code = NotFound desc = failed to pull and unpack image "` + image + `": failed to resolve image: ` + image + `: not found`
	}
	crio := func(image string) string {
		return "unable to pull image or OCI artifact: pull image err: initializing source docker://" + image +
			": reading manifest 1.0 in hub.test/team: manifest unknown; artifact err: provided artifact is a container image"
	}
	tests := map[string]struct {
		container, volume, reason, message string
		want                               string // the failing one's name
	}{
		"containerd names the volume's":        {image, models, "ErrImagePull", containerd(models), "data"},
		"containerd names the container's":     {image, models, "ErrImagePull", containerd(image), "app"},
		"CRI-O names the volume's":             {image, models, "ErrImagePull", crio(models), "data"},
		"CRI-O names the container's":          {image, models, "ErrImagePull", crio(image), "app"},
		"CRI-O, mirrors":                       {image, models, "ErrImagePull", "initializing source docker://" + models + ": (Mirrors also failed: [mirror.test/team/models:1.0: x]): " + models + ": y", "data"},
		"CRI-O, platform":                      {image, models, "ErrImagePull", "choosing an image from manifest list docker://" + models + `: no image found in image index for architecture "amd64"`, "data"},
		"CRI-O, registry unavailable":          {image, models, "RegistryUnavailable", "image pull failed for " + models + " because the registry is unavailable: x", "data"},
		"CRI-O, signature":                     {image, models, "SignatureValidationFailed", "image pull failed for " + models + " because the signature validation failed: Source image rejected: Running image docker://" + models + " is rejected by policy.", "data"},
		"back-off":                             {image, models, "ImagePullBackOff", `Back-off pulling image "` + models + `"`, "data"},
		"back-off with the cause":              {image, models, "ImagePullBackOff", `Back-off pulling image "` + models + `": ErrImagePull: ` + containerd(models), "data"},
		"never":                                {image, models, "ErrImageNeverPull", `Container image "` + models + `" is not present with pull policy of Never`, "data"},
		"never, the container's":               {image, models, "ErrImageNeverPull", `Container image "` + image + `" is not present with pull policy of Never`, "app"},
		"invalid name":                         {image, "UP/Case:::x", "InvalidImageName", `Failed to apply default image tag "UP/Case:::x": couldn't parse image name "UP/Case:::x": invalid reference format`, "data"},
		"inspect error names nothing":          {image, models, "ImageInspectError", `Failed to inspect image "": rpc error: code = Unknown`, "app"},
		"nameless":                             {image, models, "ErrImagePull", "pull QPS exceeded", "app"},
		"malformed secret":                     {image, models, "illegal base64 data at input byte 0", "illegal base64 data at input byte 0", "app"},
		"completed short name":                 {image, "models", "ErrImagePull", containerd("docker.io/library/models:latest"), "data"},
		"completed short name, container":      {"nginx", models, "ErrImagePull", containerd("docker.io/library/nginx:latest"), "app"},
		"the kubelet's tag":                    {image, "hub.test/models", "RegistryUnavailable", "image pull failed for hub.test/models:latest because the registry is unavailable", "data"},
		"the kubelet's tag on a short name":    {image, "models", "RegistryUnavailable", "image pull failed for models:latest because the registry is unavailable", "data"},
		"a container's image that is a word":   {"registry", models, "ErrImagePull", "pinging container registry hub.test: initializing source docker://" + models + ": x", "data"},
		"a volume's image that is a word":      {image, "registry", "ErrImagePull", "pinging container registry hub.test: x", "app"},
		"a word, quoted":                       {image, "registry", "ImagePullBackOff", `Back-off pulling image "registry"`, "data"},
		"digest":                               {image, "hub.test/m@" + digest, "ErrImagePull", containerd("hub.test/m@" + digest), "data"},
		"tag and digest, tag dropped":          {image, "hub.test/m:1@" + digest, "ErrImagePull", containerd("hub.test/m@" + digest), "data"},
		"tag and digest, as written":           {image, "hub.test/m:1@" + digest, "ImagePullBackOff", `Back-off pulling image "hub.test/m:1@` + digest + `"`, "data"},
		"same image":                           {image, image, "ErrImagePull", containerd(image), "app"},
		"container's is a prefix, tag":         {"hub.test/app:1", "hub.test/app:12", "ErrImagePull", containerd("hub.test/app:12"), "data"},
		"container's is a prefix, suffix":      {"hub.test/app:1", "hub.test/app:1-alpine", "ErrImagePull", containerd("hub.test/app:1-alpine"), "data"},
		"container's is a prefix, patch":       {"hub.test/app:1", "hub.test/app:1.2", "ErrImagePull", containerd("hub.test/app:1.2"), "data"},
		"container's is a prefix, name":        {"hub.test/app", "hub.test/app-models", "ErrImagePull", containerd("hub.test/app-models:latest"), "data"},
		"container's is a prefix, path":        {"hub.test/app", "hub.test/app/models", "ErrImagePull", containerd("hub.test/app/models:latest"), "data"},
		"container's is a prefix, tag missing": {"hub.test/app", "hub.test/app:v1", "ErrImagePull", containerd("hub.test/app:v1"), "data"},
		"container's is a suffix":              {"team/app:1", "hub.test/team/app:1", "ErrImagePull", containerd("hub.test/team/app:1"), "data"},
		"container's is a suffix of a label":   {"b.test/app:1", "hub.test/app:1", "ErrImagePull", containerd("hub.test/app:1"), "data"},
		"volume's is a prefix":                 {"hub.test/app:12", "hub.test/app:1", "ErrImagePull", containerd("hub.test/app:12"), "app"},
		"volume's is a suffix":                 {"hub.test/team/app:1", "team/app:1", "ErrImagePull", containerd("hub.test/team/app:1"), "app"},
		"volume without reference":             {image, "", "ErrImagePull", "anything", "app"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := only(t, newPod(wanting(tt.container), withVolume("data", tt.volume), app(waits(tt.reason, tt.message))))
			if f.Container != tt.want {
				t.Fatalf("got %s %s, want %s", f.Kind, f.Container, tt.want)
			}
			kind, ref, policy := diagnosis.KindContainer, tt.container, "IfNotPresent"
			if tt.want == "data" {
				kind, ref, policy = diagnosis.KindImageVolume, tt.volume, "Always"
			}
			if f.Kind != kind || f.Image != ref || f.PullPolicy != policy {
				t.Errorf("got %s %s %s, want %s %s %s", f.Kind, f.Image, f.PullPolicy, kind, ref, policy)
			}
		})
	}
}

// unmountable is what containerd 1.7 says where the kubelet asks it to mount an image
// volume.
const unmountable = `failed to generate container "5b1f0c9a" spec: failed to apply OCI options: failed to mkdir "": mkdir : no such file or directory`

// A runtime that supports no image volumes refuses the container, not the pull.
func TestUnsupportedImageVolumes(t *testing.T) {
	t.Parallel()
	const models, other = "hub.test/models:1", "hub.test/other:1"
	const reason = "CreateContainerError"
	tests := map[string]struct {
		pod  *corev1.Pod
		want []string
	}{
		"containerd": {newPod(withVolume("data", models), app(waits(reason, unmountable))), []string{"imageVolume data " + models}},
		"CRI-O":      {newPod(withVolume("data", models), app(waits(reason, "mount.HostPath is empty"))), []string{"imageVolume data " + models}},
		"cri-dockerd": {newPod(withVolume("data", models), app(waits(reason, `Error response from daemon: invalid mount config for type "bind": field Source must not be empty`))),
			[]string{"imageVolume data " + models}},
		"two volumes, the first": {newPod(withVolume("data", models), withVolume("more", other), app(waits(reason, unmountable))),
			[]string{"imageVolume data " + models}},
		"two containers, once": {newPod(withVolume("data", models), app(waits(reason, unmountable)), withContainer("side", "hub.test/side:1", waits(reason, unmountable), "data")),
			[]string{"imageVolume data " + models}},
		"another container cannot pull": {newPod(withVolume("data", models), app(waits(reason, unmountable)), withContainer("side", "hub.test/side:1", waits("ErrImagePull", "x"))),
			[]string{"imageVolume data " + models, "container side hub.test/side:1"}},
		"the volume is not mounted": {newPod(unmounted("data", models), app(waits(reason, unmountable))), nil},
		"another error":             {newPod(withVolume("data", models), app(waits(reason, `failed to mkdir "/srv/data": mkdir /srv/data: read-only file system`))), nil},
		"the runtime supports them": {newPod(withVolume("data", models), app(waits(reason, "failed to mount image volume: ImageVolumeMountFailed: failed to unpack image volume: x"))), nil},
		"another reason":            {newPod(withVolume("data", models), app(waits("RunContainerError", unmountable))), nil},
		"the pod is being deleted":  {newPod(withVolume("data", models), app(waits(reason, unmountable)), deleted), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range Failures(tt.pod) {
				got = append(got, string(f.Kind)+" "+f.Container+" "+f.Image)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestImageVolumeMounts(t *testing.T) {
	t.Parallel()
	const models, other = "hub.test/models:1", "hub.test/other:1"
	blamed := func(image string) corev1.ContainerState {
		return waits("ErrImagePull", `failed to pull and unpack image "`+image+`": x`)
	}
	tests := map[string]struct {
		pod  *corev1.Pod
		want []string
	}{
		"several containers mount it, once": {
			newPod(withVolume("data", models), app(blamed(models)), withContainer("side", "hub.test/side:1", blamed(models), "data")),
			[]string{"imageVolume data"},
		},
		"the other container has its own failure": {
			newPod(withVolume("data", models), app(blamed(models)), withContainer("side", "hub.test/side:1", blamed("hub.test/side:1"))),
			[]string{"imageVolume data", "container side"},
		},
		"not mounted, no container waits": {
			newPod(unmounted("data", models), app(runs())), nil,
		},
		"the container does not mount it": {
			newPod(unmounted("data", models), app(blamed(models))), []string{"container app"},
		},
		"two volumes, the one that is named": {
			newPod(withVolume("data", models), withVolume("more", other), app(blamed(models))),
			[]string{"imageVolume data"},
		},
		"two volumes of one image, the last mount": {
			newPod(unmounted("b", models), withVolume("a", models), func(p *corev1.Pod) {
				p.Spec.Containers[0].VolumeMounts = mountsOf([]string{"a", "b"})
			}, app(blamed(models))),
			[]string{"imageVolume b"},
		},
		"a volume of another kind": {
			newPod(func(p *corev1.Pod) {
				p.Spec.Volumes = []corev1.Volume{{Name: "tmp"}}
				p.Spec.Containers[0].VolumeMounts = mountsOf([]string{"tmp", "not-there"})
			}, app(blamed(models))),
			[]string{"container app"},
		},
		"a volume and a container of one name": {
			newPod(withVolume("app", models), app(blamed(models)), withContainer("side", "hub.test/side:1", blamed("hub.test/side:1"))),
			[]string{"imageVolume app", "container side"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range Failures(tt.pod) {
				got = append(got, string(f.Kind)+" "+f.Container)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// created makes a pod that was created so many minutes after 1970.
func created(minutes int64, more func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.CreationTimestamp = metav1.Unix(60*minutes+5, 0)
		more(p)
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	yes, no := new(true), new(false)
	hash := map[string]string{"pod-template-hash": "5d7f8"}
	tests := map[string]struct {
		edit func(*corev1.Pod)
		want diagnosis.Owner
	}{
		"Deployment":               {ownedBy("ReplicaSet", "web-5d7f8", yes, hash), diagnosis.Owner{Kind: "Deployment", Name: "web"}},
		"Deployment with dashes":   {ownedBy("ReplicaSet", "web-5d7f8-5d7f8", yes, hash), diagnosis.Owner{Kind: "Deployment", Name: "web-5d7f8"}},
		"ReplicaSet of nobody":     {ownedBy("ReplicaSet", "web", yes, nil), diagnosis.Owner{Kind: "ReplicaSet", Name: "web"}},
		"ReplicaSet, foreign hash": {ownedBy("ReplicaSet", "web-aaaaa", yes, hash), diagnosis.Owner{Kind: "ReplicaSet", Name: "web-aaaaa"}},
		"ReplicaSet, empty hash":   {ownedBy("ReplicaSet", "web-", yes, map[string]string{"pod-template-hash": ""}), diagnosis.Owner{Kind: "ReplicaSet", Name: "web-"}},
		"Rollout": {
			ownedBy("ReplicaSet", "web-77c9d", yes, map[string]string{"rollouts-pod-template-hash": "77c9d"}),
			diagnosis.Owner{Kind: "Rollout.argoproj.io", Name: "web"},
		},
		"StatefulSet":               {ownedBy("StatefulSet", "db", yes, nil), diagnosis.Owner{Kind: "StatefulSet", Name: "db"}},
		"StatefulSet with a hash":   {ownedBy("StatefulSet", "db-5d7f8", yes, hash), diagnosis.Owner{Kind: "StatefulSet", Name: "db-5d7f8"}},
		"DaemonSet":                 {ownedBy("DaemonSet", "agent", yes, nil), diagnosis.Owner{Kind: "DaemonSet", Name: "agent"}},
		"Job":                       {ownedBy("Job", "import", yes, nil), diagnosis.Owner{Kind: "Job", Name: "import"}},
		"Job of a CronJob":          {created(29405678, ownedBy("Job", "nightly-import-29405678", yes, nil)), diagnosis.Owner{Kind: "Job", Name: "nightly-import-29405678", CronJob: "nightly-import"}},
		"Job of a CronJob, late":    {created(29405678+24*60, ownedBy("Job", "nightly-29405678", yes, nil)), diagnosis.Owner{Kind: "Job", Name: "nightly-29405678", CronJob: "nightly"}},
		"Job with a date":           {created(29405678, ownedBy("Job", "import-20251128", yes, nil)), diagnosis.Owner{Kind: "Job", Name: "import-20251128"}},
		"Job of the future":         {created(29405678, ownedBy("Job", "import-29405679", yes, nil)), diagnosis.Owner{Kind: "Job", Name: "import-29405679"}},
		"Job with a number alone":   {created(29405678, ownedBy("Job", "-29405678", yes, nil)), diagnosis.Owner{Kind: "Job", Name: "-29405678"}},
		"other kind, minutes":       {created(29405678, ownedBy("Task", "nightly-29405678", yes, nil)), diagnosis.Owner{Kind: "Task", Name: "nightly-29405678"}},
		"static pod's mirror":       {ownedBy("Node", "worker-3", yes, nil), diagnosis.Owner{Kind: "Node", Name: "worker-3"}},
		"nobody":                    {func(*corev1.Pod) {}, diagnosis.Owner{}},
		"owner is not a controller": {ownedBy("ConfigMap", "x", no, nil), diagnosis.Owner{}},
		"controller not set":        {ownedBy("ConfigMap", "x", nil, nil), diagnosis.Owner{}},
		"the controller of two": {func(p *corev1.Pod) {
			ownedBy("ConfigMap", "x", no, nil)(p)
			ownedBy("Job", "import", yes, nil)(p)
		}, diagnosis.Owner{Kind: "Job", Name: "import"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := only(t, newPod(tt.edit, app(waits("ErrImagePull", "x")))).Owner; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What the pod itself shows of its manager, which need not be what its owner shows.
func TestManager(t *testing.T) {
	t.Parallel()
	pod := newPod(app(waits("ErrImagePull", "x")), func(p *corev1.Pod) {
		p.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "web"}
		p.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:team/web"}
	})
	if got, want := only(t, pod).Manager, (diagnosis.Manager{Tool: diagnosis.ToolArgoCD, Name: "shop"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestContainsName(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text, word string
		want       bool
	}{
		{"app", "app", true},
		{`"app"`, "app", true},
		{"app: not found", "app", true},
		{"app:", "app", true},
		{"[app]", "app", true},
		{"docker://app", "app", true},
		{"x app, y", "app", true},
		{"apps app", "app", true}, // the second one
		{"app:1", "app", false},
		{"app@sha256:0", "app", false},
		{"app/x", "app", false},
		{"x/app", "app", false},
		{"my-app", "app", false},
		{"my_app", "app", false},
		{"my.app", "app", false},
		{"appé", "app", true}, // not a character of a name
		{"pull", "l", false},  // the second l does not begin a name
		{"x-aa:1", "a", false},
		{"aaa aa", "aa", true},
		{"", "app", false},
		{"app", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		if got := containsName(tt.text, tt.word); got != tt.want {
			t.Errorf("containsName(%q, %q): got %v, want %v", tt.text, tt.word, got, tt.want)
		}
	}
}

// No pod makes it panic, and every failure has a name.
func FuzzBlamedVolume(f *testing.F) {
	f.Add("hub.test/app:1", "hub.test/app:12", `failed to pull "hub.test/app:12": not found`)
	f.Add("", "", "")
	f.Add("a", "docker://a", "a://a:")
	f.Add("\xff", "::", "\xff::")
	f.Add("0", "l", "1")
	f.Add(":@", "0", "0")
	f.Fuzz(func(t *testing.T, container, volume, message string) {
		pod := newPod(wanting(container), withVolume("data", volume), app(waits("ErrImagePull", message)))
		switch got := only(t, pod); got.Kind {
		case diagnosis.KindContainer:
			if want := ImageOf(container).Written; got.Image != want {
				t.Errorf("got image %q, want %q", got.Image, want)
			}
		case diagnosis.KindImageVolume:
			if got.Image != ImageOf(volume).Written || !mentions("ErrImagePull "+message, ImageOf(volume)) {
				t.Errorf("message %q does not speak of %q", message, got.Image)
			}
		default:
			t.Errorf("got kind %s", got.Kind)
		}
	})
}
