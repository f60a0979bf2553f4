package nodeconfig

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/hostfs"
)

const (
	pluginImages = "io.containerd.cri.v1.images" // containerd 2.0+
	pluginCRI    = "io.containerd.grpc.v1.cri"   // before, and in files that are migrated
	pluginV1     = "cri"                         // in files of version 1
	// maxImports is the maximum number of files that a configuration may import.
	maxImports = 64
)

// settings are containerd's settings that determine the endpoints.
type settings struct {
	// registry has the node's credentials, and headers for its registries.
	registry credential.Redacted[registrySettings]
	file     string // the last one that has any of the registry's settings
	// localPull: the CRI plugin pulls itself, not through the transfer service, which
	// determines what a config_path with several directories means.
	localPull bool
	// sandboxImage is the sandbox (pause) image; "" if unset.
	sandboxImage string
	// root is containerd's data directory; "" if unset.
	root string
}

// configFile is the part of containerd's configuration file that is needed.
type configFile struct {
	Version int            `toml:"version"`
	Imports []string       `toml:"imports"`
	Root    string         `toml:"root"`
	Plugins map[string]any `toml:"plugins"`
}

// readContainerd reads the configuration file and what it imports, in the
// order and with the precedence of containerd (cmd/containerd/server/config,
// LoadConfig): later files win. Since 2.0 the tables of a plugin are merged;
// before, its whole section was replaced.
func readContainerd(fs hostfs.FS, file string, v runtimeVersion) (settings, []Notice) {
	files, notices := readImports(fs, file)
	common := commonVersion(v, files)
	merged, last, root := map[string]any{}, file, ""
	for _, f := range files {
		root = cmp.Or(f.config.Root, root)
		images := f.config.images(v, common)
		if len(table(images, "registry")) == 0 && f.config.setsRegistries() {
			notices = append(notices, Notice{Kind: NoticeSectionIgnored, Path: f.name})
		}
		if len(table(images, "registry")) > 0 {
			last = f.name
		}
		if !v.atLeast(2, 0) && f.config.Plugins[oldPlugin(common)] != nil {
			clear(merged)
		}
		merge(merged, images)
	}
	if v.presetsPath() {
		presetPath(merged, common < newestVersion(v))
	}
	s, err := newSettings(merged)
	if err != nil {
		notices = append(notices, Notice{Kind: NoticeUnreadable, Path: last})
	}
	s.file, s.root = last, root
	return s, append(notices, notImported(fs, file, files)...)
}

// presetPath sets config_path to its default as containerd 2.2.0 and 2.2.1 do: where the key
// is missing, and where it is empty in a file that is migrated (plugins/cri/images,
// migrateConfig), in both cases beside mirrors too.
func presetPath(images map[string]any, migrated bool) {
	registry := map[string]any{}
	maps.Copy(registry, table(images, "registry"))
	if value, set := registry["config_path"]; !set || migrated && value == "" {
		registry["config_path"] = defaultConfigPath
	}
	images["registry"] = registry
}

// notImported reports files of registries in the folder conf.d beside a configuration
// file that it does not import. "containerd config default" has the import since 2.2, and
// no version reads the folder without it.
func notImported(fs hostfs.FS, file string, files []importedFile) (notices []Notice) {
	names := fs.Glob(path.Join(path.Dir(file), "conf.d/*.toml"))
	for _, name := range names[:min(len(names), maxImports)] {
		isIt := func(f importedFile) bool { return f.name == name }
		var config configFile
		if readTOML(fs, name, &config) == nil && config.setsRegistries() && !slices.ContainsFunc(files, isIt) {
			notices = append(notices, Notice{Kind: NoticeNotImported, Path: name})
		}
	}
	return notices
}

// importedFile is one file of a configuration.
type importedFile struct {
	name   string
	config configFile
}

func readImports(fs hostfs.FS, file string) (files []importedFile, notices []Notice) {
	seen := map[string]bool{}
	pending := []string{file}
	for len(pending) > 0 && len(seen) < maxImports {
		name := pending[0]
		pending = pending[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		var config configFile
		err := readTOML(fs, name, &config)
		if errors.Is(err, os.ErrNotExist) && name == file {
			continue // containerd has its defaults then
		}
		if err != nil {
			notices = append(notices, Notice{Kind: NoticeUnreadable, Path: name, Line: lineOf(err)})
			continue
		}
		files = append(files, importedFile{name, config})
		pending = append(pending, resolveImports(fs, name, config.Imports)...)
	}
	return files, notices
}

// readTOML decodes a file of the node.
func readTOML(fs hostfs.FS, name string, into any) error {
	data, err := fs.ReadFile(name, maxConfigFile)
	if err != nil {
		return err
	}
	return toml.Unmarshal(data, into)
}

// lineOf returns the line in an error of the TOML decoder; 0 if it has none.
func lineOf(err error) int {
	decode, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return 0
	}
	line, _ := decode.Position()
	return line
}

