package monitoring

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// mistakes returns what Grafana's own types find wrong with a dashboard. They call a
// missing field a mistake for which Grafana has a default; those are left out.
func mistakes(t *testing.T, data []byte) []string {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	var out []string
	add := func(err error) {
		var all cog.BuildErrors
		if !errors.As(err, &all) {
			if err != nil {
				out = append(out, err.Error())
			}
			return
		}
		for _, e := range all {
			if !strings.HasSuffix(e.Error(), ": required field is missing from input") {
				out = append(out, e.Error())
			}
		}
	}
	var strict, lenient dashboard.Dashboard //nolint:staticcheck // deprecated for version 2 of the schema; the file has version 1, which each Grafana imports
	add(strict.UnmarshalJSONStrict(data))
	if err := json.Unmarshal(data, &lenient); err != nil {
		return append(out, err.Error())
	}
	add(lenient.Validate())
	return out
}

// Grafana's own types accept the dashboard.
func TestDashboardByGrafanaTypes(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := mistakes(t, data); len(got) > 0 {
		t.Error(strings.Join(got, "\n"))
	}
	panel := func(d map[string]any) map[string]any { return d["panels"].([]any)[1].(map[string]any) }
	for name, spoil := range map[string]func(map[string]any){
		"field of the dashboard": func(d map[string]any) { d["titel"] = "x" },
		"type of a field":        func(d map[string]any) { d["refresh"] = 5 },
		"option of a panel":      func(d map[string]any) { panel(d)["options"].(map[string]any)["grahpMode"] = "none" },
		"field of a query":       func(d map[string]any) { panel(d)["targets"].([]any)[0].(map[string]any)["exprr"] = "up" },
		"width":                  func(d map[string]any) { panel(d)["gridPos"].(map[string]any)["w"] = 99 },
		"type of a width":        func(d map[string]any) { panel(d)["gridPos"].(map[string]any)["w"] = "6" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d map[string]any
			if err := json.Unmarshal(data, &d); err != nil {
				t.Fatal(err)
			}
			spoil(d)
			spoiled, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			if got := mistakes(t, spoiled); len(got) == 0 {
				t.Error("the mistake is not found")
			}
		})
	}
}
