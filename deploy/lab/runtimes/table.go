package runtimes

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// Table shows a line for each case: its truth, and the verdict on each runtime.
// Where a runtime's truth is another one, it stands behind that verdict.
func Table(all []Result) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	head := []string{"CASE", "TRUTH"}
	for _, r := range All() {
		head = append(head, strings.ToUpper(r.Name))
	}
	_, _ = fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, of := range byCase(all) {
		common := commonTruth(of)
		line := []string{of[0].Case, cmp.Or(string(common), "-")}
		for _, r := range All() {
			line = append(line, cell(of, r, common))
		}
		_, _ = fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	_ = w.Flush() // a Builder takes everything
	return trimLines(text.String())
}

// trimLines drops what tabwriter pads the last column with.
func trimLines(s string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return out.String()
}

// byCase groups sorted results.
func byCase(all []Result) [][]Result {
	var groups [][]Result
	for _, one := range all {
		if n := len(groups); n > 0 && groups[n-1][0].Case == one.Case {
			groups[n-1] = append(groups[n-1], one)
			continue
		}
		groups = append(groups, []Result{one})
	}
	return groups
}

// commonTruth is what most releases of containerd have for truth, the newest's
// if all differ.
func commonTruth(of []Result) diagnosis.Cause {
	count := map[diagnosis.Cause]int{}
	best := of[0].Truth
	for _, one := range of {
		if one.Runtime != faulttest.CRIO137 {
			count[one.Truth]++
		}
	}
	for _, one := range of {
		if count[one.Truth] > count[best] {
			best = one.Truth
		}
	}
	return best
}

func cell(of []Result, r Runtime, common diagnosis.Cause) string {
	for _, one := range of {
		if one.Runtime != r.Name {
			continue
		}
		text := "pulled"
		if !one.Pulled {
			text = fmt.Sprintf("%s %s", one.Cause, one.Confidence)
		}
		if one.Truth != common {
			text += " [" + cmp.Or(string(one.Truth), "-") + "]"
		}
		return text
	}
	return "missing"
}

// Complaints says what is wrong with the verdicts, whatever the table was
// before: a confirmed cause that is not the truth, a truth with several causes,
// a pull that works or fails against the truth.
func Complaints(all []Result) []string {
	var out []string
	for _, one := range all {
		where := one.Case + " on " + one.Runtime
		switch {
		case one.Pulled && one.Truth != "":
			out = append(out, fmt.Sprintf("%s: the pull works, but %s is said to be wrong", where, one.Truth))
		case !one.Pulled && one.Truth == "":
			out = append(out, fmt.Sprintf("%s: the pull fails, but nothing is said to be wrong: %s", where, one.Message))
		case one.Confidence == diagnosis.Confirmed && one.Cause != one.Truth:
			out = append(out, fmt.Sprintf("%s: %s is confirmed, but the truth is %s", where, one.Cause, one.Truth))
		}
	}
	for _, of := range byCase(all) {
		out = append(out, disagreements(of)...)
	}
	return append(out, refuted(all)...)
}

// refuted are the verdicts that a trial has refuted, and those that none could
// try out.
func refuted(all []Result) []string {
	var out []string
	for _, one := range all {
		where := one.Case + " on " + one.Runtime
		notReproducible := one.Cause == diagnosis.NotReproducible
		switch {
		case one.Pulled:
		case notReproducible && one.Repeated == nil:
			out = append(out, where+": NotReproducible, but nobody has pulled again")
		case notReproducible && !one.Repeated.Pulled:
			out = append(out, where+": NotReproducible, but the same pull fails again")
		case notReproducible || one.Confidence != diagnosis.Confirmed:
		case one.Healed == nil && one.Cause != one.Truth: // has its own complaint
		case one.Healed == nil:
			out = append(out, fmt.Sprintf("%s: %s is confirmed, but there is no case without it", where, one.Cause))
		case !one.Healed.Pulled:
			out = append(out, fmt.Sprintf("%s: %s is confirmed, but without it the pull fails", where, one.Cause))
		}
	}
	return out
}

// disagreements are the pairs of runtimes with one truth and two causes.
func disagreements(of []Result) []string {
	var out []string
	first := map[diagnosis.Cause]Result{}
	for _, one := range of {
		before, seen := first[one.Truth]
		switch {
		case one.Pulled:
		case !seen:
			first[one.Truth] = one
		case before.Cause != one.Cause:
			out = append(out, fmt.Sprintf("%s: %s on %s, %s on %s, but the truth is the same (%s)",
				one.Case, before.Cause, before.Runtime, one.Cause, one.Runtime, one.Truth))
		}
	}
	return out
}

// Texts lists what the kubelet would show for each failure, and what it rests
// on, for people. Ports, addresses and digests are left out.
func Texts(all []Result) string {
	var text strings.Builder
	for _, one := range all {
		if one.Pulled {
			continue
		}
		fmt.Fprintf(&text, "%s on %s (%.0f s), truth %s: %s %s\n", one.Case, one.Runtime, one.Seconds, one.Truth, one.Cause, one.Confidence)
		fmt.Fprintf(&text, "  %s: %s\n  says: %s\n", one.Reason, normalize(one.Message), normalize(one.Summary))
		for name, trial := range map[string]*Trial{"again": one.Repeated, "without the cause": one.Healed} {
			if trial != nil && !trial.Pulled {
				fmt.Fprintf(&text, "  %s: %s\n", name, normalize(trial.Message))
			}
		}
		for _, e := range one.Evidence {
			fmt.Fprintf(&text, "  %s %s %s: %s\n", e.Check, e.Outcome, e.Fault, normalize(e.Detail))
		}
	}
	return text.String()
}

// normalize leaves out of a text what differs from run to run.
func normalize(s string) string {
	for _, r := range [][2]string{
		{`[0-9a-f]{64}`, "DIGEST"},
		{`\b\d{1,3}(\.\d{1,3}){3}:\d+`, "ADDRESS"},
		{`\[[0-9a-f:]+\]:\d+`, "ADDRESS"},
		{`(\.[a-z]+):\d{2,5}\b`, "$1:PORT"},
	} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return s
}
