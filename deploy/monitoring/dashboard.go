package monitoring

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/whypull/whypull/deploy/runbook"
)

// DashboardUID is the dashboard's identifier in Grafana and in links to it.
const DashboardUID = "whypull"

// Panel describes one panel of the dashboard.
type Panel struct {
	Title, Description string
	// Kind is Grafana's panel type, Unit its unit of values.
	Kind, Unit string
	// Width is in Grafana's columns, of which a row has 24.
	Width   int
	Queries []Query
	// Thresholds, in ascending order, separate green, orange and red. If Falling
	// is set, low values are red and high values are green.
	Thresholds []float64
	Falling    bool
	Stacked    bool
}

// Query holds a PromQL expression that may contain the dashboard's variables.
type Query struct {
	Expr   string
	Legend string
}

// Section holds the panels below one heading of the dashboard.
type Section struct {
	Title  string
	Height int // of each panel, in Grafana's units
	Panels []Panel
}

// Panels returns all panels of the dashboard.
func Panels() []Panel {
	var all []Panel
	for _, s := range Sections() {
		all = append(all, s.Panels...)
	}
	return all
}

// Sections returns the sections of the dashboard, from top to bottom.
func Sections() []Section {
	return []Section{
		{"Now", 5, now()}, {"Causes", 9, causes()}, {"Pods", 11, pods()},
		{"Registries", 8, registries()}, {"Running pulls", 8, pulls()}, {"whypull itself", 8, itself()},
	}
}

// failing selects the failing containers of the selected nodes and registries.
const failing = `whypull_failing_containers{instance=~"$instance",registry=~"$registry"}`

func now() []Panel {
	stat := func(title, description, expr string, thresholds ...float64) Panel {
		return Panel{Title: title, Description: description, Kind: "stat", Unit: "short", Width: 4, Thresholds: thresholds, Queries: []Query{{expr, ""}}}
	}
	agents := stat("Agents down", "Agents that Prometheus cannot scrape. Failures on their nodes are missing from this dashboard.",
		`count(up{job=~"(.+/)?whypull-agent"} == 0) or vector(0)`, 1)
	diagnosis := stat("Time to diagnosis, 99 %", "Time within which 99 % of diagnoses were written to the pod, over the selected time range. It starts when the agent sees the kubelet's failing status.",
		`histogram_quantile(0.99, sum by (le) (increase(whypull_time_to_diagnosis_seconds_bucket{instance=~"$instance"}[$__range])))`, 2, 10)
	diagnosis.Unit = "s"
	return []Panel{
		stat("Containers without image", "Containers, init containers, ephemeral containers and image volumes that currently cannot pull their image.", `sum(`+failing+`) or vector(0)`, 1),
		stat("Nodes", "Nodes with failing containers.", `count(count by (instance) (`+failing+`)) or vector(0)`, 1),
		stat("Registries", "Registries of their images; on each node all registries beyond ten count as one.", `count(count by (registry) (`+failing+`)) or vector(0)`, 1),
		stat("Not listed", "Containers missing from the table below, which lists fifty per node and leaves out those that started to fail last. All other panels count them.", `sum(whypull_pod_failure_info_dropped{instance=~"$instance"})`, 1),
		diagnosis, agents,
	}
}

func causes() []Panel {
	over := func(title, description, by, legend string, width int) Panel {
		return Panel{Title: title, Description: description, Kind: "timeseries", Unit: "short", Width: width, Stacked: true,
			Queries: []Query{{`sum by (` + by + `) (` + failing + `)`, legend}}}
	}
	return []Panel{
		over("By cause", "Containers that cannot pull their image, by cause.", "cause", "{{cause}}", 24),
		over("By registry", "Containers that cannot pull their image, by registry: a single color that grows points to that registry.", "registry", "{{registry}}", 12),
		over("By node", "Containers that cannot pull their image, by node: a single color that grows points to that node.", "node, instance", "{{node}} {{instance}}", 12),
	}
}

