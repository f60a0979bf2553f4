package monitoring

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/whypull/whypull/deploy/runbook"
)

// DashboardUID is the dashboard's own, under which Grafana keeps it and links
// lead to it.
const DashboardUID = "whypull"

// Panel is a picture of one question that people have.
type Panel struct {
	Title, Description string
	// Kind is Grafana's type of panel, Unit its unit of values.
	Kind, Unit string
	// Width of the 24 columns.
	Width   int
	Queries []Query
	// Thresholds are where green ends, from the lowest on; Falling: it begins
	// red and ends green.
	Thresholds []float64
	Falling    bool
	Stacked    bool
}

// Query is a PromQL expression with the dashboard's variables in it.
type Query struct {
	Expr   string
	Legend string
}

// Section is a part of the dashboard with a heading.
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

// Sections returns the dashboard from top to bottom.
func Sections() []Section {
	return []Section{
		{"Now", 5, now()}, {"Causes", 9, causes()}, {"Pods", 11, pods()},
		{"Registries", 8, registries()}, {"Pulls under way", 8, pulls()}, {"whypull itself", 8, itself()},
	}
}

// failing selects what the variables of the dashboard let through.
const failing = `whypull_failing_containers{instance=~"$instance",registry=~"$registry"}`

func now() []Panel {
	stat := func(title, description, expr string, thresholds ...float64) Panel {
		return Panel{Title: title, Description: description, Kind: "stat", Unit: "short", Width: 4, Thresholds: thresholds, Queries: []Query{{expr, ""}}}
	}
	agents := stat("Agents down", "Agents that Prometheus knows of and cannot reach. What fails on their nodes is not in this dashboard.",
		`count(up{job=~"(.+/)?whypull-agent"} == 0) or vector(0)`, 1)
	diagnosis := stat("Time to diagnosis, 99 %", "In how many seconds 99 of 100 verdicts were on their pod, over the time shown; from the kubelet's failing status being seen.",
		`histogram_quantile(0.99, sum by (le) (increase(whypull_time_to_diagnosis_seconds_bucket{instance=~"$instance"}[$__range])))`, 2, 10)
	diagnosis.Unit = "s"
	return []Panel{
		stat("Containers without image", "Containers, init containers, ephemeral containers and image volumes that cannot get their image now.", `sum(`+failing+`) or vector(0)`, 1),
		stat("Nodes", "Nodes with such containers.", `count(count by (instance) (`+failing+`)) or vector(0)`, 1),
		stat("Registries", "Registries that they want their images from; those beyond ten on a node count as one.", `count(count by (registry) (`+failing+`)) or vector(0)`, 1),
		stat("Not listed", "Containers beyond the fifty of a node that are listed by name below: those that began to fail last. They are counted everywhere else.", `sum(whypull_pod_failure_info_dropped{instance=~"$instance"})`, 1),
		diagnosis, agents,
	}
}

func causes() []Panel {
	over := func(title, description, by, legend string, width int) Panel {
		return Panel{Title: title, Description: description, Kind: "timeseries", Unit: "short", Width: width, Stacked: true,
			Queries: []Query{{`sum by (` + by + `) (` + failing + `)`, legend}}}
	}
	return []Panel{
		over("By cause", "Containers that cannot get their image, by what whypull found to be wrong.", "cause", "{{cause}}", 24),
		over("By registry", "The same by the registry of the image: one colour that grows is a registry's trouble.", "registry", "{{registry}}", 12),
		over("By node", "The same by node: one colour that grows is a node's trouble.", "node, instance", "{{node}} {{instance}}", 12),
	}
}

func pods() []Panel {
	return []Panel{
		{Title: "Pods that cannot pull, longest first", Kind: "table", Unit: "s", Width: 16,
			Description: "For how long each container has been failing. The cause leads to its page of the runbook; kubectl why-pull POD has the pod's own remedy.",
			Queries:     []Query{{`topk(50, time() - whypull_pod_failure_start_timestamp_seconds{instance=~"$instance",registry=~"$registry"})`, ""}}},
		{Title: "New verdicts", Kind: "timeseries", Unit: "short", Width: 8, Stacked: true,
			Description: "Verdicts reached, by cause. A pod that fails on has one.",
			// Not increase(): it does not see the first of a cause on a node, with
			// which the series begins.
			Queries: []Query{{`sum by (cause) (clamp_min(whypull_diagnoses_total{instance=~"$instance"}
- (whypull_diagnoses_total{instance=~"$instance"} offset $__rate_interval or whypull_diagnoses_total{instance=~"$instance"} * 0), 0))`, "{{cause}}"}}},
	}
}

