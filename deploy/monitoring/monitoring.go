// Package monitoring makes the alert rules, for Prometheus and for its operator,
// from one source and the table of causes.
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

// AlertsURL is where the page on the alerts is published that are not about one
// cause; each has a heading of its name.
const AlertsURL = "https://github.com/whypull/whypull/blob/main/deploy/monitoring/README.md"

const notice = "# Made from source.yaml: go test ./deploy/monitoring -update\n"

// Rules returns the alert rules as a rule file of Prometheus.
func Rules() string { return notice + groups() }

// PrometheusRule returns the same rules as the Prometheus operator takes them.
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

// groups are the source's groups with what stands for causes and pages put in.
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

// forCauses repeats the rule in a block for each cause that has no alert of its
// own.
func forCauses(block string) string {
	head, rule, _ := strings.Cut(block, "  - alert:")
	var out []string
	for _, e := range diagnosis.Catalogue() {
		if Own(e.Cause) {
			continue
		}
		out = append(out, strings.NewReplacer("$CAUSE", string(e.Cause), "$SEVERITY", severity(e), "$TITLE", quoted(e.Title),
			"$MEANING", e.Meaning, "$ADVICE", e.Advice, "$PAGE", runbook.URL(e.Cause)).Replace("  - alert:"+rule))
	}
	return head + strings.Join(out, "\n\n")
}

// quoted is text for a scalar in single quotes.
func quoted(s string) string { return strings.ReplaceAll(s, "'", "''") }

// Own tells that a cause has an alert of its own beside WhypullPullFailing.
func Own(c diagnosis.Cause) bool {
	return slices.Contains([]diagnosis.Cause{diagnosis.RateLimited, diagnosis.DiskFull, diagnosis.PullStalled}, c)
}

// severity of a failure that has lasted: what the owner of one pod has to mend
// wakes nobody, and the same is true of what passes by itself.
func severity(e diagnosis.Entry) string {
	if e.Fixer == diagnosis.FixApplication || e.Cause == diagnosis.NotReproducible {
		return "info"
	}
	return "warning"
}
