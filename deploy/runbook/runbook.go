// Package runbook holds a page on each cause: what it means, how to be sure, how
// to mend it and how to prevent it. The head of a page is made from the table of
// causes, the sections below it are written by hand and stand in the page alone.
package runbook

import (
	"embed"
	"fmt"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// BaseURL is where the pages are published: the page of a cause is at
// BaseURL + cause + ".md". Alerts give it as their runbook_url.
const BaseURL = "https://github.com/whypull/whypull/blob/main/deploy/runbook/"

//go:embed *.md
var pages embed.FS

// URL returns the address of the page on a cause.
func URL(c diagnosis.Cause) string { return BaseURL + file(c) }

// Page returns the page on a cause as Markdown: its head from the table's entry,
// then the sections. The error says that there is no page.
func Page(e diagnosis.Entry) (string, error) {
	text, err := pages.ReadFile(file(e.Cause))
	if err != nil {
		return "", fmt.Errorf("cause %q has no page: %w", e.Cause, err)
	}
	return head(e) + sections(string(text)), nil
}

func file(c diagnosis.Cause) string { return string(c) + ".md" }

// sections is what is written by hand: from the first section on.
func sections(page string) string {
	_, after, found := strings.Cut(page, "\n## ")
	if !found {
		return ""
	}
	return "## " + after
}

const notice = "<!-- Generated from the table of causes up to the first section: go test ./deploy/runbook -update -->"

// examples are the names in the pages' commands.
const examples = `The commands are examples for namespace shop, deployment web with pod web-abc12 and container app,
image hub.example.com/team/app:1.2, pull secret pull-hub and node worker-3.`

func head(e diagnosis.Entry) string {
	return fmt.Sprintf("%s\n# %s: %s\n\n%s\n\n- **Remedy:** %s\n- **Who can mend it:** %s\n- **May pass by itself:** %s\n\n%s\n\n",
		notice, e.Cause, e.Title, e.Meaning, e.Advice, Owner(e.Fixer), yes(e.Transient), examples)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Owner says in words who it is that can mend something.
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