// resolveImports returns the node's paths of imported files. Imports are relative to
// the importing file and may be patterns with a star.
func resolveImports(fs hostfs.FS, parent string, imports []string) []string {
	var names []string
	for _, name := range imports {
		if !path.IsAbs(name) {
			name = path.Join(path.Dir(parent), name)
		}
		if name = path.Clean(name); strings.Contains(name, "*") {
			names = append(names, fs.Glob(name)...)
		} else {
			names = append(names, name)
		}
	}
	return names
}

// commonVersion returns the version that decides for all files under which names
// their plugins are looked up: until 1.7 that of the last file that has one, 1 without;
// until 2.2 the same, but of files of version 1 only the names are brought up to date
// (LoadConfig), and what the files have together is migrated (server.New). Since 2.3
// each file is migrated by its own.
func commonVersion(v runtimeVersion, files []importedFile) int {
	common, least := 1, 1
	if v.atLeast(2, 0) {
		common, least = newestVersion(v), 2
	}
	for _, f := range files {
		if f.config.Version >= least {
			common = f.config.Version
		}
	}
	return common
}

// newestVersion returns the newest version of a file that containerd 2.x knows
// (version.ConfigVersion). A file of that version is not migrated.
func newestVersion(v runtimeVersion) int {
	if v.atLeast(2, 3) {
		return 4
	}
	return 3
}

// images returns the settings of the image plugin. In older files they may be in the
// CRI plugin's section, which containerd 2.x migrates. containerd 1.x has one name for
// the section, by the common version.
func (c configFile) images(v runtimeVersion, common int) map[string]any {
	if !v.atLeast(2, 0) {
		return flatten(table(c.Plugins, oldPlugin(common)))
	}
	images, version := table(c.Plugins, pluginImages), c.Version
	if !v.atLeast(2, 3) {
		version = common
	}
	if version >= newestVersion(v) {
		return images
	}
	old := table(c.Plugins, pluginCRI)
	if len(old) == 0 && c.Version < 2 {
		old = table(c.Plugins, pluginV1)
	}
	both := map[string]any{}
	maps.Copy(both, images)
	maps.Copy(both, flatten(old))
	return both
}

// oldPlugin returns the name of the CRI plugin's section for containerd 1.x.
func oldPlugin(common int) string {
	if common < 2 {
		return pluginV1
	}
	return pluginCRI
}

// flatten returns the image settings in an old CRI plugin's section, with the names of
// the image plugin.
func flatten(old map[string]any) map[string]any {
	images := map[string]any{}
	migrate(images, old, "registry", "max_concurrent_downloads", "image_pull_with_sync_fs")
	migrate(images, table(old, "containerd"), "disable_snapshot_annotations", "discard_unpacked_layers")
	if sandbox, ok := old["sandbox_image"]; ok {
		images["pinned_images"] = map[string]any{"sandbox": sandbox}
	}
	return images
}

func migrate(dst, src map[string]any, keys ...string) {
	for _, key := range keys {
		if value, ok := src[key]; ok {
			dst[key] = value
		}
	}
}

func merge(dst, src map[string]any) {
	for key, value := range src {
		into, ok := dst[key].(map[string]any)
		from, isTable := value.(map[string]any)
		if ok && isTable {
			merge(into, from)
			continue
		}
		dst[key] = value
	}
}

func table(parent map[string]any, key string) map[string]any {
	t, _ := parent[key].(map[string]any)
	return t
}

// newSettings determines like CheckLocalImagePullConfigs (internal/cri/config) whether
// the transfer service pulls images.
func newSettings(images map[string]any) (settings, error) {
	registry, err := decodeRegistry(table(images, "registry"))
	sandbox, _ := table(images, "pinned_images")["sandbox"].(string)
	concurrent, downloads := images["max_concurrent_downloads"].(int64)
	return settings{
		registry: credential.Redact(registry), sandboxImage: sandbox,
		localPull: len(registry.Mirrors) > 0 || len(registry.Configs) > 0 || len(registry.Auths) > 0 ||
			images["use_local_image_pull"] == true ||
			images["disable_snapshot_annotations"] == false ||
			images["discard_unpacked_layers"] == true ||
			images["image_pull_with_sync_fs"] == true ||
			downloads && concurrent != 3,
	}, err
}
