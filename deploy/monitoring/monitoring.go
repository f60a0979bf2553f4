// Package monitoring generates the alert rules, for Prometheus and for the
// Prometheus operator, and the Grafana dashboard.
package monitoring

import (
	_ "embed"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/runbook"
)

//go:embed source.yaml
var source string

// AlertsURL is the address of the page that describes the alerts without a single
// cause; each alert has a heading on it.
const AlertsURL = "https://github.com/whypull/whypull/blob/main/deploy/monitoring/README.md"

const notice = "# Generated from source.yaml: go test ./deploy/monitoring -update\n"

// Rules returns the alert rules as a rule file of Prometheus.
func Rules() string { return notice + groups() }

// PrometheusRule returns the same rules as a PrometheusRule resource.
func PrometheusRule() string {
	var text strings.Builder
	text.WriteString(notice + `apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: whypull
  namespace: whypull
  labels:
    app.kubernetes.io/name: whypull
spec:
`)
	for line := range strings.Lines(groups()) {
		if line != "\n" {
			line = "  " + line
		}
		text.WriteString(line)
	}
	return text.String()
}

// groups returns the source's groups with all placeholders replaced.
func groups() string {
	_, text, _ := strings.Cut(source, "\ngroups:\n")
	var out []string
	for block := range strings.SplitSeq(text, "\n\n") {
		if strings.Contains(block, "$CAUSE") {
			block = forCauses(block)
		}
		out = append(out, block)
	}
	places := strings.NewReplacer("$RUNBOOK", runbook.BaseURL, "$ALERTS", AlertsURL)
	return "groups:\n" + places.Replace(strings.Join(out, "\n\n"))
}

// forCauses repeats the rule in block for each cause that has no dedicated alert and
// the owner that the rule is for: the application's, or any other.
func forCauses(block string) string {
	head, rule, _ := strings.Cut(block, "  - alert:")
	application := strings.Contains(rule, "owner: "+string(diagnosis.FixApplication))
	var out []string
	for _, e := range diagnosis.Catalogue() {
		if HasOwnAlert(e.Cause) || application != (e.Fixer == diagnosis.FixApplication) {
			continue
		}
		_, name, _ := strings.Cut(AlertOf(e), pullFailing)
		out = append(out, strings.NewReplacer("$CAUSE", string(e.Cause), "$OWNERNAME", name, "$OWNER", string(e.Fixer), "$TITLE", quoted(e.Title),
			"$MEANING", e.Meaning, "$ADVICE", e.Advice, "$PAGE", runbook.URL(e.Cause)).Replace("  - alert:"+rule))
	}
	return head + strings.Join(out, "\n\n")
}

// pullFailing starts the names of the alerts for the causes without a dedicated one.
const pullFailing = "WhypullPullFailing"

// AlertOf returns the name of the alert for a cause: the dedicated one, or the one of
// the causes that the same owner can fix.
func AlertOf(e diagnosis.Entry) string {
	if HasOwnAlert(e.Cause) {
		return "Whypull" + string(e.Cause)
	}
	owner := string(e.Fixer)
	return pullFailing + strings.ToUpper(owner[:1]) + owner[1:]
}

// quoted escapes s for a single-quoted YAML scalar.
func quoted(s string) string { return strings.ReplaceAll(s, "'", "''") }

// HasOwnAlert reports whether a cause has a dedicated alert instead of one of
// WhypullPullFailing…: its severity, its expression or its advice differs.
func HasOwnAlert(c diagnosis.Cause) bool {
	return strings.Contains(source, "- alert: Whypull"+string(c)+"\n")
}
