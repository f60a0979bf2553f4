package registry

import (
	"context"
	"crypto/rand"
	"net/http"
	"path"
	"strings"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/credential"
)

// Control asks for a repository that cannot exist, beside the one of the
// reference and with the same credential. It is for after Probe was refused the
// repository (FaultUnauthorized, FaultInsufficientScope, FaultForbidden), which
// registries that do not say what exists answer to both: if this one is
// answered with "no such repository", the refused one exists. "" means that the
// question was not answered.
//
// It is one GET; after a 401, one exchange for a token and the GET once more.
func (e Endpoint) Control(ctx context.Context, ref reference.Named, cred *credential.Credential) Existence {
	ctx, cancel := context.WithTimeout(quiet(ctx), e.Settings.Timeouts.Total)
	defer cancel()
	c := newConversation(ctx, e, ref, cred)
	defer c.close()
	c.repository = sibling(c.repository)
	r, err := c.ask(ctx, http.MethodGet, PhasePing)
	if err != nil {
		if c.answer.Fault == FaultUnauthorized {
			return ExistsUnknown
		}
		return ""
	}
	return existence(r)
}

// sibling is a name beside a repository's that nobody has given.
func sibling(repository string) string {
	return path.Join(path.Dir(repository), "whypull-"+strings.ToLower(rand.Text()))
}

func existence(r reply) Existence {
	switch r.status {
	case http.StatusNotFound:
		if _, speaksAPI := errorCode(r.body); (speaksAPI || isAPI(r.header)) && !r.page() {
			return ExistsYes
		}
		return ""
	case http.StatusUnauthorized, http.StatusForbidden:
		return ExistsUnknown
	}
	return ""
}
