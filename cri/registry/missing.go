package registry

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
)

// maxTags bounds the tags that are asked for and handed on.
const maxTags = 50

// whatIsMissing tells after a 404 whether the repository is missing or only
// the tag. It leaves FaultNotFound if the registry does not let one tell.
func (c *conversation) whatIsMissing(ctx context.Context) diagnosis.Fault {
	r, err := c.send(ctx, http.MethodGet, diagnosis.PhaseManifest, "n=50", "tags", "list")
	if err != nil {
		return diagnosis.FaultNotFound
	}
	switch r.status {
	case http.StatusOK:
		return c.fromTags(r.body)
	case http.StatusNotFound:
		return c.fromNoTags(r)
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		return c.fromManifest(ctx)
	default:
		return diagnosis.FaultNotFound // a registry under load is not asked more
	}
}

// fromTags reads a list of tags. An empty one says nothing: some registries
// give it for a repository that does not exist.
func (c *conversation) fromTags(body []byte) diagnosis.Fault {
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return diagnosis.FaultNotFound
	}
	tags := validTags(list.Tags)
	// A registry that lists the tag and does not have it is at odds with itself.
	if len(tags) == 0 || slices.Contains(tags, c.object) {
		return diagnosis.FaultNotFound
	}
	c.answer.Tags = tags
	return diagnosis.FaultTagNotFound
}

// fromNoTags reads a 404 for the list of tags. One that does not come from a
// registry's API, but from any web server, says nothing.
func (c *conversation) fromNoTags(r reply) diagnosis.Fault {
	code, isAPI := errorCode(r.body)
	c.answer.ErrorCode = code
	if isAPI || strings.HasPrefix(r.header.Get("Docker-Distribution-Api-Version"), "registry/2") {
		return diagnosis.FaultRepositoryNotFound
	}
	return diagnosis.FaultNotFound
}

// fromManifest asks for the manifest once more, this time with a body that
// says what is unknown, where the list of tags is refused.
func (c *conversation) fromManifest(ctx context.Context) diagnosis.Fault {
	r, err := c.manifest(ctx, http.MethodGet, diagnosis.PhaseManifest)
	if err != nil {
		return diagnosis.FaultNotFound
	}
	c.answer.ErrorCode, _ = errorCode(r.body)
	switch c.answer.ErrorCode {
	case CodeManifestUnknown:
		return diagnosis.FaultTagNotFound
	case CodeNameUnknown:
		return diagnosis.FaultRepositoryNotFound
	default:
		return diagnosis.FaultNotFound
	}
}

// errorCode reads the first known code of an error body, and whether the body
// is one of a registry's API.
func errorCode(body []byte) (code ErrorCode, isAPI bool) {
	var answer struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", false
	}
	for _, e := range answer.Errors {
		if code := knownCode(e.Code); code != "" {
			return code, true
		}
	}
	return "", len(answer.Errors) > 0
}

// validTags keeps what the grammar of tags allows, sorted.
func validTags(tags []string) []string {
	var valid []string
	for _, tag := range tags {
		if len(tag) <= 128 && isTag(tag) {
			valid = append(valid, tag)
		}
	}
	slices.Sort(valid)
	valid = slices.Compact(valid)
	return valid[:min(len(valid), maxTags)]
}

func isTag(s string) bool {
	loc := reference.TagRegexp.FindStringIndex(s)
	return loc != nil && loc[0] == 0 && loc[1] == len(s)
}
