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
	Panels []struct {
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
	if d.UID != "whypull" || len(d.Templating.List) != 3 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("uid %q, variables %v", d.UID, d.Templating.List)
	}
	titles := map[string]bool{}
	for _, p := range d.Panels {
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
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range dashboard(t).Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("panel %q: id %d, at %v", p.Title, p.ID, p.GridPos)
		}
		ids[p.ID] = true
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
			if !strings.Contains(q.Expr, `instance=~"$instance"`) && p.Title != "Agents down" {
				t.Errorf("%s ignores the selected node: %s", p.Title, q.Expr)
			}
		}
	}
}
