package oci

import "encoding/json"

// maxErrors is how many errors of a registry's answer are looked at.
const maxErrors = 32

// ReadTags returns the tags of a registry's list that keep wants. Longer ones
// than a tag can be are left out.
func ReadTags(body []byte, keep func(tag string) bool) ([]string, error) {
	list := struct {
		Tags tags `json:"tags"`
	}{tags{keep: keep}}
	err := json.Unmarshal(body, &list)
	return list.Tags.kept, err
}

type tags struct {
	keep func(string) bool
	kept []string
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *tags) UnmarshalJSON(raw []byte) error {
	t.kept = nil
	if err := is(raw, '['); err != nil {
		return err
	}
	for value := range values(raw) {
		if err := isText(value); err != nil {
			return err
		}
		var tag string
		if len(value) <= maxText && json.Unmarshal(value, &tag) == nil && t.keep(tag) {
			t.kept = append(t.kept, tag)
		}
	}
	return nil
}

// ReadErrorCodes returns the codes of a registry's errors, the first 32 at most.
func ReadErrorCodes(body []byte) ([]string, error) {
	var answer struct {
		Errors errorCodes `json:"errors"`
	}
	err := json.Unmarshal(body, &answer)
	return answer.Errors, err
}

type errorCodes []string

// UnmarshalJSON implements json.Unmarshaler.
func (e *errorCodes) UnmarshalJSON(raw []byte) error {
	*e = nil
	if err := is(raw, '['); err != nil {
		return err
	}
	for value := range values(raw) {
		if len(*e) == maxErrors {
			break
		}
		var one struct {
			Code text `json:"code"`
		}
		if err := json.Unmarshal(value, &one); err != nil {
			return err
		}
		*e = append(*e, string(one.Code))
	}
	return nil
}
