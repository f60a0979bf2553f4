package check

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/containerd/platforms"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Schema is the version of the JSON output. Within it fields are only ever
// added.
const Schema = "whypull.dev/check/v1"

// Document is the JSON output, with reports of type R.
type Document[R any] struct {
	Schema string `json:"schema"`
	// Pullable reports whether all images can be pulled or need no pull.
	Pullable bool   `json:"pullable"`
	Platform string `json:"platform"`
	// Runtime is the container runtime's name, version and socket, or why none was used.
	Runtime string `json:"runtime"`
	// Notes say what in the input was ignored or has no effect.
	Notes []string `json:"notes"`
	Pods  []Pod[R] `json:"pods"`
}

// Pod is the result for one pod. For an image on the command line only Pullable
// and Report are set.
type Pod[R any] struct {
	// Source is the file and the document in it.
	Source    string `json:"source,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Pullable  bool   `json:"pullable"`
	// Report is like the annotation whypull.dev/report but never shortened. An image
	// that can be pulled has the cause NotReproducible in it.
	Report R `json:"report"`
}

func (c *checker) json(all []result) (string, error) { return encode(c.document(all)) }

func (c *checker) yaml(all []result) (string, error) {
	text, err := c.json(all)
	if err != nil {
		return "", err
	}
	out, err := yaml.JSONToYAML([]byte(text))
	return string(out), err
}

// encode returns indented JSON that is safe to show on a terminal.
func encode(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // the remedy's <placeholders> are to be read by people
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return escaped(b.String()), nil
}

// escaped returns JSON with control and formatting characters as \u…, including C1
// and bidirectional controls, which package json does not escape. Outside of
// strings JSON has none but line breaks.
func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r != '\n' && r <= 0xFFFF && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			fmt.Fprintf(&b, `\u%04x`, r)
		case r > 0xFFFF && unicode.Is(unicode.Cf, r):
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (c *checker) document(all []result) Document[any] {
	d := Document[any]{
		Schema: Schema, Pullable: len(good(all)) == len(all), Platform: platforms.Format(c.platform), Runtime: c.runtimeSays,
		Notes: append(append([]string{}, c.notes...), c.objects.notes...), Pods: []Pod[any]{},
	}
	for _, own := range byPod(all) {
		var verdicts []diagnosis.Verdict
		for _, r := range own {
			verdicts = append(verdicts, r.verdict)
		}
		p := Pod[any]{Pullable: len(good(own)) == len(own), Report: c.options.Report(verdicts, c.name, c.now)}
		if from := own[0].target.pod; from != nil {
			p.Source, p.Kind, p.Namespace, p.Name = from.at, from.kind, from.namespace, from.name
		}
		d.Pods = append(d.Pods, p)
	}
	return d
}

// byPod returns the results of each pod together.
func byPod(all []result) [][]result {
	var out [][]result
	for i, r := range all {
		if i == 0 || r.target.pod != all[i-1].target.pod {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], r)
	}
	return out
}
