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
	// Collapsed hides the panels, whose queries then do not run, until the heading is
	// clicked.
	Collapsed bool
	Panels    []Panel
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
		{"Now", 5, false, now()}, {"Causes", 9, false, causes()}, {"Pods", 11, false, pods()},
		{"Running pods", 8, true, running()}, {"Registries", 8, true, registries()}, {"Running pulls", 8, true, pulls()}, {"whypull itself", 8, true, itself()},
	}
}

// most is the number of series that a panel shows where a fleet has one for each node,
// pod or registry: those with the highest, or lowest, values.
const most = "10"

// node selects the series of the selected clusters and nodes, selected also those of
// the selected registries. Series without the label cluster are selected by "All".
const (
	node     = `cluster=~"$cluster",instance=~"$instance"`
	selected = node + `,registry=~"$registry"`
)

// failing selects the failing containers of the selected nodes and registries.
const failing = `whypull_failing_containers{` + selected + `}`

func now() []Panel {
	stat := func(title, description, expr string, thresholds ...float64) Panel {
		return Panel{Title: title, Description: description, Kind: "stat", Unit: "short", Width: 4, Thresholds: thresholds, Queries: []Query{{expr, ""}}}
	}
	agents := stat("Agents down", "Agents that Prometheus cannot scrape. Failures on their nodes are missing from this dashboard.",
		`count(up{job=~"(.+/)?whypull-agent",`+node+`} == 0) or vector(0)`, 1)
	diagnosis := stat("Time to diagnosis, 99 %", "Time within which 99 % of diagnoses were written to the pod, over the selected time range. It starts when the agent sees the kubelet's failing status.",
		`histogram_quantile(0.99, sum by (le) (increase(whypull_time_to_diagnosis_seconds_bucket{`+node+`}[$__range])))`, 2, 10)
	diagnosis.Unit = "s"
	return []Panel{
		stat("Containers without image", "Containers, init containers, ephemeral containers and image volumes that currently cannot pull their image.", `sum(`+failing+`) or vector(0)`, 1),
		stat("Nodes", "Nodes with failing containers.", `count(count by (cluster, instance) (`+failing+`)) or vector(0)`, 1),
		stat("Registries", "Registries of their images; on each node all registries beyond ten count as one.", `count(count by (registry) (`+failing+`)) or vector(0)`, 1),
		stat("Not listed", "Containers missing from the table below, which lists fifty per node and leaves out those that started to fail last. All other panels count them.", `sum(whypull_pod_failure_info_dropped{`+node+`})`, 1),
		diagnosis, agents,
	}
}

func causes() []Panel {
	over := func(title, description, expr, legend string, width int) Panel {
		return Panel{Title: title, Description: description, Kind: "timeseries", Unit: "short", Width: width, Stacked: true, Queries: []Query{{expr, legend}}}
	}
	return []Panel{
		over("By cause", "Containers that cannot pull their image, by cause.", `sum by (cause) (`+failing+`)`, "{{cause}}", 24),
		over("By registry", "Containers that cannot pull their image, by registry, the ten with most: a single color that grows points to that registry.",
			highest(`sum by (registry) (`+failing+`)`), "{{registry}}", 12),
		over("By node", "Containers that cannot pull their image, by node, the ten with most: a single color that grows points to that node.",
			highest(`sum by (cluster, node, instance) (`+failing+`)`), "{{cluster}} {{node}} {{instance}}", 12),
	}
}

// highest limits an expression to the series with the highest values.
func highest(expr string) string { return "topk(" + most + ", " + expr + ")" }

// lowest limits an expression to the series with the lowest values.
func lowest(expr string) string { return "bottomk(" + most + ", " + expr + ")" }

func pods() []Panel {
	return []Panel{
		{Title: "Pods that cannot pull, longest first", Kind: "table", Unit: "s", Width: 16,
			Description: "How long each container has been failing. The cause links to its runbook page; kubectl why-pull POD shows the remedy for the pod.",
			Queries:     []Query{{`topk(50, time() - whypull_pod_failure_start_timestamp_seconds{` + selected + `})`, ""}}},
		{Title: "New diagnoses", Kind: "timeseries", Unit: "short", Width: 8, Stacked: true,
			Description: "New diagnoses, by cause. A pod that keeps failing for the same cause counts once.",
			// increase() misses the first diagnosis of a cause on a node, because
			// the series starts with it.
			Queries: []Query{{`sum by (cause) (clamp_min(whypull_diagnoses_total{` + node + `}
- (whypull_diagnoses_total{` + node + `} offset $__rate_interval or whypull_diagnoses_total{` + node + `} * 0), 0))`, "{{cause}}"}}},
	}
}

