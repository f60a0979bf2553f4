package registry

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/oci"
)

// maxTags is the maximum number of tags that are requested and returned.
const maxTags = 100

// Error codes of the OCI distribution specification.
const (
	codeNameUnknown     = "NAME_UNKNOWN"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeTooManyRequests = "TOOMANYREQUESTS"
)

// fromBlobs requests a digest that is not a manifest's as a blob, as containerd does
// (core/remotes/docker, Resolve), and returns that reply if it exists.
func (c *conversation) fromBlobs(ctx context.Context, r reply) reply {
	if !c.digested || r.status != http.StatusNotFound {
		return r
	}
	blob, err := c.send(ctx, http.MethodHead, PhaseManifest, "", "blobs", c.object)
	if err != nil || !blob.good() || blob.page() {
		return r
	}
	blob.blob = true
	return blob
}

// whatIsMissing returns after a 404 whether the repository is missing or only the tag;
// FaultNotFound if the registry does not reveal it.
func (c *conversation) whatIsMissing(ctx context.Context) Fault {
	r, err := c.tags(ctx, "")
	if err != nil {
		return FaultNotFound
	}
	switch r.status {
	case http.StatusOK:
		return c.fromTags(ctx, r)
	case http.StatusNotFound:
		return c.fromNoTags(ctx, r)
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		return c.fromManifest(ctx)
	default:
		return FaultNotFound // no more requests to an overloaded registry
	}
}

// tags requests the page of the tag list after last.
func (c *conversation) tags(ctx context.Context, last string) (reply, error) {
	query := "n=" + strconv.Itoa(maxTags)
	if last != "" {
		query += "&last=" + url.QueryEscape(last)
	}
	defer c.notes.keepTargets()() // no pull asks for tags, so none needs where they are
	return c.send(ctx, http.MethodGet, PhaseManifest, query, "tags", "list")
}

// fromTags parses a list of tags. An empty one proves nothing: some registries send it for a
// repository that does not exist. If there are more pages, the one around the missing tag is
// more helpful.
func (c *conversation) fromTags(ctx context.Context, r reply) Fault {
	tags := tagsOf(r.body)
	if len(tags) > 0 && !c.digested && strings.Contains(r.header.Get("Link"), "next") {
		if near, err := c.tags(ctx, neighbor(c.object)); err == nil && near.good() {
			if page := tagsOf(near.body); len(page) > 0 {
				tags = page
			}
		}
	}
	// The registry lists the tag but does not have it.
	if len(tags) == 0 || slices.Contains(tags, c.object) {
		return FaultNotFound
	}
	c.answer.Content.Tags = tags
	return FaultTagNotFound
}

// neighbor returns a string that sorts somewhat before a tag in the list's lexical order (OCI
// distribution specification, content discovery): the tag without its last number or word, or
// its first half.
func neighbor(tag string) string {
	if i := strings.LastIndexAny(tag, ".-_"); i > 0 {
		return tag[:i]
	}
	return tag[:(len(tag)+1)/2]
}

// tagsOf parses a list of tags and returns the valid ones, sorted.
func tagsOf(body []byte) []string {
	tags, err := oci.ReadTags(body, isTag)
	if err != nil {
		return nil
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	return tags[:min(len(tags), maxTags)]
}

// fromNoTags interprets a 404 for the list of tags. One that is not from a registry's API
// proves nothing, but if there is no /v2/ either, the server has no such API.
func (c *conversation) fromNoTags(ctx context.Context, r reply) Fault {
	if r.ofAPI() {
		return FaultRepositoryNotFound
	}
	if !c.hasPinged && !r.page() {
		defer c.notes.keepTargets()()
		ping, err := c.pinged(ctx)
		c.answer.Response.NoAPI = errors.Is(err, errPing) && ping.status == http.StatusNotFound
	}
	return FaultNotFound
}

// fromManifest requests the manifest once more by GET, if the list of tags is refused: the
// error body says what is unknown.
func (c *conversation) fromManifest(ctx context.Context) Fault {
	r, err := c.manifest(ctx, http.MethodGet, PhaseManifest)
	if err != nil {
		return FaultNotFound
	}
	switch codes := oci.ReadErrorCodes(r.body); {
	case slices.Contains(codes, codeManifestUnknown):
		return FaultTagNotFound
	case slices.Contains(codes, codeNameUnknown):
		return FaultRepositoryNotFound
	default:
		return FaultNotFound
	}
}

func isTag(s string) bool { return s != "" && reference.TagRegexp.FindString(s) == s }
