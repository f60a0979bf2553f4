package peers

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"status": "Name:\ta b\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\nThreads:\t3\n",
		"stat":   "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 1 1 1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := read(dir)
	if want := (use{2 << 20, 1 << 20, 2 * time.Second}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := read(filepath.Join(dir, "none")); err == nil {
		t.Error("no error for a process that has ended")
	}
}

func TestWorkingSet(t *testing.T) {
	t.Parallel()
	const metrics = `container_memory_working_set_bytes{container="app",namespace="running",pod="app-1"} 5 1700000000000
container_memory_working_set_bytes{container="peer",namespace="peers",pod="node-exporter"} 1.5e+07 1700000000000
`
	for name, want := range map[string]float64{"node_exporter": 1.5e7, "kubelet": 0} {
		if got := workingSet(metrics, name); got != want {
			t.Errorf("%s: %f, want %f", name, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := table([]program{
		{name: "whypull", metrics: "127.0.0.1:9779", use: use{resident: 3 << 20, anonymous: 1 << 20}, workingSet: 2 << 20, idle: 60 * time.Millisecond, scraped: 120 * time.Millisecond, span: time.Minute},
		{name: "kubelet", use: use{resident: 1 << 20}},
	})
	const want = "  program  resident  anonymous  working set  CPU idle  CPU scraped\n" +
		"  whypull   3.0 MiB    1.0 MiB      2.0 MiB      1.0m         2.0m\n" +
		"  kubelet   1.0 MiB    0.0 MiB            -         -            -\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
