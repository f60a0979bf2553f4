//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/whypull/whypull"

// pkg is a package as "go list" prints it.
type pkg struct {
	ImportPath   string
	Standard     bool
	ForTest      string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// packages lists the module's own packages and all their dependencies.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	// -e: the graph is also checked when a package does not compile.
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Standard,ForTest,Imports,TestImports,XTestImports", module+"/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("there is no go command")
	}
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// ours returns the paths within the module, relative to it.
func ours(imports []string) []string {
	var out []string
	for _, i := range imports {
		if rel, ok := strings.CutPrefix(i, module+"/"); ok {
			out = append(out, rel)
		}
	}
	return out
}

// within reports whether a package is the directory's or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// allowed lists which of the module's packages each package may import, with
// "/..." for everything below. Packages in cmd may import everything; test
// fakes are left out.
func allowed() map[string][]string {
	return map[string][]string{
		"agent/dns":         {"agent/diagnosis", "cri/hostfs"},
		"deploy/monitoring": {"agent/diagnosis", "deploy/runbook"},
		"agent/imagecheck":  {"agent/diagnosis", "agent/podwatch"},

		"agent/diagnosis":         {},
		"agent/diagnosis/message": {"agent/diagnosis"},

		"agent/keyring":   {"agent/diagnosis", "cri/credential"},
		"agent/kube":      {"agent/diagnosis", "agent/share", "cri/credential"},
		"agent/kubelet":   {"agent/diagnosis", "agent/share", "agent/keyring", "cri/credential", "cri/hostfs", "cri/systemd"},
		"agent/recheck":   {"agent/diagnosis", "agent/kube", "agent/share", "cri/hostfs"},
		"agent/podwatch":  {"agent/diagnosis", "agent/diagnosis/message"},
		"agent/share":     {},
		"agent/provider":  {"agent/diagnosis", "agent/kube", "agent/kubelet", "agent/share", "cri/credential", "cri/hostfs"},
		"agent/probe":     {"agent/diagnosis", "agent/share", "agent/diagnosis/message", "agent/keyring", "agent/kube", "agent/kubelet", "agent/podwatch", "agent/provider", "agent/dns", "cri", "cri/credential", "cri/disk", "cri/hostfs", "cri/scratchpull", "cri/netns", "cri/nodeconfig", "cri/registry"},
		"agent":           {"agent/diagnosis", "agent/diagnosis/message", "agent/kube", "agent/podwatch", "agent/share"},
		"cri":             {"cri/oci"},
		"cri/disk":        {"cri/hostfs"},
		"cri/hostfs":      {},
		"cri/systemd":     {"cri/credential", "cri/hostfs"},
		"cri/netns":       {"cri/hostfs"},
		"cri/oci":         {},
		"cri/scratchpull": {"cri", "cri/credential", "cri/oci"},
		"cri/nodeconfig":  {"cri/credential", "cri/hostfs", "cri/registry", "cri/systemd"},
		"cri/registry":    {"cri/credential", "cri/oci"},
		"cri/credential":  {},
		"deploy/runbook":  {"agent/diagnosis"},
		"report":          {"agent", "agent/diagnosis", "agent/imagecheck", "agent/kube", "agent/podwatch", "agent/share"},
		"report/metrics":  {"agent/diagnosis", "agent/share"},
		"report/fleet":    {"agent/diagnosis", "agent/diagnosis/message", "agent/podwatch", "deploy/runbook", "report"},
		"agent/check":     {"agent/diagnosis", "agent/keyring", "agent/kube", "agent/kubelet", "agent/podwatch", "agent/probe", "cri", "cri/credential", "cri/hostfs", "cri/nodeconfig", "cri/registry"},
	}
}

// fakes lists the packages that only tests, and other fakes, may import.
func fakes() []string {
	return []string{"catest", "critest", "registrytest", "nodeconfigtest", "faulttest", "dnstest", "leaktest", "credentialtest", "scratchpulltest", "sockettest", "apitest", "hostfstest", "asserttest"}
}

// TestArchitecture checks the import graph against the design.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for name, check := range map[string]func(*testing.T, map[string]pkg){
		"imports are allowed": importsAreAllowed, "every package has a place": everyPackageHasAPlace,
		"the domain needs nothing": domainNeedsNothing, "nothing imports commands or fakes": nothingImportsCommandsOrFakes,
		"no clientset": noClientset, "cri knows no agent": criKnowsNoAgent, "the agent carries no pages": agentCarriesNoPages,
		"the plugin is small": pluginIsSmall,
	} {
		t.Run(name, func(t *testing.T) { check(t, all) })
	}
}

