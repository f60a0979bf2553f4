package diagnosis

// Verdict is the answer for one failure: one cause, what it rests on, and
// what to do next.
type Verdict struct {
	Failure    Failure
	Cause      Cause
	Confidence Confidence
	// Summary is one sentence for people, at most SummaryLimit bytes.
	Summary string
	// Remedy is what to run, a shell line each; lines that begin with # say
	// where or why.
	Remedy []string
	// Hosts are the servers that the pull needs, each as host:port, sorted: those that
	// were asked, and those to which they have sent whypull.
	Hosts []string
	// Evidence is all of it, in the order of the checks.
	Evidence []Finding
}

// Finding is evidence with its sentence, see Detail.
type Finding struct {
	Evidence
	Detail string
}

// Findings returns evidence with its sentences.
func Findings(f Failure, evidence []Evidence) []Finding {
	out := make([]Finding, len(evidence))
	for i := range evidence {
		out[i] = Finding{Evidence: evidence[i], Detail: Detail(f, &evidence[i])}
	}
	return out
}

// SummaryLimit is the most bytes that a summary may have.
const SummaryLimit = 256

// Confidence says what a verdict rests on.
type Confidence string

// The confidences, strongest first.
const (
	Confirmed Confidence = "Confirmed" // our own check reproduced it, with a typed result
	Likely    Confidence = "Likely"    // our check and the runtime's text agree, or the check was indirect
	Suspected Confidence = "Suspected" // only the runtime's text says so
)