func pods() []Panel {
	return []Panel{
		{Title: "Pods that cannot pull, longest first", Kind: "table", Unit: "s", Width: 16,
			Description: "How long each container has been failing. The cause links to its runbook page; kubectl why-pull POD shows the remedy for the pod.",
			Queries:     []Query{{`topk(50, time() - whypull_pod_failure_start_timestamp_seconds{instance=~"$instance",registry=~"$registry"})`, ""}}},
		{Title: "New diagnoses", Kind: "timeseries", Unit: "short", Width: 8, Stacked: true,
			Description: "New diagnoses, by cause. A pod that keeps failing for the same cause counts once.",
			// increase() misses the first diagnosis of a cause on a node, because
			// the series starts with it.
			Queries: []Query{{`sum by (cause) (clamp_min(whypull_diagnoses_total{instance=~"$instance"}
- (whypull_diagnoses_total{instance=~"$instance"} offset $__rate_interval or whypull_diagnoses_total{instance=~"$instance"} * 0), 0))`, "{{cause}}"}}},
	}
}

func registries() []Panel {
	return []Panel{
		{Title: "Latency by phase", Kind: "timeseries", Unit: "s", Width: 8,
			Description: "Average duration of each phase of a registry probe: slow DNS, a TLS handshake that hangs, an overloaded token server.",
			Queries:     []Query{{mean("whypull_registry_probe_phase_seconds", "phase"), "{{phase}}"}}},
		{Title: "DNS mismatches", Kind: "timeseries", Unit: "short", Width: 8,
			Description: "Nodes on which the registry's name resolves differently than in the failing pod; 0 if they agree.",
			Queries:     []Query{{`sum by (registry) (whypull_dns_mismatch{instance=~"$instance",registry=~"$registry"})`, "{{registry}}"}}},
		{Title: "Rate limit: requests left", Kind: "timeseries", Unit: "short", Width: 8,
			Description: "Requests left on the node with the fewest, from the registry's last response. Shows only registries that report it.",
			Queries:     []Query{{`min by (registry) (whypull_registry_ratelimit_remaining{instance=~"$instance",registry=~"$registry"})`, "{{registry}}"}}},
		{Title: "Certificates: days until expiry", Kind: "bargauge", Unit: "d", Width: 12, Thresholds: []float64{3, 14}, Falling: true,
			Description: "Days until the first certificate in the registry's chain expires. Shows only registries that whypull probed in the last 24 hours; it probes only when a pull fails.",
			Queries:     []Query{{`(min by (registry) (whypull_registry_tls_expiry_timestamp_seconds{instance=~"$instance",registry=~"$registry"}) - time()) / 86400`, "{{registry}}"}}},
		{Title: "Checks by outcome", Kind: "timeseries", Unit: "ops", Width: 12, Stacked: true,
			Description: "Checks per second, by outcome. Inconclusive: the check ran but did not decide.",
			Queries:     []Query{{"sum by (check, outcome) (" + part("whypull_check_duration_seconds", "count") + ")", "{{check}} {{outcome}}"}}},
	}
}

// part returns the rate of a histogram's count or sum. It works for native
// histograms and for those scraped as text.
func part(histogram, of string) string {
	const interval = `{instance=~"$instance"}[$__rate_interval]`
	return "rate(" + histogram + "_" + of + interval + ") or histogram_" + of + "(rate(" + histogram + interval + "))"
}

// mean returns the average of a histogram's observations, by a label.
func mean(histogram, by string) string {
	return "sum by (" + by + ") (" + part(histogram, "sum") + ")\n/ (sum by (" + by + ") (" + part(histogram, "count") + ") > 0)"
}

func pulls() []Panel {
	selected := `{instance=~"$instance",registry=~"$registry"}`
	return []Panel{
		{Title: "Bytes received", Kind: "timeseries", Unit: "bytes", Width: 12,
			Description: "Bytes received by running pulls that a pod waits for, the largest five per node.",
			Queries:     []Query{{`max by (namespace, pod, container) (whypull_pull_progress_bytes` + selected + `)`, "{{namespace}}/{{pod}} {{container}}"}}},
		{Title: "Stalled pulls", Kind: "timeseries", Unit: "short", Width: 12,
			Description: "Pulls that have received no data for a while but have not failed, by registry.",
			Queries:     []Query{{`sum by (registry) (whypull_pull_stalled` + selected + `)`, "{{registry}}"}}},
	}
}

