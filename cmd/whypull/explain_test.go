package main

import (
	"strings"
	"testing"
)

func TestExplainMessages(t *testing.T) {
	t.Parallel()
	in := `{"id":"a","message":"dial tcp: lookup reg.example on 10.0.0.53:53: no such host"}

pull QPS exceeded
{"message":"Back-off pulling image \"x\""}
{not json: 429 Too Many Requests
`
	want := `{"id":"a","cause":"RegistryNameNotFound","label":"dns_nxdomain","confidence":"Suspected"}
{"id":"3","cause":"PullThrottled","label":"pull_qps_exceeded","confidence":"Suspected"}
{"id":"4","cause":"Unknown","label":"unknown","confidence":"Suspected"}
{"id":"5","cause":"RateLimited","label":"rate_limited","confidence":"Suspected"}
`
	var out strings.Builder
	if err := explainMessages(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestExplainMessagesTooLong(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := explainMessages(strings.NewReader(strings.Repeat("x", maxLine+1)), &out)
	if err == nil || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("error %v, want one about standard input", err)
	}
}