// Everything points at the domain; only cmd sees everything.
func importsAreAllowed(t *testing.T, all map[string]pkg) {
	for name, may := range allowed() {
		p, there := all[module+"/"+name]
		if !there {
			t.Errorf("there is no package %s", name)
		}
		for _, i := range ours(p.Imports) {
			if !slices.Contains(may, i) {
				t.Errorf("%s imports %s", name, i)
			}
		}
	}
}

// Packages below cri work without the agent; so do their tests and fakes.
func criKnowsNoAgent(t *testing.T, all map[string]pkg) {
	for importPath, p := range all {
		if !within(importPath, module+"/cri") {
			continue
		}
		for _, i := range ours(slices.Concat(p.Imports, p.TestImports, p.XTestImports)) {
			if !within(i, "cri") {
				t.Errorf("%s imports %s", importPath, i)
			}
		}
	}
}

// A new package needs an entry in the table.
func everyPackageHasAPlace(t *testing.T, all map[string]pkg) {
	for importPath := range all {
		for _, name := range ours([]string{importPath}) {
			_, placed := allowed()[name]
			fake := slices.Contains(fakes(), path.Base(name))
			if !placed && !fake && !within(name, "cmd") && !within(name, "deploy") && !strings.Contains(name, "testdata") {
				t.Errorf("package %s has no place in the architecture", name)
			}
		}
	}
}

// The domain depends on the standard library only.
func domainNeedsNothing(t *testing.T, all map[string]pkg) {
	for _, name := range []string{"agent/diagnosis", "agent/diagnosis/message"} {
		for _, i := range all[module+"/"+name].Imports {
			if !all[i].Standard && i != module+"/agent/diagnosis" {
				t.Errorf("%s imports %s", name, i)
			}
		}
	}
}

// Nothing depends on a program, and no program is linked with a fake.
func nothingImportsCommandsOrFakes(t *testing.T, all map[string]pkg) {
	for importPath, p := range all {
		if p.Standard || p.ForTest != "" {
			continue
		}
		for _, i := range ours(p.Imports) {
			if within(i, "cmd") && !strings.HasPrefix(importPath, module+"/cmd/") {
				t.Errorf("%s imports %s", importPath, i)
			}
			if slices.Contains(fakes(), path.Base(i)) && !slices.Contains(fakes(), path.Base(importPath)) {
				t.Errorf("%s imports %s outside of a test", importPath, i)
			}
		}
		if slices.Contains(p.Imports, "testing") && ours([]string{importPath}) != nil && !strings.HasSuffix(importPath, "test") {
			t.Errorf("%s imports testing", importPath)
		}
	}
}

// The runbook's pages are in the plugin only.
func agentCarriesNoPages(t *testing.T, all map[string]pkg) {
	for _, i := range importers(all, module+"/deploy/runbook") {
		if !within(i, module+"/cmd/kubectl-why_pull") && i != module+"/report/fleet" && i != module+"/deploy/monitoring" {
			t.Errorf("%s imports the runbook", i)
		}
	}
	for _, i := range importers(all, module+"/deploy/monitoring") {
		t.Errorf("%s imports the alert rules", i)
	}
}

// The whole clientset would be larger than the rest of the binary.
func noClientset(t *testing.T, all map[string]pkg) {
	for importPath := range all {
		for _, heavy := range []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/client-go/dynamic"} {
			if importPath == heavy {
				t.Errorf("%s is linked in by %q", heavy, importers(all, heavy))
			}
		}
	}
}

// What only the agent needs would make the plugin larger: the Prometheus client
// and protobuf, but for the parser of its wire format, are 1.8 MB.
func pluginIsSmall(t *testing.T, all map[string]pkg) {
	seen := map[string]bool{}
	var visit func(importPath, from string)
	visit = func(importPath, from string) {
		if seen[importPath] {
			return
		}
		seen[importPath] = true
		for _, heavy := range []string{"github.com/prometheus", "google.golang.org/protobuf/reflect", "google.golang.org/grpc", "github.com/containerd"} {
			if within(importPath, heavy) {
				t.Errorf("%s imports %s", from, importPath)
				return
			}
		}
		for _, i := range all[importPath].Imports {
			visit(i, importPath)
		}
	}
	visit(module+"/cmd/kubectl-why_pull", "")
	if !seen["k8s.io/client-go/rest"] {
		t.Error("the plugin's imports are not known")
	}
}

func importers(all map[string]pkg, of string) []string {
	var out []string
	for importPath, p := range all {
		if slices.Contains(p.Imports, of) {
			out = append(out, importPath)
		}
	}
	slices.Sort(out)
	return out
}

func TestWithin(t *testing.T) {
	t.Parallel()
	if !within("cmd", "cmd") || !within("cmd/whypull", "cmd") || within("cmdline", "cmd") {
		t.Error("a directory and its prefix are confused")
	}
}