func itself() []Panel {
	const agent = `{job=~"(.+/)?whypull-agent",instance=~"$instance"}`
	line := func(title, description, unit, expr, legend string) Panel {
		return Panel{Title: title, Description: description, Kind: "timeseries", Unit: unit, Width: 8, Queries: []Query{{expr, legend}}}
	}
	own := func(metric string) string { return metric + `{instance=~"$instance"}` }
	diagnosis := line("Time to diagnosis", "Time from seeing the kubelet's failing status to writing the annotation.", "s",
		`histogram_quantile(0.5, sum by (le) (rate(whypull_time_to_diagnosis_seconds_bucket{instance=~"$instance"}[$__rate_interval])))`, "50 %")
	diagnosis.Queries = append(diagnosis.Queries, Query{`histogram_quantile(0.99, sum by (le) (rate(whypull_time_to_diagnosis_seconds_bucket{instance=~"$instance"}[$__rate_interval])))`, "99 %"})
	return []Panel{
		diagnosis,
		line("Container runtime up", "1 if the container runtime answers the agent, else 0.", "short", own("whypull_cri_up"), "{{node}} {{instance}}"),
		line("Time since last watch event", "Time since the watch on the node's pods last received anything. A healthy watch receives something every minute.", "s",
			`time() - `+own("whypull_last_sync_timestamp_seconds"), "{{node}} {{instance}}"),
		line("Writes to the API server", "Writes of annotations and Events, by result.", "reqps",
			`sum by (result) (rate(whypull_api_writes_total{instance=~"$instance"}[$__rate_interval]))`, "{{result}}"),
		line("Reads of pull secrets", "Reads of pull secrets, by result. forbidden: the agent lacks the permission.", "reqps",
			`sum by (result) (rate(whypull_secret_reads_total{instance=~"$instance"}[$__rate_interval]))`, "{{result}}"),
		line("Memory", "Resident memory, by agent.", "bytes", "process_resident_memory_bytes"+agent, "{{node}} {{instance}}"),
		line("CPU", "CPU time per second, by agent.", "s", "rate(process_cpu_seconds_total"+agent+"[$__rate_interval])", "{{node}} {{instance}}"),
		line("Versions", "Number of agents, by version.", "short", `count by (version) (`+own("whypull_build_info")+`)`, "{{version}}"),
		line("Check duration", "Average duration of each check.", "s", mean("whypull_check_duration_seconds", "check"), "{{check}}"),
	}
}

type object = map[string]any

