package scale

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// sample is what the API server says of itself at one time.
type sample struct {
	at time.Time
	// cpu is in seconds, memory in bytes.
	cpu, memory float64
	// requests has the agents' finished requests by verb and resource, and writes the
	// successful writes of etcd.
	requests   map[string]float64
	writes     float64
	simulated  int64 // of writes, those of played kubelets
	podWatches int
}

// sample reads the API server's metrics.
func (s *simulation) sample(ctx context.Context) (sample, error) {
	body, err := s.client.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return sample{}, fmt.Errorf("the API server's metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		return sample{}, fmt.Errorf("the API server's metrics: %w", err)
	}
	out := sample{at: time.Now(), simulated: s.statuses.Load(), requests: map[string]float64{}}
	for _, m := range families["process_cpu_seconds_total"].GetMetric() {
		out.cpu = m.GetCounter().GetValue()
	}
	for _, m := range families["process_resident_memory_bytes"].GetMetric() {
		out.memory = m.GetGauge().GetValue()
	}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		if name := requested(labels(m)); name != "" {
			out.requests[name] += m.GetCounter().GetValue()
		}
	}
	for _, m := range families["etcd_requests_total"].GetMetric() {
		if op := labels(m)["operation"]; op == "create" || op == "update" || op == "delete" {
			out.writes += m.GetCounter().GetValue()
		}
	}
	for _, m := range families["apiserver_longrunning_requests"].GetMetric() {
		if l := labels(m); l["verb"] == "WATCH" && l["resource"] == "pods" {
			out.podWatches += int(m.GetGauge().GetValue())
		}
	}
	return out, nil
}

func labels(m *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, l := range m.GetLabel() {
		out[l.GetName()] = l.GetValue()
	}
	return out
}

// requested returns a name for a kind of request that agents make and the simulation does
// not, or "". The simulation creates, reads and deletes pods and puts their status; it
// lists them while it waits.
func requested(l map[string]string) string {
	resource := l["resource"]
	if l["subresource"] != "" {
		resource += "/" + l["subresource"]
	}
	dry := ""
	if l["dry_run"] != "" {
		dry = " (dry run)"
	}
	name := l["verb"] + " " + resource + dry
	switch resource {
	case "secrets", "events":
		return name
	case "pods", "pods/status":
		if l["verb"] == "WATCH" || l["verb"] == "PATCH" {
			return name
		}
	}
	return ""
}

// report says what has happened since a sample. The verdicts, if any, are what requests
// and writes are divided by.
func (s *simulation) report(ctx context.Context, what string, before sample, verdicts int) error {
	after, err := s.sample(ctx)
	if err != nil {
		return err
	}
	seconds := after.at.Sub(before.at).Seconds()
	cpu := (after.cpu - before.cpu) / seconds * 1000
	s.say(what, "API server: %.0f millicores over %.1f s (%.2f per agent), %.0f MiB resident (%+.2f per agent); %.1f etcd writes/s",
		cpu, seconds, cpu/float64(s.Agents), after.memory/(1<<20), (after.memory-before.memory)/(1<<20)/float64(s.Agents), (after.writes-before.writes)/seconds)
	var parts []string
	total := 0.0
	for _, name := range slices.SortedFunc(maps.Keys(after.requests), func(a, b string) int {
		return cmp.Or(cmp.Compare(after.requests[b]-before.requests[b], after.requests[a]-before.requests[a]), strings.Compare(a, b))
	}) {
		if n := after.requests[name] - before.requests[name]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%s %.0f", name, n))
		}
	}
	per := ""
	others := s.others.since(before.at)
	if verdicts > 0 {
		own := after.writes - before.writes - float64(after.simulated-before.simulated) - float64(updates(others))
		per = fmt.Sprintf(", %.2f a pod, %.2f etcd writes a pod", total/float64(verdicts), own/float64(verdicts))
	}
	s.say(what, "requests of agents that ended: %.0f (%.1f/s%s): %s", total, total/seconds, per, cmp.Or(strings.Join(parts, ", "), "none"))
	s.say(what, "another client meanwhile: %s", latencies(others))
	return nil
}

// timeline reports how many watches on pods are open, every second if the API server
// answers as soon, until stop is called.
func (s *simulation) timeline(ctx context.Context, what string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan []string)
	start := time.Now()
	go func() {
		var open []string
		for {
			began := time.Now()
			now, err := s.sample(ctx)
			if err == nil {
				open = append(open, fmt.Sprintf("%.0f s: %d", now.at.Sub(start).Seconds(), now.podWatches))
			}
			if pause(ctx, max(time.Second-time.Since(began), 0)) != nil {
				ended <- open
				return
			}
		}
	}()
	return func() {
		cancel()
		s.say(what, "watches on pods after %s", strings.Join(<-ended, ", "))
	}
}
