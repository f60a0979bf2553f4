package monitoring

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// shown is a dashboard as Grafana reads it, as far as the tests look at it.
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

// TestDashboardIsComplete: whoever imports it chooses a data source, and finds at
// each panel what it shows and in which unit.
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
			t.Errorf("panel %q lacks something, or there are two: %+v", p.Title, p)
		}
		titles[p.Title] = true
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: data source %q", p.Title, target.Datasource.UID)
			}
		}
	}
	if len(titles) != len(Panels()) {
		t.Errorf("%d panels are shown of %d", len(titles), len(Panels()))
	}
}

// TestDashboardHasWhatGrafanaWants: what Grafana's schema does not let go without a
// value, and what it would take for a choice that has been made.
func TestDashboardHasWhatGrafanaWants(t *testing.T) {
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
			t.Errorf("variable %v: half a choice: %v", v["name"], chosen)
		}
	}
}

// TestPanelsDoNotOverlap: each has an id and a place of its own.
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

// TestQueriesKeepToTheVariables: rates are over Grafana's own interval, and a
// chosen node is what is seen.
func TestQueriesKeepToTheVariables(t *testing.T) {
	t.Parallel()
	ranges := regexp.MustCompile(`\[([^\]]*)\]`)
	for _, p := range Panels() {
		for _, q := range p.Queries {
			for _, r := range ranges.FindAllStringSubmatch(q.Expr, -1) {
				if r[1] != "$__rate_interval" && r[1] != "$__range" {
					t.Errorf("%s: a range of [%s]", p.Title, r[1])
				}
			}
			if !strings.Contains(q.Expr, `instance=~"$instance"`) && p.Title != "Agents down" {
				t.Errorf("%s does not keep to the chosen node: %s", p.Title, q.Expr)
			}
		}
	}
}
