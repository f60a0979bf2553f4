// Package nameserver is a DNS server that can give each client a different answer for
// the same name, and can fail in the ways in which DNS servers fail.
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

// Record is the answer for a name.
type Record struct {
	// Name has no trailing dot. "*.example" matches every name below example that has
	// no record of its own (RFC 4592).
	Name string `json:"name"`
	// View selects the clients that get this answer; empty means all that have no
	// record of their own.
	View string `json:"view,omitempty"`
	Answer
}

// Answer describes a response. The zero value means that the name exists and has no
// addresses.
type Answer struct {
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Alias is the canonical name (CNAME). The answer includes that name's.
	Alias string `json:"alias,omitempty"`
	// Rcode is the name of a response code: NXDOMAIN, SERVFAIL, REFUSED.
	Rcode string `json:"rcode,omitempty"`
	// Silent means that there is no response.
	Silent bool `json:"silent,omitempty"`
	// Truncated sends a truncated response over UDP.
	Truncated bool `json:"truncated,omitempty"`
	// Delay is the time before the response.
	Delay time.Duration `json:"delay,omitempty"`
}

// Table holds all records of a server.
type Table []Record

// Find returns the answer for a name in a view. A record of the name takes precedence
// over a wildcard, a record of the view over one for all views. A name without a record
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

// wildcards returns the wildcards that match a name, the closest first.
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

// Write encodes the table for ReadTable.
func (t Table) Write() ([]byte, error) {
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("DNS table: %w", err)
	}
	return data, nil
}

// ReadTable reads a table from a file.
func ReadTable(file string) (Table, error) {
	data, err := os.ReadFile(file) // #nosec G304 -- the lab's own file
	if err != nil {
		return nil, fmt.Errorf("DNS table: %w", err)
	}
	var t Table
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("DNS table: %w", err)
	}
	return t, nil
}
