package faulttest

import (
	"bytes"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/registry/registrytest"
)

// maker makes the repository of a case from a good image of its name.
type maker func(c content, good image) (*repository, error)

// contentCases are about what the registry gives out without complaint.
func (w *World) contentCases() ([]spec, error) {
	var out []spec
	for _, table := range []map[string]maker{bytesCases(), platformCases()} {
		for _, name := range sortedKeys(table) {
			s, err := w.content(name, table[name])
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	formats, err := w.formatCases()
	return append(out, formats...), err
}

// content is a case whose truth is ContentCorrupt unless another is known.
func (w *World) content(name string, make maker) (spec, error) {
	c := content{name: name, platform: w.config.Platform}
	good, err := c.build()
	if err != nil {
		return spec{}, err
	}
	repo, err := make(c, good)
	truth := ContentCorrupt
	switch name {
	case "platform-index":
		truth = PlatformMismatch
	case "platform-index-works", "platform-single":
		truth = Works // though such a container does not start
	}
	return simple(name, "", truth, repo), err
}

// bytesCases are images whose parts do not fit together.
func bytesCases() map[string]maker {
	with := func(change func(*content) error) maker {
		return func(c content, _ image) (*repository, error) {
			if err := change(&c); err != nil {
				return nil, err
			}
			i, err := c.build()
			return &repository{content: i}, err
		}
	}
	return map[string]maker{
		"layer-digest-mismatch": func(_ content, good image) (*repository, error) {
			return &repository{content: good, layer: gives(document{good.layer.mediaType, flipped(good.layer.body)}, good.layer.digest())}, nil
		},
		"config-digest-mismatch": func(_ content, good image) (*repository, error) {
			return &repository{content: good, config: gives(document{good.config.mediaType, flipped(good.config.body)}, good.config.digest())}, nil
		},
		"manifest-digest-mismatch": func(_ content, good image) (*repository, error) {
			return &repository{content: good, byDigest: gives(good.top.altered(), good.top.digest())}, nil
		},
		"layer-short": func(_ content, good image) (*repository, error) {
			half := good.layer.body[:len(good.layer.body)/2]
			return &repository{content: good, layer: gives(document{good.layer.mediaType, half}, good.layer.digest())}, nil
		},
		"layer-broken-off": func(_ content, good image) (*repository, error) {
			return &repository{content: good, layer: brokenOff(good.layer)}, nil
		},
		"layer-size-wrong": func(c content, good image) (*repository, error) {
			c.layerSize = int64(len(good.layer.body)) + 100
			i, err := c.build()
			return &repository{content: i}, err
		},
		"layer-diffid-wrong": with(func(c *content) error { c.diffID = digest.FromString("something else"); return nil }),
		"layer-gzip-broken": with(func(c *content) error {
			unpacked, err := tarball(c.name)
			if err != nil {
				return err
			}
			packed, err := registrytest.Zipped(unpacked)
			c.layer = packed[:len(packed)-20]
			return err
		}),
		"layer-no-archive": with(func(c *content) (err error) {
			c.layer, err = registrytest.Zipped(bytes.Repeat([]byte("This is "+c.name+", and no archive. "), 32))
			return err
		}),
	}
}

// platformCases are images for other platforms.
func platformCases() map[string]maker {
	other := func(c content, platform string) (image, error) {
		c.platform = platform
		return c.build()
	}
	return map[string]maker{
		"platform-single": func(c content, _ image) (*repository, error) {
			i, err := other(c, foreign)
			return &repository{content: i}, err
		},
		"platform-index": func(c content, _ image) (*repository, error) {
			i, err := other(c, foreign)
			if err != nil {
				return nil, err
			}
			list, err := index(map[string]image{foreign: i, "linux/mips64le": i})
			return &repository{content: list}, err
		},
		"platform-index-works": func(c content, good image) (*repository, error) {
			i, err := other(c, foreign)
			if err != nil {
				return nil, err
			}
			list, err := index(map[string]image{foreign: i, c.platform: good})
			return &repository{content: list}, err
		},
		"child-manifest-404": func(c content, good image) (*repository, error) {
			list, err := index(map[string]image{c.platform: good})
			return &repository{content: list.without(good.top)}, err
		},
	}
}

// formatCases are images in formats that a runtime may not know.
func (w *World) formatCases() ([]spec, error) {
	var failure error
	made := func(name string, truth Truth, c content) spec {
		c.name, c.platform = name, w.config.Platform
		i, err := c.build()
		if err != nil {
			failure = err
		}
		return simple(name, "", truth, &repository{content: i})
	}
	old, payload, err := schema1(content{name: "schema-1", platform: w.config.Platform})
	if err != nil {
		return nil, err
	}
	unpacked, err := tarball("layer-uncompressed-works")
	if err != nil {
		return nil, err
	}
	chart := content{
		configType: "application/vnd.cncf.helm.config.v1+json", config: []byte(`{"name":"chart","version":"0.1.0"}`),
		layerType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
	}
	const strange = "application/vnd.example.image.manifest.v9+json"
	out := []spec{
		// containerd converted such images up to 2.0.
		simple("schema-1", "", UnsupportedFormat, &repository{content: old, manifest: gives(old.top, payload)}).
			on(Containerd16, Works).on(Containerd17, Works),
		made("media-type-unknown", UnsupportedFormat, content{manifestType: strange}),
		// The transfer service of 2.1 and later stores what it cannot unpack.
		made("layer-type-unknown", UnsupportedFormat, content{layerType: "application/vnd.example.layer"}).on(Containerd24, Works),
		made("layer-uncompressed-works", Works, content{layerType: ocispec.MediaTypeImageLayer, layer: unpacked}),
		made("helm-chart", Works, chart),
	}
	return out, failure
}
