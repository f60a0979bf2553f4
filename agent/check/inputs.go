package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFiles is the maximum number of manifest files, and maxInput that of their bytes.
const (
	maxFiles = 10_000
	maxInput = 128 << 20
)

// manifests returns the files that the values of -f name. Like kubectl, it replaces a
// directory by its files with the extensions of manifests, in the order of their names,
// and descends into subdirectories only if recursive. Links to directories are not
// followed, so that there are no cycles.
func manifests(names []string, recursive bool) ([]string, error) {
	var out []string
	for _, name := range names {
		if name == stdinName && slices.Contains(out, stdinName) {
			return nil, errors.New("standard input (-) can be given once")
		}
		if info, err := os.Stat(name); name == stdinName || err != nil || !info.IsDir() { // reading the file returns the error
			out = append(out, name)
			continue
		}
		files, err := manifestsIn(name, recursive)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	if len(out) > maxFiles {
		return nil, fmt.Errorf("more than %d files", maxFiles)
	}
	return out, nil
}

// manifestsIn returns the manifest files in a directory.
func manifestsIn(dir string, recursive bool) ([]string, error) {
	root := filepath.Clean(dir)
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		root = resolved // WalkDir does not follow a link, not even the root
	}
	var out []string
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case len(out) > maxFiles:
			return filepath.SkipAll
		case e.IsDir() && name != root && !recursive:
			return filepath.SkipDir
		case e.IsDir() || !slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(name)):
			return nil
		}
		info, err := os.Stat(name) // of a link's target
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() { // and no pipe, which may never end
			out = append(out, filepath.Join(dir, strings.TrimPrefix(name, root)))
		}
		return nil
	})
	return out, err
}
