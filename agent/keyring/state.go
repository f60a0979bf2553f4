package keyring

// state returns how the kubelet reads the secret for image t, given the effective
// keys whose credentials it tries.
func (c content) state(t target, tried []string) SecretState {
	const most = 500
	out := SecretState{Name: c.name, Legacy: c.legacy, Problem: c.problem, Reason: c.reason}
	idle := 0
	for _, e := range c.entries {
		if !e.triedAs(tried) {
			idle++
		}
		if e.triedAs(tried) || idle <= most {
			out.Entries = append(out.Entries, e.state(t, tried))
		}
	}
	return out
}

func (e entry) triedAs(tried []string) bool { return e.usable() && among(tried, e.effective) }

func (e entry) state(t target, tried []string) Entry {
	out := Entry{Key: safeKey(e.key), Host: e.host(), Doubt: e.doubt()}
	if out.Matches = e.triedAs(tried); !out.Matches {
		out.Why, out.Text = e.whyNot(t)
		return out
	}
	if e.effective == hubKey && t.registry != hub && !t.matches(hubKey) {
		out.Doubt = HubCredentialLeak
	}
	if out.Doubt == "" && e.endsInWord(t) {
		out.Doubt = OtherFolder
	}
	out.Text, out.Padding = doubtText(out.Doubt, e), e.padding()
	return out
}

// host returns the entry's host[:port] as the kubelet matches it, safe to show.
func (e entry) host() string {
	at, ok := newEndpoint(e.effective)
	switch {
	case !e.address || !ok:
		return ""
	case at.port != "":
		return printable(at.host() + ":" + at.port)
	default:
		return printable(at.host())
	}
}
