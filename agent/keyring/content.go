package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Problem is the reason why the kubelet takes no credentials from a secret.
type Problem string

// The problems. With Malformed the kubelet finds no credentials for the whole pod;
// with the others it silently goes on.
const (
	WrongType        Problem = "WrongType"        // neither of the two types of pull secrets
	MissingData      Problem = "MissingData"      // the data key of its type is missing
	EmptyData        Problem = "EmptyData"        // the data key of its type is empty
	Malformed        Problem = "Malformed"        // does not decode
	WrongShape       Problem = "WrongShape"       // decodes but has the format of the other type
	NoEntries        Problem = "NoEntries"        // decodes but names no registry
	OnlyTokens       Problem = "OnlyTokens"       // tokens without user and password: the kubelet sends empty credentials
	EmptyCredentials Problem = "EmptyCredentials" // no entry has a user or a password: the kubelet sends empty credentials
)

// content is what the kubelet reads from one secret.
type content struct {
	name       string
	uid        string
	changed    time.Time
	ofNode     bool
	ofProvider bool
	legacy     bool // a secret of TypeDockercfg
	problem    Problem
	reason     string
	entries    []entry // sorted by key
}

// read decodes a secret as secretsToTrackedDockerConfigs does.
func read(s Secret) content {
	c := content{name: s.Name, uid: s.UID, changed: s.Changed, legacy: s.Type == TypeDockercfg}
	dataKey := s.dataKey()
	if dataKey == "" || !s.has(dataKey) {
		c.problem, c.reason = unread(s, dataKey)
		return c
	}
	c.fill(dataKey, s.Data.Reveal()[dataKey])
	return c
}

func (c *content) fill(dataKey string, data []byte) {
	d := decode(dataKey, data)
	c.entries = d.auths.sorted()
	c.problem, c.reason = d.verdict()
}

// unread returns why the kubelet ignores a secret.
func unread(s Secret, dataKey string) (Problem, string) {
	if dataKey == "" {
		return WrongType, fmt.Sprintf("its type is %s, not %q; the kubelet ignores it", quote(s.Type), TypeDockerConfigJSON)
	}
	if _, ok := s.Data.Reveal()[dataKey]; ok {
		return EmptyData, fmt.Sprintf("its %q is empty; the kubelet ignores it", dataKey)
	}
	other, otherType := DataDockercfg, TypeDockercfg
	if dataKey == DataDockercfg {
		other, otherType = DataDockerConfigJSON, TypeDockerConfigJSON
	}
	if s.has(other) {
		return MissingData, fmt.Sprintf("it has %q, which belongs to the type %q, and no %q; the kubelet ignores it",
			other, otherType, dataKey)
	}
	return MissingData, fmt.Sprintf("it has no %q; the kubelet ignores it", dataKey)
}

// decoded is the content of a data key. fault is why the kubelet rejects it; empty
// if it does not.
type decoded struct {
	auths auths
	shape shape
	fault string
}

// shape describes the format of a content, to explain one without entries.
type shape struct {
	dataKey      string
	hasAuths     bool // a dockerconfigjson's outer level
	stores       bool // credHelpers or credsStore, which the kubelet does not read
	entriesAtTop bool // a dockercfg's level: registry keys at the top
}

func decode(dataKey string, data []byte) decoded {
	d := decoded{shape: shapeOf(dataKey, data)}
	var found faults
	o := outer{Auths: auths{faults: &found}, HTTPHeaders: headers{faults: &found}}
	into := any(&o)
	if dataKey == DataDockercfg {
		into = &o.Auths
	}
	d.fault = found.first(json.Unmarshal(data, into), data)
	d.auths = o.Auths
	return d
}

// outer has the fields of the kubelet's DockerConfigJSON.
type outer struct {
	Auths       auths   `json:"auths"`
	HTTPHeaders headers `json:"HttpHeaders"`
}

// faults collects the sentences on why the kubelet rejects a secret. Decoding goes on
// after a fault, so that the other entries are known. Both are in document order.
type faults struct {
	entries []string // of single entries
	levels  []string // of the levels above the entries
}

// first returns the sentence that corresponds to the kubelet's error: invalid JSON
// comes first, then a faulty entry, which ends the kubelet's decoding, then a wrong
// type outside of entries.
func (f faults) first(err error, data []byte) string {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return notJSON(syntax, data)
	case len(f.entries) == 1:
		return f.entries[0]
	case len(f.entries) > 1:
		return fmt.Sprintf("%s (and %d more)", f.entries[0], len(f.entries)-1)
	case len(f.levels) > 0:
		return f.levels[0]
	case err != nil:
		return mistyped(err, "its content")
	default:
		return ""
	}
}

// headers is a map of strings that the kubelet decodes but does not use: it rejects
// a secret in which it has another type.
type headers struct{ faults *faults }

// UnmarshalJSON records a wrong type. It returns no error.
func (h *headers) UnmarshalJSON(data []byte) error {
	var fields map[string]string
	if json.Unmarshal(data, &fields) != nil {
		h.faults.levels = append(h.faults.levels, `its "HttpHeaders" are not an object with strings`)
	}
	return nil
}