func running() []Panel {
	return []Panel{
		{Title: "Could not be started again", Kind: "timeseries", Unit: "short", Width: 24, Stacked: true,
			Description: "Containers of running pods whose image could not be pulled again, by cause. Only with --image-check-interval. kubectl why-pull --preflight lists the pods.",
			Queries:     []Query{{`sum by (cause) (whypull_image_unavailable{` + selected + `})`, "{{cause}}"}}},
	}
}

func registries() []Panel {
	return []Panel{
		{Title: "Latency by phase", Kind: "timeseries", Unit: "s", Width: 8,
			Description: "Average duration of each phase of a registry probe: slow DNS, a TLS handshake that hangs, an overloaded token server.",
			Queries:     []Query{{mean("whypull_registry_probe_phase_seconds", "phase"), "{{phase}}"}}},
		{Title: "DNS mismatches", Kind: "timeseries", Unit: "short", Width: 8,
			Description: "Nodes on which the registry's name resolves differently than in the failing pod; 0 if they agree.",
			Queries:     []Query{{highest(`sum by (registry) (whypull_dns_mismatch{` + selected + `})`), "{{registry}}"}}},
		{Title: "Rate limit: requests left", Kind: "timeseries", Unit: "short", Width: 8,
			Description: "Requests left on the node with the fewest, from the registry's last response, for the ten registries with the fewest. Shows only registries that report it.",
			Queries:     []Query{{lowest(`min by (registry) (whypull_registry_ratelimit_remaining{` + selected + `})`), "{{registry}}"}}},
		{Title: "Certificates: days until expiry", Kind: "bargauge", Unit: "d", Width: 12, Thresholds: []float64{3, 14}, Falling: true,
			Description: "Days until the first certificate in the registry's chain expires, for the ten that expire first. Shows only registries that whypull probed in the last 24 hours; it probes only when a pull fails.",
			Queries:     []Query{{lowest(`(min by (registry) (whypull_registry_tls_expiry_timestamp_seconds{` + selected + `}) - time()) / 86400`), "{{registry}}"}}},
		{Title: "Checks by outcome", Kind: "timeseries", Unit: "ops", Width: 12, Stacked: true,
			Description: "Checks per second, by outcome. Inconclusive: the check ran but did not decide.",
			Queries:     []Query{{"sum by (check, outcome) (" + part("whypull_check_duration_seconds", "count") + ")", "{{check}} {{outcome}}"}}},
	}
}

// part returns the rate of a histogram's count or sum. It works for native
// histograms and for those scraped as text.
func part(histogram, of string) string {
	const interval = `{` + node + `}[$__rate_interval]`
	return "rate(" + histogram + "_" + of + interval + ") or histogram_" + of + "(rate(" + histogram + interval + "))"
}

// mean returns the average of a histogram's observations, by a label.
func mean(histogram, by string) string {
	return "sum by (" + by + ") (" + part(histogram, "sum") + ")\n/ (sum by (" + by + ") (" + part(histogram, "count") + ") > 0)"
}

func pulls() []Panel {
	return []Panel{
		{Title: "Bytes received", Kind: "timeseries", Unit: "bytes", Width: 12,
			Description: "Bytes received by running pulls that a pod waits for, the ten largest.",
			Queries:     []Query{{highest(`max by (cluster, pod_namespace, pod_name, container_name) (whypull_pull_progress_bytes{` + selected + `})`), "{{cluster}} {{pod_namespace}}/{{pod_name}} {{container_name}}"}}},
		{Title: "Stalled pulls", Kind: "timeseries", Unit: "short", Width: 12,
			Description: "Pulls that have received no data for a while but have not failed, by registry, the ten with most.",
			Queries:     []Query{{highest(`sum by (registry) (whypull_pull_stalled{` + selected + `})`), "{{registry}}"}}},
	}
}

