// Package runbook holds one page per cause, with the sections Meaning, Diagnosis,
// Mitigation and Prevention. The head of a page is generated from the table of
// causes; the sections are written by hand, in the page's file.
package runbook

import (
	"embed"
	"fmt"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// BaseURL is the prefix of every page's address: BaseURL + cause + ".md".
// Alerts use that address as their runbook_url.
const BaseURL = "https://github.com/whypull/whypull/blob/main/deploy/runbook/"

//go:embed *.md
var pages embed.FS

// URL returns the address of the cause's page.
func URL(c diagnosis.Cause) string { return BaseURL + file(c) }

// Page returns the page of a cause as Markdown: a head made from e, then the
// sections. It returns an error if the cause has no page.
func Page(e diagnosis.Entry) (string, error) {
	text, err := pages.ReadFile(file(e.Cause))
	if err != nil {
		return "", fmt.Errorf("cause %q has no page: %w", e.Cause, err)
	}
	return head(e) + sections(string(text)), nil
}

func file(c diagnosis.Cause) string { return string(c) + ".md" }

// sections returns the hand-written part of a page, which starts at the first
// section heading.
func sections(page string) string {
	_, after, found := strings.Cut(page, "\n## ")
	if !found {
		return ""
	}
	return "## " + after
}

const notice = "<!-- Generated from the table of causes up to the first section: go test ./deploy/runbook -update -->"

// examples introduces the names that the commands of all pages use.
const examples = `The commands use these names: namespace shop, deployment web with pod web-abc12 and container app, image
hub.example.com/team/app:1.2, pull secret pull-hub and node worker-3.`

func head(e diagnosis.Entry) string {
	return fmt.Sprintf("%s\n# %s: %s\n\n%s\n\n- **Remedy:** %s\n- **Who can fix it:** %s\n- **Can resolve on its own:** %s\n\n%s\n\n",
		notice, e.Cause, e.Title, e.Meaning, e.Advice, Owner(e.Fixer), yes(e.Transient), examples)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Owner returns who can fix a cause, in words: "whoever owns the pod". It returns
// "" for an unknown fixer.
func Owner(f diagnosis.Fixer) string {
	switch f {
	case diagnosis.FixApplication:
		return "whoever owns the pod"
	case diagnosis.FixCluster:
		return "whoever runs the cluster"
	case diagnosis.FixNode:
		return "whoever runs the node"
	case diagnosis.FixRegistry:
		return "whoever runs the registry"
	}
	return ""
}
