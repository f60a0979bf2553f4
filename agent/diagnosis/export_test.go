package diagnosis

// ReadMessagesWith has the scenarios' texts read by read. The package with the
// reader imports this one, so only the external tests can bring it.
func ReadMessagesWith(read func(reason, text string) *MessageFacts) { readMessage = read }
