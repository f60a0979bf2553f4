package monitoring

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// shown holds the fields of Grafana's dashboard model that the tests check.
type shown struct {
	UID        string
	Templating struct {
		List []struct{ Name, Type string }
	}
	Panels []shownPanel
}

type shownPanel struct {
	Collapsed                bool
	Panels                   []shownPanel // of a collapsed row
	ID                       int
	Type, Title, Description string
	Datasource               struct{ Type, UID string }
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct{ Unit string }
	}
	Targets []struct {
		Expr       string
		Datasource struct{ UID string }
	}
}

// all returns the panels, with those of collapsed rows.
func (s shown) all() []shownPanel {
	var out []shownPanel
	for _, p := range s.Panels {
		out = append(append(out, p), p.Panels...)
	}
	return out
}

func dashboard(t *testing.T) shown {
	t.Helper()
	text, err := Dashboard()
	if err != nil {
		t.Fatal(err)
	}
	var d shown
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// The data source can be chosen at import, and each panel has a title, a
// description and a unit.
func TestDashboardIsComplete(t *testing.T) {
	t.Parallel()
	d := dashboard(t)
	if d.UID != "whypull" || len(d.Templating.List) != 4 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("uid %q, variables %v", d.UID, d.Templating.List)
	}
	titles := map[string]bool{}
	for _, p := range d.all() {
		if p.Type == "row" {
			continue
		}
		if titles[p.Title] || p.Title == "" || !strings.HasSuffix(p.Description, ".") || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q is incomplete or its title is not unique: %+v", p.Title, p)
		}
		titles[p.Title] = true
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: data source %q", p.Title, target.Datasource.UID)
			}
		}
	}
	if len(titles) != len(Panels()) {
		t.Errorf("dashboard has %d panels, want %d", len(titles), len(Panels()))
	}
}

// Grafana's schema requires values for these fields, and treats a half-set
// "current" as a selection.
func TestDashboardHasRequiredFields(t *testing.T) {
	t.Parallel()
	text, err := Dashboard()
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		SchemaVersion int
		Links         []map[string]any
		Templating    struct{ List []map[string]any }
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	if d.SchemaVersion == 0 || len(d.Links) == 0 {
		t.Errorf("schema version %d, %d links", d.SchemaVersion, len(d.Links))
	}
	for _, l := range d.Links {
		for _, key := range []string{"title", "type", "icon", "tooltip", "url", "targetBlank", "asDropdown", "includeVars", "keepTime", "tags"} {
			if l[key] == nil {
				t.Errorf("link %v has no %s", l["title"], key)
			}
		}
	}
	for _, v := range d.Templating.List {
		if chosen, ok := v["current"].(map[string]any); ok && (chosen["text"] == nil || chosen["value"] == nil) {
			t.Errorf("variable %v: incomplete selection: %v", v["name"], chosen)
		}
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	d := dashboard(t)
	wantApart(t, d.Panels)
	collapsed := 0
	for _, row := range d.Panels {
		if row.Collapsed { // when it is opened
			collapsed++
			wantApart(t, append([]shownPanel{row}, row.Panels...))
		}
	}
	if collapsed == 0 || len(d.all()) != len(Panels())+len(Sections()) {
		t.Errorf("%d collapsed rows, %d panels", collapsed, len(d.all()))
	}
	ids := map[int]bool{}
	for _, p := range d.all() {
		if ids[p.ID] {
			t.Errorf("panel %q: the id %d occurs twice", p.Title, p.ID)
		}
		ids[p.ID] = true
	}
}

func wantApart(t *testing.T, panels []shownPanel) {
	t.Helper()
	taken := map[[2]int]string{}
	for _, p := range panels {
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("panel %q is at %v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("panels %q and %q overlap", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// A panel with a series for each node, pod or registry shows only some of them.
func TestPanelsAreLimited(t *testing.T) {
	t.Parallel()
	bounded := regexp.MustCompile(`^(topk|bottomk)\(|(by|count by) \((le|cause|phase|check|outcome|check, outcome|result|version, secret_access)\) \(|vector\(0\)$|^sum\(`)
	for _, p := range Panels() {
		for _, q := range p.Queries {
			if !bounded.MatchString(q.Expr) {
				t.Errorf("%s may show any number of series: %s", p.Title, q.Expr)
			}
		}
	}
}

// Rates use Grafana's own interval, and every panel follows the selected node.
func TestQueriesUseTheVariables(t *testing.T) {
	t.Parallel()
	ranges := regexp.MustCompile(`\[([^\]]*)\]`)
	for _, p := range Panels() {
		for _, q := range p.Queries {
			for _, r := range ranges.FindAllStringSubmatch(q.Expr, -1) {
				if r[1] != "$__rate_interval" && r[1] != "$__range" {
					t.Errorf("%s: range [%s] is not a Grafana interval", p.Title, r[1])
				}
			}
			if n := strings.Count(q.Expr, `cluster=~"$cluster",instance=~"$instance"`); n == 0 || n < strings.Count(q.Expr, "whypull_") {
				t.Errorf("%s ignores the selected cluster or node: %s", p.Title, q.Expr)
			}
		}
	}
}