func registries() []Panel {
	return []Panel{
		{Title: "Latency by phase", Kind: "timeseries", Unit: "s", Width: 8,
			Description: "How long each phase of a conversation with a registry takes, on average: a name that is slow to resolve, a handshake that hangs, a token server that is overloaded.",
			Queries:     []Query{{mean("whypull_registry_probe_phase_seconds", "phase"), "{{phase}}"}}},
		{Title: "Names that resolve otherwise in pods", Kind: "timeseries", Unit: "short", Width: 8,
			Description: "Nodes on which the registry's name resolves otherwise than in the failing pod; 0 where they agree.",
			Queries:     []Query{{`sum by (registry) (whypull_dns_mismatch{instance=~"$instance",registry=~"$registry"})`, "{{registry}}"}}},
		{Title: "Requests left before the limit", Kind: "timeseries", Unit: "short", Width: 8,
			Description: "Of the node that has the fewest, by the registry's last answer. Only registries that tell are here.",
			Queries:     []Query{{`min by (registry) (whypull_registry_ratelimit_remaining{instance=~"$instance",registry=~"$registry"})`, "{{registry}}"}}},
		{Title: "Certificates: days left", Kind: "bargauge", Unit: "d", Width: 12, Thresholds: []float64{3, 14}, Falling: true,
			Description: "Until the first certificate ends that a registry is verified by. Of registries that whypull asked in the last 24 hours, which it does only where something fails.",
			Queries:     []Query{{`(min by (registry) (whypull_registry_tls_expiry_timestamp_seconds{instance=~"$instance",registry=~"$registry"}) - time()) / 86400`, "{{registry}}"}}},
		{Title: "Checks by outcome", Kind: "timeseries", Unit: "ops", Width: 12, Stacked: true,
			Description: "What the checks find: Inconclusive ones ran and could not tell.",
			Queries:     []Query{{"sum by (check, outcome) (" + part("whypull_check_duration_seconds", "count") + ")", "{{check}} {{outcome}}"}}},
	}
}

// part is the growth of a histogram's count or sum, whether Prometheus has scraped
// it as a native one or as text.
func part(histogram, of string) string {
	const interval = `{instance=~"$instance"}[$__rate_interval]`
	return "rate(" + histogram + "_" + of + interval + ") or histogram_" + of + "(rate(" + histogram + interval + "))"
}

// mean is what a histogram's observations are on average, by a label.
func mean(histogram, by string) string {
	return "sum by (" + by + ") (" + part(histogram, "sum") + ")\n/ (sum by (" + by + ") (" + part(histogram, "count") + ") > 0)"
}

func pulls() []Panel {
	selected := `{instance=~"$instance",registry=~"$registry"}`
	return []Panel{
		{Title: "Received", Kind: "timeseries", Unit: "bytes", Width: 12,
			Description: "What has been received of images that are being pulled and that pods have waited for, the largest five of each node.",
			Queries:     []Query{{`max by (namespace, pod, container) (whypull_pull_progress_bytes` + selected + `)`, "{{namespace}}/{{pod}} {{container}}"}}},
		{Title: "Stalled", Kind: "timeseries", Unit: "short", Width: 12,
			Description: "Pulls that have received nothing for a while and have not failed, by registry.",
			Queries:     []Query{{`sum by (registry) (whypull_pull_stalled` + selected + `)`, "{{registry}}"}}},
	}
}