func itself() []Panel {
	const agentLegend = "{{cluster}} {{node}} {{instance}}"
	const agent = `{job=~"(.+/)?whypull-agent",` + node + `}`
	line := func(title, description, unit, expr, legend string) Panel {
		return Panel{Title: title, Description: description, Kind: "timeseries", Unit: unit, Width: 8, Queries: []Query{{expr, legend}}}
	}
	own := func(metric string) string { return metric + `{` + node + `}` }
	diagnosis := line("Time to diagnosis", "Time from seeing the kubelet's failing status to writing the annotation.", "s",
		`histogram_quantile(0.5, sum by (le) (rate(whypull_time_to_diagnosis_seconds_bucket{`+node+`}[$__rate_interval])))`, "50 %")
	diagnosis.Queries = append(diagnosis.Queries, Query{`histogram_quantile(0.99, sum by (le) (rate(whypull_time_to_diagnosis_seconds_bucket{` + node + `}[$__rate_interval])))`, "99 %"})
	return []Panel{
		diagnosis,
		line("Container runtime up", "1 if the container runtime answers the agent, else 0, for the ten agents with the lowest value.", "short", lowest(own("whypull_cri_up")), agentLegend),
		line("Time since last watch event", "Time since the watch on the node's pods last received anything, for the ten agents with the longest. A healthy watch receives something every minute.", "s",
			highest(`time() - `+own("whypull_last_sync_timestamp_seconds")), agentLegend),
		line("Writes to the API server", "Writes of annotations and Events, by result.", "reqps",
			`sum by (result) (rate(whypull_api_writes_total{`+node+`}[$__rate_interval]))`, "{{result}}"),
		line("Reads of pull secrets", "Reads of pull secrets, by result. forbidden: the agent lacks the permission.", "reqps",
			`sum by (result) (rate(whypull_secret_reads_total{`+node+`}[$__rate_interval]))`, "{{result}}"),
		line("Memory", "Resident memory, by agent, the ten with most.", "bytes", highest("process_resident_memory_bytes"+agent), agentLegend),
		line("CPU", "CPU time per second, by agent, the ten with most.", "s", highest("rate(process_cpu_seconds_total"+agent+"[$__rate_interval])"), agentLegend),
		line("Versions", "Number of agents, by version and by how they read pull secrets.", "short", `count by (version, secret_access) (`+own("whypull_build_info")+`)`, "{{version}} {{secret_access}}"),
		line("Check duration", "Average duration of each check.", "s", mean("whypull_check_duration_seconds", "check"), "{{check}}"),
	}
}

type object = map[string]any

// schemaVersion is that of Grafana 12. Older Grafanas load the dashboard too: it uses
// nothing that they do not know.
const schemaVersion = 42

// Dashboard returns the dashboard as JSON for Grafana's import.
func Dashboard() (string, error) {
	out, err := json.MarshalIndent(object{
		"uid": DashboardUID, "title": "whypull: image pull failures", "tags": []string{"kubernetes", "whypull"},
		"description": "Why pods cannot pull their images, as diagnosed by whypull.", "schemaVersion": schemaVersion, "version": 1,
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
		values("cluster", "Cluster", "whypull_build_info"),
		values("instance", "Node", `whypull_build_info{cluster=~"$cluster"}`),
		values("registry", "Registry", `whypull_failing_containers{cluster=~"$cluster"}`),
	}
}

// placed returns the panels with their positions, row by row. Those of a collapsed row
// are inside of it, with the positions that they have when it is opened.
func placed() []any {
	var out []any
	id, y := 0, 0
	for _, s := range Sections() {
		id++
		row := object{"id": id, "type": "row", "title": s.Title, "collapsed": s.Collapsed, "gridPos": place(0, y, 24, 1)}
		y++
		inside := []any{}
		x, top := 0, y
		for _, p := range s.Panels {
			if x+p.Width > 24 {
				x, top = 0, top+s.Height
			}
			id++
			inside = append(inside, p.object(id, place(x, top, p.Width, s.Height)))
			x += p.Width
		}
		if s.Collapsed {
			row["panels"] = inside
			out = append(out, row)
			continue
		}
		row["panels"] = []any{}
		out = append(append(out, row), inside...)
		y = top + s.Height
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
			"excludeByName": object{"Time": true, "job": true, "__name__": true, "endpoint": true, "instance": true, "namespace": true},
			"indexByName":   object{"Value": 0, "pod_namespace": 1, "pod_name": 2, "container_name": 3, "cause": 4, "registry": 5, "node": 6, "cluster": 7},
			"renameByName":  object{"Value": "failing for", "pod_namespace": "namespace", "pod_name": "pod", "container_name": "container"},
		}}}, []any{
			object{"matcher": object{"id": "byName", "options": "cause"}, "properties": []any{object{"id": "links", "value": []any{link}}}},
		}
}

// Filled returns expr with the dashboard's variables replaced: all clusters, nodes and
// registries, the given rate interval and the given time range.
func Filled(expr, rate, shown string) string {
	return strings.NewReplacer("$__rate_interval", rate, "$__range", shown, "$cluster", ".*", "$instance", ".*", "$registry", ".*").Replace(expr)
}

// ConfigMap returns the dashboard as the ConfigMap that Grafana's sidecar loads, like
// the chart's.
func ConfigMap() (string, error) {
	dashboard, err := Dashboard()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	text.WriteString(`# Generated from deploy/monitoring/dashboard.go: go test ./deploy/monitoring -update
apiVersion: v1
kind: ConfigMap
metadata:
  name: whypull-dashboard
  namespace: whypull
  labels:
    app.kubernetes.io/name: whypull
    grafana_dashboard: "1"
data:
  whypull.json: |
`)
	for line := range strings.Lines(dashboard) {
		text.WriteString("    " + line)
	}
	return text.String(), nil
}
