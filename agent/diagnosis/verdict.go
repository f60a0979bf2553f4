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
	// Evidence is all of it, in the order of the checks.
	Evidence []Evidence
}

// SummaryLimit is the most bytes that a summary may have.
const SummaryLimit = 256
