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
// both; if this one gets "no such repository", the refused one exists, and Control returns
// true.
//
// It takes one GET; after a 401, one token exchange and another GET.
func (e Endpoint) Control(ctx context.Context, ref reference.Named, cred *credential.Credential) bool {
	ctx, cancel := context.WithTimeout(quiet(ctx), e.Settings.Timeouts.Total)
	defer cancel()
	c := newConversation(ctx, e, ref, cred)
	defer c.close()
	c.repository = path.Join(path.Dir(c.repository), "whypull-"+strings.ToLower(rand.Text())) // there is none
	r, err := c.ask(ctx, http.MethodGet, PhasePing)
	return err == nil && r.status == http.StatusNotFound && r.ofAPI() && !r.page()
}
