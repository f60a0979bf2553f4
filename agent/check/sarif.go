package check

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// runbookURL is the address of the runbook's pages, one for each cause.
const runbookURL = "https://github.com/whypull/whypull/blob/main/deploy/runbook/"

// The objects of SARIF 2.1.0 that are needed.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		Results    []sarifResult `json:"results"`
		ColumnKind string        `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
		FullDescription  sarifText `json:"fullDescription"`
		Help             sarifText `json:"help"`
		HelpURI          string    `json:"helpUri"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			StartLine int `json:"startLine"`
		} `json:"region"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
)

// sarif returns the images that cannot be pulled as a SARIF log, whose rules are their
// causes.
func (c *checker) sarif(all []result) (string, error) {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}, Tool: sarifTool{sarifDriver{
		Name: "whypull", Version: c.options.Registries.Version, InformationURI: "https://github.com/whypull/whypull", Rules: rules(all),
	}}}
	for _, r := range all {
		if r.pullable {
			continue
		}
		cause := string(r.verdict.Cause)
		one := sarifResult{RuleID: cause, Level: "error", Message: sarifText{remedied(r)}, Locations: []sarifLocation{locationOf(r)}}
		one.RuleIndex = slices.IndexFunc(run.Tool.Driver.Rules, func(rule sarifRule) bool { return rule.ID == cause })
		if r.verdict.Cause == diagnosis.Unknown {
			one.Level = "warning"
		}
		run.Results = append(run.Results, one)
	}
	return encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

// rules returns the causes of the images that cannot be pulled, in the order of the
// table of causes.
func rules(all []result) []sarifRule {
	out := []sarifRule{}
	for _, e := range diagnosis.Catalogue() {
		if slices.ContainsFunc(all, func(r result) bool { return !r.pullable && r.verdict.Cause == e.Cause }) {
			out = append(out, sarifRule{
				ID: string(e.Cause), ShortDescription: sarifText{e.Title}, FullDescription: sarifText{e.Meaning},
				Help: sarifText{e.Meaning + "\n\n" + e.Advice}, HelpURI: runbookURL + string(e.Cause) + ".md",
			})
		}
	}
	return out
}

// remedied returns the image, the summary and the remedy of a result.
func remedied(r result) string {
	lines := append([]string{r.target.failure.Image + ": " + r.verdict.Summary}, r.verdict.Remedy...)
	for i := range lines {
		lines[i] = look{}.plain(lines[i])
	}
	return strings.Join(lines, "\n")
}

// locationOf returns where an image is named.
func locationOf(r result) sarifLocation {
	f, p := r.target.failure, r.target.pod
	if p == nil {
		return sarifLocation{Logical: []sarifLogical{{look{}.plain(f.Image), "image"}}}
	}
	name := look{}.plain(fmt.Sprintf("%s/%s/%s/%s", p.kind, p.namespace, p.name, f.Container))
	out := sarifLocation{Logical: []sarifLogical{{name, string(f.Kind)}}}
	if p.from.file != stdinName {
		out.Physical = &sarifPhysical{}
		out.Physical.Artifact.URI = uriOf(p.from.file)
		out.Physical.Region.StartLine = r.target.line
	}
	return out
}

// uriOf returns the URI of a file, relative for a relative path. Control characters in
// it are escaped.
func uriOf(file string) string {
	u := url.URL{Path: slashed(file)}
	if filepath.IsAbs(file) {
		u.Scheme, u.Path = "file", "/"+strings.TrimPrefix(u.Path, "/")
	}
	return u.String()
}

// slashed returns a path with slashes and without a leading "./".
func slashed(file string) string { return filepath.ToSlash(filepath.Clean(file)) }