func (d decoded) verdict() (Problem, string) {
	switch {
	case d.fault != "":
		return Malformed, d.fault
	case d.shape.mistaken(d.auths):
		return WrongShape, d.shape.mistake()
	case len(d.auths.entries) == 0:
		return NoEntries, d.shape.emptiness()
	case !d.auths.all(entry.empty):
		return "", ""
	case !d.auths.all(func(e entry) bool { return !e.token }):
		return OnlyTokens, `no entry has a user and password, only an "identitytoken" or "registrytoken", which the kubelet does not read`
	case d.shape.stores:
		return EmptyCredentials, `no entry has a user and password: they are in a credential store ("credsStore", "credHelpers"), which the kubelet does not use`
	default:
		return EmptyCredentials, "no entry has a user and password"
	}
}

// shapeOf returns the shape of the top level; none if data does not decode.
func shapeOf(dataKey string, data []byte) shape {
	var top map[string]json.RawMessage
	if json.Unmarshal(data, &top) != nil {
		return shape{dataKey: dataKey}
	}
	sh := shape{dataKey: dataKey}
	for name, value := range top {
		switch {
		case strings.EqualFold(name, "auths"):
			sh.hasAuths = true
		case strings.EqualFold(name, "credHelpers"), strings.EqualFold(name, "credsStore"):
			sh.stores = true
		case holdsCredential(value):
			sh.entriesAtTop = true
		}
	}
	return sh
}

func holdsCredential(value json.RawMessage) bool {
	var e struct{ Auth, Username, Password json.RawMessage }
	return json.Unmarshal(value, &e) == nil && len(e.Auth)+len(e.Username)+len(e.Password) > 0
}

// mistaken reports whether a secret of one type has the content of the other: the
// kubelet then finds nothing, or an entry for a registry named "auths".
func (s shape) mistaken(a auths) bool {
	if s.dataKey == DataDockercfg {
		return s.hasAuths && a.all(entry.empty)
	}
	return s.entriesAtTop && len(a.entries) == 0
}

func (s shape) mistake() string {
	if s.dataKey == DataDockercfg {
		return fmt.Sprintf(`its %q has an "auths" level, which belongs to the type %q; the kubelet finds no credentials in it`,
			DataDockercfg, TypeDockerConfigJSON)
	}
	return fmt.Sprintf(`its %q has the registries at the top and not under "auths"; the kubelet finds no credentials in it`,
		DataDockerConfigJSON)
}

func (s shape) emptiness() string {
	switch {
	case s.stores:
		return `it has no credentials, only a credential store ("credsStore", "credHelpers"), which the kubelet does not use`
	case s.dataKey == DataDockerConfigJSON && !s.hasAuths:
		return `it has no "auths"`
	default:
		return "it has no entry for any registry"
	}
}

// auths is the map from registry keys to entries, the kubelet's DockerConfig.
type auths struct {
	entries map[string]entry
	faults  *faults
}

// UnmarshalJSON is called once per "auths" in the document, with valid JSON. As in the
// kubelet, a second one adds to the first and null removes all.
func (a *auths) UnmarshalJSON(data []byte) error {
	var entries map[string]json.RawMessage
	switch err := json.Unmarshal(data, &entries); {
	case err != nil:
		a.faults.levels = append(a.faults.levels, mistyped(err, "its list of registries"))
	case entries == nil:
		a.entries = nil
	default:
		a.add(json.NewDecoder(bytes.NewReader(data)))
	}
	return nil
}

// add keeps the last of several entries with the same key, but the faults of all.
func (a *auths) add(d *json.Decoder) {
	if a.entries == nil {
		a.entries = map[string]entry{}
	}
	_, _ = d.Token() // the brace
	for d.More() {
		key, _ := d.Token()
		name, _ := key.(string)
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return
		}
		e := newEntry(name, value)
		a.entries[name] = e
		if e.fault != "" {
			a.faults.entries = append(a.faults.entries, e.fault)
		}
	}
}

func (a auths) sorted() []entry {
	var out []entry
	for _, key := range slices.Sorted(maps.Keys(a.entries)) {
		out = append(out, a.entries[key])
	}
	return out
}

func (a auths) all(is func(entry) bool) bool {
	for _, e := range a.entries {
		if !is(e) {
			return false
		}
	}
	return true
}

func notJSON(err *json.SyntaxError, data []byte) string {
	hint := ""
	inner, bad := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data)))
	switch {
	case bad == nil && json.Valid(inner):
		hint = ": it is base64-encoded twice"
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		hint = ": it begins with a byte order mark"
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		hint = ": it is UTF-16, as > in Windows PowerShell writes it, not UTF-8"
	}
	return fmt.Sprintf("its content is not valid JSON (at byte %d)%s", err.Offset, hint)
}

// mistyped describes a value of a wrong JSON type without showing it.
func mistyped(err error, where string) string {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return where + " cannot be decoded"
	}
	got, _, _ := strings.Cut(wrong.Value, " ")
	if slices.Contains([]string{"auth", "username", "password", "email"}, wrong.Field) {
		return fmt.Sprintf("the %q field of %s is %s, not a string", wrong.Field, where, article(got))
	}
	return fmt.Sprintf("%s is %s, not an object", where, article(got))
}

// article returns the name of a JSON type with its article.
func article(kind string) string {
	switch kind {
	case "array", "object":
		return "an " + kind
	case "bool":
		return "a boolean"
	default:
		return "a " + kind
	}
}
