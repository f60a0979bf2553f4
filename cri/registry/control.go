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

// Control requests a repository that cannot exist, with the same parent and credential as
// the reference's. Call it after Probe was refused (FaultUnauthorized,
// FaultInsufficientScope, FaultForbidden): registries that do not reveal what exists refuse
// both; if this one gets "no such repository", the refused one exists. "" means that there
// was no usable response.
//
// It takes one GET; after a 401, one token exchange and another GET.
func (e Endpoint) Control(ctx context.Context, ref reference.Named, cred *credential.Credential) Existence {
	ctx, cancel := context.WithTimeout(quiet(ctx), e.Settings.Timeouts.Total)
	defer cancel()
	c := newConversation(ctx, e, ref, cred)
	defer c.close()
	c.repository = path.Join(path.Dir(c.repository), "whypull-"+strings.ToLower(rand.Text())) // there is none
	r, err := c.ask(ctx, http.MethodGet, PhasePing)
	if err != nil {
		if c.answer.Fault == FaultUnauthorized {
			return ExistsUnknown
		}
		return ""
	}
	return existence(r)
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