func itself() []Panel {
	const agent = `{job=~"(.+/)?whypull-agent",instance=~"$instance"}`
	line := func(title, description, unit, expr, legend string) Panel {
		return Panel{Title: title, Description: description, Kind: "timeseries", Unit: unit, Width: 8, Queries: []Query{{expr, legend}}}
	}
	own := func(metric string) string { return metric + `{instance=~"$instance"}` }
	diagnosis := line("Time to diagnosis", "From the kubelet's failing status being seen to the annotation being written.", "s",
		`histogram_quantile(0.5, sum by (le) (rate(whypull_time_to_diagnosis_seconds_bucket{instance=~"$instance"}[$__rate_interval])))`, "half of them")
	diagnosis.Queries = append(diagnosis.Queries, Query{`histogram_quantile(0.99, sum by (le) (rate(whypull_time_to_diagnosis_seconds_bucket{instance=~"$instance"}[$__rate_interval])))`, "99 %"})
	return []Panel{
		diagnosis,
		line("Runtime answers", "1 where the container runtime answers the agent.", "short", own("whypull_cri_up"), "{{node}} {{instance}}"),
		line("Pods last heard of", "How long ago the watch on the node's pods was last heard of. The API server tells something every minute.", "s",
			`time() - `+own("whypull_last_sync_timestamp_seconds"), "{{node}} {{instance}}"),
		line("Writes to the API server", "Annotations and Events that are written, by result.", "reqps",
			`sum by (result) (rate(whypull_api_writes_total{instance=~"$instance"}[$__rate_interval]))`, "{{result}}"),
		line("Pull secrets read", "By result: forbidden ones are those that an agent has no right to.", "reqps",
			`sum by (result) (rate(whypull_secret_reads_total{instance=~"$instance"}[$__rate_interval]))`, "{{result}}"),
		line("Memory", "Resident memory of each agent.", "bytes", "process_resident_memory_bytes"+agent, "{{node}} {{instance}}"),
		line("CPU", "Seconds of CPU time in a second, of each agent.", "s", "rate(process_cpu_seconds_total"+agent+"[$__rate_interval])", "{{node}} {{instance}}"),
		line("Versions", "Agents by version.", "short", `count by (version) (`+own("whypull_build_info")+`)`, "{{version}}"),
		line("Checks: time", "How long each check takes, on average.", "s", mean("whypull_check_duration_seconds", "check"), "{{check}}"),
	}
}

type object = map[string]any

// Dashboard returns the dashboard as Grafana imports it.
func Dashboard() (string, error) {
	out, err := json.MarshalIndent(object{
		"uid": DashboardUID, "title": "whypull: why pods cannot pull", "tags": []string{"kubernetes", "whypull"},
		"description": "Why pods cannot pull their images, as whypull found out.", "schemaVersion": 39, "version": 1,
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

// placed are the panels in their places, row by row.
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
	if p.Falling { // what is over counts on below zero
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
	colours := []string{"green", "orange", "red"}
	if len(p.Thresholds) == 1 {
		colours = []string{"green", "orange"}
	}
	if p.Falling {
		colours = []string{"red", "orange", "green"}
	}
	steps := []any{object{"color": colours[0], "value": nil}}
	for i, at := range p.Thresholds {
		steps = append(steps, object{"color": colours[i+1], "value": at})
	}
	return object{"mode": "absolute", "steps": steps}
}

// table puts the columns in the order in which they are read, and the link to
// the runbook on the cause.
func table() (transformations, overrides []any) {
	link := object{"title": "What ${__data.fields.cause} means", "targetBlank": true, "url": runbook.BaseURL + "${__data.fields.cause}.md"}
	return []any{object{"id": "organize", "options": object{
			"excludeByName": object{"Time": true, "job": true, "__name__": true, "endpoint": true, "instance": true},
			"indexByName":   object{"Value": 0, "namespace": 1, "pod": 2, "container": 3, "cause": 4, "registry": 5, "node": 6},
			"renameByName":  object{"Value": "failing for"},
		}}}, []any{
			object{"matcher": object{"id": "byName", "options": "cause"}, "properties": []any{object{"id": "links", "value": []any{link}}}},
		}
}

// Filled is a query with values for the dashboard's variables: all nodes and
// registries, the interval of rates and the time shown.
func Filled(expr, rate, shown string) string {
	return strings.NewReplacer("$__rate_interval", rate, "$__range", shown, "$instance", ".*", "$registry", ".*").Replace(expr)
}
