package registry

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/oci"
)

// maxTags bounds the tags that are asked for and handed on.
const maxTags = 100

// fromBlobs asks for a digest that is no manifest's among the blobs, and gives
// that answer if there is one, as containerd does (core/remotes/docker,
// Resolve).
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

// whatIsMissing tells after a 404 whether the repository is missing or only
// the tag. It leaves FaultNotFound if the registry does not let one tell.
func (c *conversation) whatIsMissing(ctx context.Context) Fault {
	r, err := c.tags(ctx, "")
	if err != nil {
		return FaultNotFound
	}
	switch r.status {
	case http.StatusOK:
		return c.fromTags(ctx, r)
	case http.StatusNotFound:
		return c.fromNoTags(r)
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		return c.fromManifest(ctx)
	default:
		return FaultNotFound // a registry under load is not asked more
	}
}

// tags asks for a page of the list of tags, that behind the given one.
func (c *conversation) tags(ctx context.Context, last string) (reply, error) {
	query := "n=" + strconv.Itoa(maxTags)
	if last != "" {
		query += "&last=" + url.QueryEscape(last)
	}
	return c.send(ctx, http.MethodGet, PhaseManifest, query, "tags", "list")
}

// fromTags reads a list of tags. An empty one says nothing: some registries
// give it for a repository that does not exist. If there are more than the
// page has, the page about the missing tag is of more help.
func (c *conversation) fromTags(ctx context.Context, r reply) Fault {
	tags := tagsOf(r.body)
	if len(tags) > 0 && !c.digested && strings.Contains(r.header.Get("Link"), "next") {
		if near, err := c.tags(ctx, neighbour(c.object)); err == nil && near.good() {
			if page := tagsOf(near.body); len(page) > 0 {
				tags = page
			}
		}
	}
	// A registry that lists the tag and does not have it is at odds with itself.
	if len(tags) == 0 || slices.Contains(tags, c.object) {
		return FaultNotFound
	}
	c.answer.Tags = tags
	return FaultTagNotFound
}

// neighbour is what comes some way before a tag in the list's order, which is
// that of characters (OCI distribution specification, content discovery): the
// tag without its last number or word, or its first half.
func neighbour(tag string) string {
	if i := strings.LastIndexAny(tag, ".-_"); i > 0 {
		return tag[:i]
	}
	return tag[:(len(tag)+1)/2]
}

// tagsOf reads a list of tags, and keeps what the grammar of tags allows, sorted.
func tagsOf(body []byte) []string {
	tags, err := oci.ReadTags(body, isTag)
	if err != nil {
		return nil
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	return tags[:min(len(tags), maxTags)]
}

// fromNoTags reads a 404 for the list of tags. One that does not come from a
// registry's API, but from any web server, says nothing.
func (c *conversation) fromNoTags(r reply) Fault {
	code, speaksAPI := errorCode(r.body)
	c.answer.ErrorCode = code
	if speaksAPI || isAPI(r.header) {
		return FaultRepositoryNotFound
	}
	return FaultNotFound
}

// fromManifest asks for the manifest once more, this time with a body that
// says what is unknown, where the list of tags is refused.
func (c *conversation) fromManifest(ctx context.Context) Fault {
	r, err := c.manifest(ctx, http.MethodGet, PhaseManifest)
	if err != nil {
		return FaultNotFound
	}
	c.answer.ErrorCode, _ = errorCode(r.body)
	switch c.answer.ErrorCode {
	case CodeManifestUnknown:
		return FaultTagNotFound
	case CodeNameUnknown:
		return FaultRepositoryNotFound
	default:
		return FaultNotFound
	}
}

// errorCode reads the first known code of an error body, and whether the body
// is one of a registry's API.
func errorCode(body []byte) (code ErrorCode, isAPI bool) {
	codes, err := oci.ReadErrorCodes(body)
	if err != nil {
		return "", false
	}
	for _, said := range codes {
		if code := knownCode(said); code != "" {
			return code, true
		}
	}
	return "", len(codes) > 0
}

func isTag(s string) bool {
	if len(s) > 128 {
		return false
	}
	loc := reference.TagRegexp.FindStringIndex(s)
	return loc != nil && loc[0] == 0 && loc[1] == len(s)
}
