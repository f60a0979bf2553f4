package integrations

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"
)

// block returns the YAML block of a section of the page.
func block(t *testing.T, section string) []byte {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "integrations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n## "+section+"\n")
	rest, _, _ = strings.Cut(rest, "\n## ")
	_, rest, _ = strings.Cut(rest, "```yaml\n")
	text, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatalf("the page has no YAML for %s", section)
	}
	return []byte(text)
}

// health runs Argo CD's script on a pod, in an interpreter with the libraries that Argo
// CD gives to such scripts.
func health(t *testing.T, script, pod string) (status, message string) {
	t.Helper()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		l.Push(l.NewFunction(open))
		l.Push(lua.LString(name))
		l.Call(1, 0)
	}
	var object map[string]any
	if err := yaml.Unmarshal([]byte(pod), &object); err != nil {
		t.Fatal(err)
	}
	l.SetGlobal("obj", toLua(l, object))
	if err := l.DoString(script); err != nil {
		t.Fatal(err)
	}
	got, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns %v", l.Get(-1))
	}
	return got.RawGetString("status").String(), got.RawGetString("message").String()
}

func toLua(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		list := l.NewTable()
		for _, item := range v {
			list.Append(toLua(l, item))
		}
		return list
	case map[string]any:
		table := l.NewTable()
		for key, item := range v {
			table.RawSetString(key, toLua(l, item))
		}
		return table
	}
	return lua.LNil
}

func TestArgoCD(t *testing.T) {
	t.Parallel()
	var config struct {
		APIVersion, Kind string
		Metadata         map[string]string
		Data             map[string]string
	}
	if err := yaml.UnmarshalStrict(block(t, "Argo CD"), &config); err != nil {
		t.Fatal(err)
	}
	script := config.Data["resource.customizations.health.Pod"]
	const (
		failing = `metadata: {annotations: {whypull.dev/cause: TagNotFound, whypull.dev/summary: tag v9 does not exist}}` + "\n"
		pulling = `metadata: {annotations: {whypull.dev/summary: pulling 1 of 2 MiB}}` + "\n"
		plain   = `metadata: {}` + "\n"
		always  = `spec: {restartPolicy: Always}` + "\n"
		hook    = `spec: {restartPolicy: Never}` + "\n"
	)
	for name, c := range map[string]struct{ pod, status, message string }{
		"new":                         {plain + `spec: {}`, "Unknown", ""},
		"pending":                     {plain + always + `status: {phase: Pending}`, "Progressing", ""},
		"cannot pull":                 {failing + always + `status: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ImagePullBackOff, message: Back-off}}}]}`, "Degraded", "tag v9 does not exist"},
		"cannot pull, by default":     {failing + `spec: {}` + "\n" + `status: {phase: Pending}`, "Degraded", "tag v9 does not exist"},
		"cannot pull, a hook":         {failing + hook + `status: {phase: Pending}`, "Progressing", "tag v9 does not exist"},
		"pulls for long":              {pulling + always + `status: {phase: Pending}`, "Progressing", "pulling 1 of 2 MiB"},
		"no verdict yet":              {plain + always + `status: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ErrImagePull, message: not found}}}]}`, "Degraded", "not found"},
		"no verdict yet, a hook":      {plain + hook + `status: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ErrImagePull, message: not found}}}]}`, "Progressing", ""},
		"being created":               {plain + always + `status: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ContainerCreating}}}]}`, "Progressing", ""},
		"crashes":                     {plain + always + `status: {phase: Running, containerStatuses: [{state: {waiting: {reason: CrashLoopBackOff, message: back-off 10s}}}]}`, "Degraded", "back-off 10s"},
		"runs and is ready":           {plain + always + `status: {phase: Running, conditions: [{type: Ready, status: "True"}], containerStatuses: [{state: {running: {}}}]}`, "Healthy", ""},
		"runs and is not ready":       {plain + always + `status: {phase: Running, conditions: [{type: Ready, status: "False"}], containerStatuses: [{state: {running: {}}}]}`, "Progressing", ""},
		"runs again and is not ready": {plain + always + `status: {phase: Running, conditions: [{type: Ready, status: "False"}], containerStatuses: [{state: {running: {}}, lastState: {terminated: {exitCode: 1}}}]}`, "Degraded", ""},
		"a hook runs":                 {plain + hook + `status: {phase: Running, conditions: [{type: Ready, status: "True"}]}`, "Progressing", ""},
		"a hook has succeeded":        {plain + hook + `status: {phase: Succeeded}`, "Healthy", ""},
		"failed with an exit code":    {plain + hook + `status: {phase: Failed, containerStatuses: [{name: app, state: {terminated: {exitCode: 3}}}]}`, "Degraded", "container app failed with exit code 3"},
		"failed with a message":       {plain + hook + `status: {phase: Failed, containerStatuses: [{name: app, state: {terminated: {exitCode: 3, message: no config}}}]}`, "Degraded", "no config"},
		"failed in an init container": {plain + hook + `status: {phase: Failed, initContainerStatuses: [{name: init, state: {terminated: {exitCode: 1}}}]}`, "Degraded", "container init failed with exit code 1"},
		"evicted":                     {plain + always + `status: {phase: Failed, message: The node was low on memory., containerStatuses: [{name: app, state: {terminated: {exitCode: 137}}}]}`, "Degraded", "The node was low on memory."},
	} {
		if status, message := health(t, script, c.pod); status != c.status || message != c.message {
			t.Errorf("%s: %s %q, want %s %q", name, status, message, c.status, c.message)
		}
	}
}

// k9s evaluates what follows a column's name as kubectl's custom columns, by client-go.
func TestK9s(t *testing.T) {
	t.Parallel()
	var config struct {
		Views map[string]struct {
			SortColumn string
			Columns    []string
		}
	}
	if err := yaml.UnmarshalStrict(block(t, "k9s"), &config); err != nil {
		t.Fatal(err)
	}
	pod := map[string]any{"metadata": map[string]any{"annotations": map[string]any{"whypull.dev/cause": "TagNotFound", "whypull.dev/summary": "tag v9 does not exist"}}}
	column := regexp.MustCompile(`^([A-Z]+)(?::(\.[^|]+))?(\|[NTWRLH]{1,3})?$`)
	var found []string
	for _, text := range config.Views["v1/pods"].Columns {
		m := column.FindStringSubmatch(text)
		if m == nil {
			t.Errorf("column %q", text)
			continue
		}
		if m[2] == "" {
			continue
		}
		for _, object := range []map[string]any{pod, {"metadata": map[string]any{}}} {
			path := jsonpath.New(m[1]).AllowMissingKeys(true)
			if err := path.Parse("{" + m[2] + "}"); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := path.Execute(&out, object); err != nil {
				t.Error(err)
			}
			found = append(found, fmt.Sprintf("%s=%s", m[1], out.String()))
		}
	}
	if want := []string{"CAUSE=TagNotFound", "CAUSE=", "WHY=tag v9 does not exist", "WHY="}; !slices.Equal(found, want) {
		t.Errorf("columns %q, want %q", found, want)
	}
}
