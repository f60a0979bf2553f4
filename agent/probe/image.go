package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri"
)

// Images tells whether the runtime has an image, and which runtime it is.
type Images interface {
	Version(ctx context.Context) (name, version string, err error)
	Image(ctx context.Context, ref string) (img cri.Image, present bool, err error)
	OtherNames(ctx context.Context, ref string) ([]string, error)
}

// checkImage asks the runtime for the image, as the kubelet's own check before
// a pull does (images.imagePullPrecheck).
func (c *Collector) checkImage(ctx context.Context, f diagnosis.Failure) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckImage}
	if _, err := reference.ParseNormalizedNamed(f.Image); err != nil {
		e.Outcome, e.Fault, e.Detail = diagnosis.Failed, diagnosis.FaultNameInvalid, "the image reference does not parse: "+wrong(f.Image, err)
		e.Candidates = corrections(f.Image)
		return e
	}
	if c.Images == nil {
		e.Outcome, e.Detail = diagnosis.NotRun, "no container runtime socket to ask"
		return e
	}
	_, present, err := c.Images.Image(ctx, f.Image)
	if ctx.Err() == nil { // else the error may be of our own making
		c.Metrics.RuntimeUp(!cri.IsDown(err))
	}
	switch {
	case err != nil:
		e.Outcome, e.Detail = diagnosis.Inconclusive, err.Error()
		if cri.IsDown(err) {
			e.Fault, e.Detail = diagnosis.FaultRuntimeUnready, fmt.Sprintf("the container runtime of node %s does not answer: %v", f.Node, err)
		}
	case present:
		e.Outcome, e.Detail = diagnosis.Passed, fmt.Sprintf("the image is on node %s", f.Node)
	default:
		e.Outcome, e.Fault, e.Detail = diagnosis.Failed, diagnosis.FaultImageAbsent, c.absent(ctx, f)
	}
	return e
}

func (c *Collector) absent(ctx context.Context, f diagnosis.Failure) string {
	s := fmt.Sprintf("the image is not on node %s", f.Node)
	others, err := c.Images.OtherNames(ctx, f.Image)
	if err != nil {
		return s
	}
	// Only of the same repository: what else is on the node is not this pod's.
	repository := f.Registry + "/" + f.Repository
	others = slices.DeleteFunc(others, func(name string) bool {
		after, ok := strings.CutPrefix(name, repository)
		return !ok || !strings.HasPrefix(after, ":") && !strings.HasPrefix(after, "@")
	})
	if len(others) > 0 {
		s += "; the node has " + strings.Join(others, ", ")
	}
	return s
}

// wrong says what a reference's error is, without the library's repeating the
// reference.
func wrong(image string, err error) string {
	s := strings.TrimPrefix(err.Error(), "invalid reference format: ")
	if strings.Contains(image, "://") {
		return "it begins with a URL's scheme"
	}
	return s
}

// corrections are names that parse and that may have been meant: each mends
// one usual mistake, or all of them.
func corrections(image string) []string {
	s := strings.TrimSpace(image)
	for _, scheme := range []string{"https://", "http://", "docker://", "oci://"} {
		s = strings.TrimPrefix(s, scheme)
	}
	s = strings.TrimRight(s, ":/@")
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	s = lowerPath(s)
	s = plainTag(s)
	if s == image || s == "" {
		return nil
	}
	if _, err := reference.ParseNormalizedNamed(s); err != nil {
		return nil
	}
	return []string{s}
}

// lowerPath puts the repository in lower case, not the tag.
func lowerPath(s string) string {
	cut := len(s)
	slash := strings.LastIndex(s, "/") + 1
	if i := strings.IndexAny(s[slash:], ":@"); i >= 0 {
		cut = slash + i
	}
	return strings.ToLower(s[:cut]) + s[cut:]
}

// plainTag replaces what a tag may not hold, such as the + of a version with
// build metadata.
func plainTag(s string) string {
	slash := strings.LastIndex(s, "/") + 1
	colon := strings.LastIndex(s[slash:], ":")
	if colon < 0 || strings.Contains(s, "@") {
		return s
	}
	at := slash + colon + 1
	return s[:at] + strings.ReplaceAll(s[at:], "+", "-")
}
