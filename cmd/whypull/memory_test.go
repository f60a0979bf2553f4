//go:build linux

package main

import (
	"testing"
	"testing/fstest"
)

func TestLimitMemory(t *testing.T) {
	t.Parallel()
	const v2, v1 = "memory.max", "memory/memory.limit_in_bytes"
	for name, tc := range map[string]struct {
		files map[string]string
		env   map[string]string
		want  int64
	}{
		"no cgroup":             {},
		"version 2":             {files: map[string]string{v2: "100663296\n"}, want: 54358128},
		"version 1":             {files: map[string]string{v1: "100663296\n"}, want: 54358128},
		"both":                  {files: map[string]string{v2: "100\n", v1: "200\n"}, want: 54},
		"version 2, no limit":   {files: map[string]string{v2: "max\n"}},
		"version 1, no limit":   {files: map[string]string{v1: "9223372036854771712\n"}},
		"nonsense":              {files: map[string]string{v2: "much\n"}},
		"negative":              {files: map[string]string{v2: "-100\n"}},
		"empty":                 {files: map[string]string{v2: ""}},
		"the environment's":     {files: map[string]string{v2: "100663296\n"}, env: map[string]string{"GOMEMLIMIT": "10MiB"}},
		"none, the environment": {files: map[string]string{v2: "100663296\n"}, env: map[string]string{"GOMEMLIMIT": "off"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{}
			for path, text := range tc.files {
				files[path] = &fstest.MapFile{Data: []byte(text)}
			}
			var set int64
			got := limitMemory(files, func(k string) (string, bool) { v, ok := tc.env[k]; return v, ok },
				func(n int64) int64 { set = n; return 0 })
			if got != tc.want || set != tc.want {
				t.Errorf("returned %d, set %d, want %d", got, set, tc.want)
			}
		})
	}
}

func TestLimitProcessors(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]int{"": 1, "4": 0} {
		set := 0
		limitProcessors(func(string) (string, bool) { return env, env != "" }, func(n int) int { set = n; return 0 })
		if set != want {
			t.Errorf("GOMAXPROCS=%s: set %d, want %d", env, set, want)
		}
	}
}
