package release

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// allowed are the licenses under which a module may be in a program, by a sentence that
// only they have.
var allowed = map[string]string{
	"Apache-2.0":   "Apache License Version 2.0, January 2004",
	"MIT":          "Permission is hereby granted, free of charge, to any person obtaining a copy",
	"BSD":          "Redistribution and use in source and binary forms, with or without modification, are permitted",
	"ISC":          "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted",
	"MPL-2.0":      "Mozilla Public License Version 2.0",
	"CC-BY-SA-4.0": "Attribution-ShareAlike 4.0 International",
}

// Each module in a released program has a license, and only allowed ones. CC-BY-SA-4.0 is
// that of go-digest's documents, which are in no program.
func TestLicenses(t *testing.T) {
	t.Parallel()
	modules := map[string]string{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		modulesIn(t, system, modules, "./cmd/whypull", "./cmd/kubectl-why_pull")
	}
	if len(modules) < 40 {
		t.Errorf("only %d modules", len(modules))
	}
	for path, dir := range modules {
		kinds, err := licenses(dir)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, kind := range kinds {
			if kind == "" || kind == "CC-BY-SA-4.0" && !strings.HasSuffix(path, "/go-digest") {
				t.Errorf("%s has a license that is not allowed: %q", path, kinds)
			}
		}
	}
}

// modulesIn adds the directories of the modules in some programs, but our own.
func modulesIn(t *testing.T, system string, modules map[string]string, packages ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"list", "-deps", "-tags=grpcnotrace,nethttpomithttp2", "-json=Module"}, packages)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	for in := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Module *struct {
				Path, Dir string
				Main      bool
			}
		}
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module != nil && !p.Module.Main {
			modules[p.Module.Path] = p.Module.Dir
		}
	}
}

// licenses returns the kinds of a module's license files; a kind that is not allowed is
// empty.
func licenses(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var kinds []string
	for _, f := range files {
		if f.IsDir() || !regexp.MustCompile(`(?i)^(licen[cs]e|copying)`).MatchString(f.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, kind(string(text)))
	}
	if len(kinds) == 0 {
		return nil, errors.New("no license")
	}
	return kinds, nil
}

func kind(text string) string {
	words := strings.Join(strings.Fields(text), " ")
	for name, sentence := range allowed {
		if strings.Contains(words, sentence) {
			return name
		}
	}
	return ""
}

func TestLicenseKinds(t *testing.T) {
	t.Parallel()
	ours, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	if got := kind(string(ours)); got != "Apache-2.0" {
		t.Errorf("our own license: %q", got)
	}
	if got := kind("GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007"); got != "" {
		t.Errorf("the GPL is %q", got)
	}
	if _, err := licenses(t.TempDir()); err == nil {
		t.Error("a module without a license has one")
	}
}
