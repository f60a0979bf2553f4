package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/whypull/whypull/deploy/lab"
)

const (
	prometheusAddress = "127.0.0.1:9790" // inside the lab
	prometheusFolder  = "/var/lib/lab/prometheus"
)

// Prometheus is a real one on a lab's node. It scrapes the agent every second,
// with the configuration that users have.
type Prometheus struct {
	lab   *lab.Lab
	stop  context.CancelFunc
	ended chan error
	log   *bytes.Buffer
}

// Sample is a series of a query's answer at one moment, or at several.
type Sample struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time; it may be NaN.
type Point struct {
	At    time.Time
	Value float64
}

// Alert is an alert as Prometheus has it.
type Alert struct {
	Labels, Annotations map[string]string
	State               string // pending or firing
	ActiveAt            time.Time
}

// StartPrometheus starts it with these rules. root is the source tree. It runs
// until Stop.
func StartPrometheus(l *lab.Lab, root, rules string) (*Prometheus, error) {
	scrape, err := os.ReadFile(filepath.Join(root, "deploy/monitoring/scrape.yaml")) // #nosec G304 -- a path of our own
	if err != nil {
		return nil, fmt.Errorf("scrape configuration: %w", err)
	}
	// Inside a cluster it asks with the token of its pod.
	const role = "\n  - role: pod\n"
	config := strings.Replace(string(scrape), role, role+"    kubeconfig_file: /etc/kubernetes/admin.kubeconfig\n", 1)
	for name, text := range map[string]string{
		"rules.yaml": rules,
		"prometheus.yaml": "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n" +
			"rule_files: [rules.yaml]\nscrape_configs:\n" + config,
	} {
		if err := l.WriteFile(prometheusFolder+"/"+name, []byte(text)); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Prometheus{lab: l, stop: stop, ended: make(chan error, 1), log: &bytes.Buffer{}}
	// A folder of its own: what an earlier one has seen last would count as being so still.
	data := fmt.Sprintf("%s/data-%d", prometheusFolder, time.Now().UnixNano())
	cmd := lab.Command("prometheus", "--config.file="+prometheusFolder+"/prometheus.yaml", "--storage.tsdb.path="+data,
		"--web.listen-address="+prometheusAddress, "--log.level=warn")
	cmd.Stderr = p.log
	go func() { p.ended <- l.Run(ctx, cmd) }()
	return p, nil
}

// Stop ends it and returns what it has logged.
func (p *Prometheus) Stop() string {
	p.stop()
	<-p.ended //nolint:errcheck // it was killed
	return p.log.String()
}

// Query returns the answer to an expression at this moment.
func (p *Prometheus) Query(ctx context.Context, expr string) ([]Sample, error) {
	return p.samples(ctx, "query?query="+url.QueryEscape(expr))
}

// Range returns the answers to an expression from one time to another.
func (p *Prometheus) Range(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Sample, error) {
	return p.samples(ctx, fmt.Sprintf("query_range?query=%s&start=%d&end=%d&step=%g", url.QueryEscape(expr), from.Unix(), to.Unix(), step.Seconds()))
}

func (p *Prometheus) samples(ctx context.Context, query string) ([]Sample, error) {
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  *[2]any
			Values [][2]any
		}
	}
	if err := p.get(ctx, query, &data); err != nil {
		return nil, err
	}
	var out []Sample
	for _, r := range data.Result {
		if r.Value != nil {
			r.Values = append(r.Values, *r.Value)
		}
		s := Sample{Labels: r.Metric}
		for _, v := range r.Values {
			value, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			at, ok := v[0].(float64)
			if err != nil || !ok {
				return nil, fmt.Errorf("value of a series: %v", v)
			}
			s.Points = append(s.Points, Point{time.UnixMilli(int64(at * 1000)), value})
		}
		out = append(out, s)
	}
	return out, nil
}

// Alerts returns the alerts that are pending or firing.
func (p *Prometheus) Alerts(ctx context.Context) ([]Alert, error) {
	var data struct{ Alerts []Alert }
	err := p.get(ctx, "alerts", &data)
	return data.Alerts, err
}

// get asks the API and reads its data.
func (p *Prometheus) get(ctx context.Context, path string, data any) error {
	body, err := Get(ctx, p.lab, "http://"+prometheusAddress+"/api/v1/"+path)
	if err != nil {
		return err
	}
	answer := struct{ Data any }{data}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return fmt.Errorf("answer of Prometheus to %s: %w", path, err)
	}
	return nil
}