// Dashboard returns the dashboard as JSON for Grafana's import.
func Dashboard() (string, error) {
	out, err := json.MarshalIndent(object{
		"uid": DashboardUID, "title": "whypull: image pull failures", "tags": []string{"kubernetes", "whypull"},
		"description": "Why pods cannot pull their images, as diagnosed by whypull.", "schemaVersion": 39, "version": 1,
		"editable": true, "graphTooltip": 1, "refresh": "1m", "time": object{"from": "now-6h", "to": "now"}, "timezone": "browser",
		"templating": object{"list": variables()}, "panels": placed(), "annotations": object{"list": []any{}},
		"links": []any{object{"title": "Runbook", "type": "link", "icon": "doc", "tooltip": "", "url": runbook.BaseURL + "README.md",
			"targetBlank": true, "asDropdown": false, "includeVars": false, "keepTime": false, "tags": []string{}}},
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("dashboard: %w", err)
	}
	return string(out) + "\n", nil
}

func promQL() object { return object{"type": "prometheus", "uid": "${datasource}"} }

func variables() []any {
	values := func(name, label, of string) object {
		query := "label_values(" + of + ", " + name + ")"
		return object{"name": name, "label": label, "type": "query", "datasource": promQL(), "query": object{"query": query, "refId": name},
			"definition": query, "refresh": 2, "multi": true, "includeAll": true, "allValue": ".*", "sort": 1,
			"current": object{"text": []string{"All"}, "value": []string{"$__all"}}}
	}
	return []any{
		object{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
		values("instance", "Node", "whypull_build_info"),
		values("registry", "Registry", "whypull_failing_containers"),
	}
}

// placed returns the panels with their positions, row by row.
func placed() []any {
	var out []any
	id, y := 0, 0
	for _, s := range Sections() {
		id++
		out = append(out, object{"id": id, "type": "row", "title": s.Title, "collapsed": false, "panels": []any{}, "gridPos": place(0, y, 24, 1)})
		y++
		x := 0
		for _, p := range s.Panels {
			if x+p.Width > 24 {
				x, y = 0, y+s.Height
			}
			id++
			out = append(out, p.object(id, place(x, y, p.Width, s.Height)))
			x += p.Width
		}
		y += s.Height
	}
	return out
}

func place(x, y, w, h int) object { return object{"x": x, "y": y, "w": w, "h": h} }

func (p Panel) object(id int, at object) object {
	var targets []any
	for i, q := range p.Queries {
		instant := p.Kind != "timeseries"
		target := object{"refId": string(rune('A' + i)), "datasource": promQL(), "expr": q.Expr, "legendFormat": q.Legend,
			"instant": instant, "range": !instant}
		if p.Kind == "table" {
			target["format"] = "table"
		}
		targets = append(targets, target)
	}
	defaults := object{"unit": p.Unit, "min": 0, "thresholds": p.thresholds()}
	if p.Falling { // expired certificates have negative values
		delete(defaults, "min")
	}
	if p.Kind == "stat" || p.Kind == "bargauge" {
		defaults["color"] = object{"mode": "thresholds"}
	}
	if p.Kind == "timeseries" {
		defaults["custom"] = p.lines()
	}
	out := object{"id": id, "type": p.Kind, "title": p.Title, "description": p.Description, "datasource": promQL(), "gridPos": at,
		"targets": targets, "fieldConfig": object{"defaults": defaults, "overrides": []any{}}, "options": p.options()}
	if p.Kind == "table" {
		out["transformations"], out["fieldConfig"].(object)["overrides"] = table()
	}
	return out
}

func (p Panel) lines() object {
	stacking, fill := "none", 10
	if p.Stacked {
		stacking, fill = "normal", 50
	}
	return object{"drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "auto", "spanNulls": false,
		"stacking": object{"mode": stacking, "group": "A"}}
}

func (p Panel) options() object {
	switch p.Kind {
	case "stat", "bargauge":
		out := object{"reduceOptions": object{"calcs": []string{"lastNotNull"}, "values": false, "fields": ""}, "orientation": "auto"}
		if p.Kind == "bargauge" {
			out["orientation"], out["displayMode"] = "horizontal", "basic"
		}
		return out
	case "table":
		return object{"showHeader": true, "sortBy": []any{object{"displayName": "failing for", "desc": true}}}
	}
	return object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}}
}

func (p Panel) thresholds() object {
	colors := []string{"green", "orange", "red"}
	if len(p.Thresholds) == 1 {
		colors = []string{"green", "orange"}
	}
	if p.Falling {
		colors = []string{"red", "orange", "green"}
	}
	steps := []any{object{"color": colors[0], "value": nil}}
	for i, at := range p.Thresholds {
		steps = append(steps, object{"color": colors[i+1], "value": at})
	}
	return object{"mode": "absolute", "steps": steps}
}

// table returns the column order of the table of pods and the runbook link of its
// cause column.
func table() (transformations, overrides []any) {
	link := object{"title": "Runbook: ${__data.fields.cause}", "targetBlank": true, "url": runbook.BaseURL + "${__data.fields.cause}.md"}
	return []any{object{"id": "organize", "options": object{
			"excludeByName": object{"Time": true, "job": true, "__name__": true, "endpoint": true, "instance": true},
			"indexByName":   object{"Value": 0, "namespace": 1, "pod": 2, "container": 3, "cause": 4, "registry": 5, "node": 6},
			"renameByName":  object{"Value": "failing for"},
		}}}, []any{
			object{"matcher": object{"id": "byName", "options": "cause"}, "properties": []any{object{"id": "links", "value": []any{link}}}},
		}
}

// Filled returns expr with the dashboard's variables replaced: all nodes and
// registries, the given rate interval and the given time range.
func Filled(expr, rate, shown string) string {
	return strings.NewReplacer("$__rate_interval", rate, "$__range", shown, "$instance", ".*", "$registry", ".*").Replace(expr)
}
