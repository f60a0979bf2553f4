package report

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/whypull/whypull/agent/diagnosis"
)

// validate checks a report against the schema that the repository ships.
func validate(t *testing.T, report string) {
	t.Helper()
	if err := checkSchema(t, report); err != nil {
		t.Errorf("%v\nin %s", err, report)
	}
}

func checkSchema(t *testing.T, report string) error {
	t.Helper()
	schema, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(report))
	if err != nil {
		return err
	}
	return schema.Validate(doc)
}

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	return c.Compile("schema.json")
})

// shipped is the part of the schema that these tests look at.
type shipped struct {
	Properties map[string]struct{ Const string }
	Required   []string
	Defs       map[string]struct {
		Enum       []string
		Required   []string
		Properties map[string]any
	} `json:"$defs"`
}

func readSchema(t *testing.T) shipped {
	t.Helper()
	raw, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s shipped
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The enums of the schema are generated from the constants; only this test writes
// the file, since the others compile it.
//
//go:generate go test . -run ^TestSchemaEnums$ -update
func TestSchemaEnums(t *testing.T) {
	t.Parallel()
	var causes []string
	for _, e := range diagnosis.Catalogue() {
		causes = append(causes, string(e.Cause))
	}
	enums := map[string][]string{
		"cause": causes, "check": texts(diagnosis.Checks()), "kind": texts(kinds()),
		"outcome": texts(outcomes()), "confidence": texts(confidences()),
	}
	if *update {
		writeEnums(t, enums)
	}
	s := readSchema(t)
	for name, want := range enums {
		if got := s.Defs[name].Enum; !slices.Equal(got, want) {
			t.Errorf("enum of %s (update with go generate):\ngot  %q\nwant %q", name, got, want)
		}
	}
	if got := s.Properties["schema"].Const; got != Schema {
		t.Errorf("schema: got %q, want %q", got, Schema)
	}
}

// writeEnums replaces the values of enums in schema.json and leaves the rest of
// the file as it is.
func writeEnums(t *testing.T, enums map[string][]string) {
	t.Helper()
	raw, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range enums {
		enum := regexp.MustCompile(`(?s)("` + name + `": \{\n      "description": "[^\n]*",\n      "enum": )\[.*?\]`)
		if n := len(enum.FindAll(raw, -1)); n != 1 {
			t.Fatalf("schema.json: got %d enums of %s, want 1", n, name)
		}
		list, err := json.MarshalIndent(values, "      ", "  ")
		if err != nil {
			t.Fatal(err)
		}
		raw = enum.ReplaceAll(raw, append([]byte("${1}"), list...))
	}
	if err := os.WriteFile("schema.json", raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func texts[S ~string](all []S) []string {
	var out []string
	for _, s := range all {
		out = append(out, string(s))
	}
	return out
}

// Every field of a report is in the schema, and required unless it has omitempty.
func TestSchemaKnowsTheFields(t *testing.T) {
	t.Parallel()
	s := readSchema(t)
	check := func(name string, of any, properties []string, required []string) {
		t.Helper()
		var all, always []string
		for f := range reflect.TypeOf(of).Fields() {
			field, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			all = append(all, field)
			if option != "omitempty" {
				always = append(always, field)
			}
		}
		slices.Sort(all)
		slices.Sort(properties)
		if !slices.Equal(all, properties) {
			t.Errorf("properties of %s:\ngot  %q\nwant %q", name, properties, all)
		}
		if !slices.Equal(always, required) {
			t.Errorf("required of %s:\ngot  %q\nwant %q", name, required, always)
		}
	}
	check("document", Document{}, slices.Collect(maps.Keys(s.Properties)), s.Required)
	check("container", Container{}, slices.Collect(maps.Keys(s.Defs["container"].Properties)), s.Defs["container"].Required)
	check("pulling", Pulling{}, slices.Collect(maps.Keys(s.Defs["pulling"].Properties)), s.Defs["pulling"].Required)
	check("evidence", Entry{}, slices.Collect(maps.Keys(s.Defs["evidence"].Properties)), s.Defs["evidence"].Required)
}

func TestSchemaTakes(t *testing.T) {
	t.Parallel()
	full := annotate(t, newVerdict())[ReportAnnotation]
	tests := map[string]string{
		"a full document":  full,
		"no containers":    `{"schema":"whypull.dev/v1","node":"n","observedAt":"2026-01-02T03:04:05Z","containers":[]}`,
		"later properties": strings.Replace(full, `{"schema"`, `{"later":1,"schema"`, 1),
		"in a container":   strings.Replace(full, `{"name"`, `{"later":[],"name"`, 1),
		"in evidence":      strings.Replace(full, `{"check"`, `{"later":{},"check"`, 1),
	}
	for name, doc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			validate(t, doc)
		})
	}
}

func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	full := annotate(t, newVerdict())[ReportAnnotation]
	tests := map[string]struct{ old, new string }{
		"another version":       {`"whypull.dev/v1"`, `"whypull.dev/v2"`},
		"no node":               {`"node":`, `"x":`},
		"time of another day":   {`03:04:05Z`, `99:04:05Z`},
		"time with a zone":      {`03:04:05Z`, `03:04:05+01:00`},
		"no since":              {`"since":`, `"x":`},
		"unknown kind":          {`"kind":"container"`, `"kind":"sidecar"`},
		"unknown cause":         {`"PullSecretNoMatch"`, `"NoIdea"`},
		"unknown confidence":    {`"Confirmed"`, `"Certain"`},
		"unknown check":         {`"check":"image"`, `"check":"disk"`},
		"unknown outcome":       {`"outcome":"Failed"`, `"outcome":"failed"`},
		"fault with blanks":     {`"fault":"ImageAbsent"`, `"fault":"image absent"`},
		"remedy not a list":     {`"remedy":[`, `"remedy":null,"x":[`},
		"empty summary":         {`"summary":"`, `"summary":"","x":"`},
		"omitted none":          {`"node":`, `"omitted":0,"node":`},
		"containers not a list": {`"containers":[`, `"containers":{},"x":[`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc := strings.Replace(full, tt.old, tt.new, 1)
			if doc == full {
				t.Fatalf("no %q in %s", tt.old, full)
			}
			if checkSchema(t, doc) == nil {
				t.Errorf("got no error, want one for %s", doc)
			}
		})
	}
}
