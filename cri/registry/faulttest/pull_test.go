package faulttest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
)

// puller pulls as containerd does, with containerd's own client, and keeps
// nothing.
type puller struct {
	w     *World
	limit time.Duration // of connecting, of a handshake, and of waiting for an answer
}

// pull tries the credentials in turn, as the kubelet does. The error is the last.
func (p puller) pull(ctx context.Context, c Case) error {
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	ctx = log.WithLogger(ctx, logrus.NewEntry(quiet))
	if len(c.Credentials) == 0 {
		return p.attempt(ctx, c.Image, Credential{})
	}
	var err error
	for _, l := range c.Credentials {
		if err = p.attempt(ctx, c.Image, l); err == nil {
			return nil
		}
	}
	return err
}

func (p puller) attempt(ctx context.Context, image string, l Credential) error {
	hosts := config.ConfigureHosts(ctx, config.HostOptions{
		HostDir:      config.HostDirFromRoot(filepath.Join(p.w.Root(), "etc/containerd/certs.d")),
		Credentials:  func(string) (string, string, error) { return l.Username.Reveal(), l.Password.Reveal(), nil },
		UpdateClient: p.update,
	})
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: hosts})
	name, desc, err := resolver.Resolve(ctx, image)
	if err != nil {
		return err
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return err
	}
	return p.manifest(ctx, fetcher, desc)
}

// update gives containerd's client the world's names, authority and proxy.
func (p puller) update(client *http.Client) error {
	t, ok := client.Transport.(*http.Transport)
	if !ok {
		return fmt.Errorf("client with a %T", client.Transport)
	}
	t.DialContext = p.dial
	t.Proxy = p.w.Proxy
	t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = p.limit, p.limit
	if t.TLSClientConfig.RootCAs == nil { // else hosts.toml has named one more
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
	}
	t.TLSClientConfig.RootCAs.AppendCertsFromPEM(p.w.Authority())
	return nil
}

func (p puller) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		addrs, err := p.w.Resolve(ctx, host)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: err}
		}
		host = addrs[0].String()
	}
	return (&net.Dialer{Timeout: p.limit}).DialContext(ctx, network, net.JoinHostPort(host, port))
}

// manifest fetches an index or a manifest, and what it names.
func (p puller) manifest(ctx context.Context, f remotes.Fetcher, desc ocispec.Descriptor) error {
	isIndex := desc.MediaType == ocispec.MediaTypeImageIndex
	if !isIndex && desc.MediaType != ocispec.MediaTypeImageManifest {
		return errors.New("unexpected media type " + desc.MediaType)
	}
	body, err := get(ctx, f, desc)
	if err != nil {
		return err
	}
	if isIndex {
		return p.index(ctx, f, body)
	}
	return children(ctx, f, body)
}

func (p puller) index(ctx context.Context, f remotes.Fetcher, body []byte) error {
	var list ocispec.Index
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	for _, child := range list.Manifests {
		if child.Platform.OS+"/"+child.Platform.Architecture == p.w.config.Platform {
			return p.manifest(ctx, f, child)
		}
	}
	return errors.New("no match for platform")
}

// children fetches what a manifest names, and takes the layers apart.
func children(ctx context.Context, f remotes.Fetcher, body []byte) error {
	var m ocispec.Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	text, err := get(ctx, f, m.Config)
	if err != nil {
		return err
	}
	var c ocispec.Image
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	for i, layer := range m.Layers {
		packed, err := get(ctx, f, layer)
		if err != nil {
			return err
		}
		if m.Config.MediaType != ocispec.MediaTypeImageConfig {
			continue // nothing to unpack
		}
		if err := unpack(layer.MediaType, packed, c.RootFS.DiffIDs[i]); err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
	return nil
}

// get fetches all of a part, and holds it against its size and digest.
func get(ctx context.Context, f remotes.Fetcher, desc ocispec.Descriptor) ([]byte, error) {
	r, err := f.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	body, err := io.ReadAll(r)
	switch {
	case err != nil:
		return nil, err
	case int64(len(body)) != desc.Size:
		return nil, fmt.Errorf("short read: expected %d bytes but got %d", desc.Size, len(body))
	case digest.FromBytes(body) != desc.Digest:
		return nil, fmt.Errorf("unexpected commit digest of %s", desc.MediaType)
	}
	return body, nil
}

// unpack takes a layer apart, as far as an archive can be.
func unpack(mediaType string, packed []byte, diffID digest.Digest) error {
	data := packed
	switch {
	case mediaType == ocispec.MediaTypeImageLayerGzip:
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return err
		}
		if data, err = io.ReadAll(z); err != nil {
			return err
		}
	case !strings.HasPrefix(mediaType, "application/vnd.oci.image.layer."):
		return errors.New("unexpected media type " + mediaType)
	}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if digest.FromBytes(data) != diffID {
		return errors.New("wrong diff id")
	}
	return nil
}
