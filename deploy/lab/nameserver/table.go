// Package nameserver is a name server that says of one name what each of those
// who ask may be told, and fails in the ways in which name servers fail.
package nameserver

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Record is what is said of a name.
type Record struct {
	// Name is without the last dot. "*.example" stands for every name below
	// example that has no record of its own (RFC 4592).
	Name string `json:"name"`
	// View is to whom it is said; empty for everybody who has no record of
	// their own.
	View string `json:"view,omitempty"`
	Answer
}

// Answer is an answer, or none. The zero value says that the name exists and
// has no addresses.
type Answer struct {
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Alias is the name that this one stands for (CNAME). What is said of that
	// name is said here too.
	Alias string `json:"alias,omitempty"`
	// Rcode is a response code by its name: NXDOMAIN, SERVFAIL, REFUSED.
	Rcode string `json:"rcode,omitempty"`
	// Silent answers never.
	Silent bool `json:"silent,omitempty"`
	// Truncated says over UDP only that the answer is too long for it.
	Truncated bool `json:"truncated,omitempty"`
	// Delay is how long the answer takes.
	Delay time.Duration `json:"delay,omitempty"`
}

// Table is all that a server knows.
type Table []Record

// Find returns what is said of a name in a view: a record of the name before
// one of a wildcard, the view's own before everybody's. A name without any
// does not exist.
func (t Table) Find(view, name string) Answer {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, pattern := range append([]string{name}, wildcards(name)...) {
		for _, v := range []string{view, ""} {
			i := slices.IndexFunc(t, func(r Record) bool { return r.Name == pattern && r.View == v })
			if i >= 0 {
				return t[i].Answer
			}
		}
	}
	return Answer{Rcode: dns.RcodeToString[dns.RcodeNameError]}
}

// wildcards are the patterns that stand for a name, the nearest first.
func wildcards(name string) []string {
	var all []string
	for {
		_, parent, found := strings.Cut(name, ".")
		if !found {
			return all
		}
		all = append(all, "*."+parent)
		name = parent
	}
}

// Write writes the table as a server reads it.
func (t Table) Write() ([]byte, error) {
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("table of names: %w", err)
	}
	return data, nil
}

// ReadTable reads a table from a file.
func ReadTable(file string) (Table, error) {
	data, err := os.ReadFile(file) // #nosec G304 -- the lab's own file
	if err != nil {
		return nil, fmt.Errorf("table of names: %w", err)
	}
	var t Table
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("table of names: %w", err)
	}
	return t, nil
}
