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

// Prometheus is a real Prometheus on a lab's node. It scrapes the agent every second,
// with the users' scrape configuration.
type Prometheus struct {
	lab   *lab.Lab
	stop  context.CancelFunc
	ended chan error
	log   *bytes.Buffer
}

// Sample is one series of a query's result, at one or several times.
type Sample struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time; it may be NaN.
type Point struct {
	At    time.Time
	Value float64
}

// Alert is an alert as Prometheus reports it.
type Alert struct {
	Labels, Annotations map[string]string
	State               string // "pending" or "firing"
	ActiveAt            time.Time
}

// StartPrometheus starts Prometheus with the given rules, until Stop. root is the
// source tree, more are further scrape configurations.
func StartPrometheus(l *lab.Lab, root, rules string, more ...string) (*Prometheus, error) {
	scrape, err := os.ReadFile(filepath.Join(root, "deploy/monitoring/scrape.yaml")) // #nosec G304 -- a path of our own
	if err != nil {
		return nil, fmt.Errorf("scrape configuration: %w", err)
	}
	// In a cluster, Prometheus uses its pod's token.
	const role = "\n  - role: pod\n"
	config := strings.Replace(string(scrape), role, role+"    kubeconfig_file: /etc/kubernetes/admin.kubeconfig\n", 1)
	for name, text := range map[string]string{
		"rules.yaml": rules,
		"prometheus.yaml": "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n" +
			"rule_files: [rules.yaml]\nscrape_configs:\n" + config + strings.Join(more, ""),
	} {
		if err := l.WriteFile(prometheusFolder+"/"+name, []byte(text)); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Prometheus{lab: l, stop: stop, ended: make(chan error, 1), log: &bytes.Buffer{}}
	// A new data directory, because the last samples of an earlier run would still
	// count as current.
	data := fmt.Sprintf("%s/data-%d", prometheusFolder, time.Now().UnixNano())
	cmd := lab.Command("prometheus", "--config.file="+prometheusFolder+"/prometheus.yaml", "--storage.tsdb.path="+data,
		"--web.listen-address="+prometheusAddress, "--log.level=warn")
	cmd.Stderr = p.log
	go func() { p.ended <- l.Run(ctx, cmd) }()
	return p, nil
}

// Stop stops Prometheus and returns its log.
func (p *Prometheus) Stop() string {
	p.stop()
	<-p.ended //nolint:errcheck // it was killed
	return p.log.String()
}

// Query evaluates an expression now.
func (p *Prometheus) Query(ctx context.Context, expr string) ([]Sample, error) {
	return p.samples(ctx, "query?query="+url.QueryEscape(expr))
}

// Range evaluates an expression from one time to another.
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

// Alerts returns the pending and firing alerts.
func (p *Prometheus) Alerts(ctx context.Context) ([]Alert, error) {
	var data struct{ Alerts []Alert }
	err := p.get(ctx, "alerts", &data)
	return data.Alerts, err
}

// get calls the API and decodes the data of its response.
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
