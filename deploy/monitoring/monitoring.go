// Package monitoring generates the alert rules, for Prometheus and for the
// Prometheus operator, and the Grafana dashboard.
package monitoring

import (
	_ "embed"
	"slices"
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

// forCauses repeats the rule in block for each cause that has no dedicated alert.
func forCauses(block string) string {
	head, rule, _ := strings.Cut(block, "  - alert:")
	var out []string
	for _, e := range diagnosis.Catalogue() {
		if HasOwnAlert(e.Cause) {
			continue
		}
		out = append(out, strings.NewReplacer("$CAUSE", string(e.Cause), "$SEVERITY", severity(e), "$TITLE", quoted(e.Title),
			"$MEANING", e.Meaning, "$ADVICE", e.Advice, "$PAGE", runbook.URL(e.Cause)).Replace("  - alert:"+rule))
	}
	return head + strings.Join(out, "\n\n")
}

// quoted escapes s for a single-quoted YAML scalar.
func quoted(s string) string { return strings.ReplaceAll(s, "'", "''") }

// HasOwnAlert reports whether a cause has a dedicated alert instead of
// WhypullPullFailing.
func HasOwnAlert(c diagnosis.Cause) bool {
	return slices.Contains([]diagnosis.Cause{diagnosis.RateLimited, diagnosis.DiskFull, diagnosis.PullStalled}, c)
}

// severity returns the severity of a cause's WhypullPullFailing alert: "info" if
// only the pod's owner can fix it or if it resolves on its own, else "warning".
func severity(e diagnosis.Entry) string {
	if e.Fixer == diagnosis.FixApplication || e.Cause == diagnosis.NotReproducible {
		return "info"
	}
	return "warning"
}
