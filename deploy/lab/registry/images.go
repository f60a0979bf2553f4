package registry

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/whypull/whypull/deploy/lab/image"
)

// Images that exist from the start.
const (
	// Nginx112, Nginx113, HubTeamA and HubTeamB require the credentials of Alice or
	// Bob. All images except those called tools run the pause program.
	Nginx112 = HubHost + "/nginx/nginx:1.12.1"
	Nginx113 = HubHost + "/nginx/nginx:1.13.0"
	HubTeamA = HubHost + "/team-a/app:1.0"
	HubTeamB = HubHost + "/team-b/app:1.0"
	// TokenPublic is public, TokenTeamA is for Reader, TokenTeamB for Admin.
	TokenPublic = TokenHost + "/public/app:1.0"
	TokenTeamA  = TokenHost + "/team-a/app:1.0"
	TokenTeamB  = TokenHost + "/team-b/app:1.0"
	// PlainApp and PlainTools are public. PlainTools can resolve names and send
	// requests.
	PlainApp   = PlainHost + "/public/app:1.0"
	PlainTools = PlainHost + "/public/tools:1.0"
	// PlainForeign is an index without an image for this machine's architecture.
	PlainForeign = PlainHost + "/public/foreign:1.0"
)

// Seed pushes the images that exist from the start.
func Seed(ctx context.Context, transport http.RoundTripper, pauseProgram, toolsProgram string) error {
	for _, reference := range []string{Nginx112, Nginx113, HubTeamA, HubTeamB, TokenPublic, TokenTeamA, TokenTeamB, PlainApp} {
		if err := pushProgram(ctx, transport, reference, image.Options{Name: reference, Program: pauseProgram}); err != nil {
			return err
		}
	}
	if err := pushProgram(ctx, transport, PlainTools, image.Options{Name: PlainTools, Program: toolsProgram}); err != nil {
		return err
	}
	return pushForeign(ctx, transport, pauseProgram)
}

func pushProgram(ctx context.Context, transport http.RoundTripper, reference string, o image.Options) error {
	built, err := image.Build(o)
	if err != nil {
		return fmt.Errorf("making %s: %w", reference, err)
	}
	return Push(ctx, transport, reference, built)
}

func pushForeign(ctx context.Context, transport http.RoundTripper, program string) error {
	foreign := "arm64"
	if runtime.GOARCH == foreign {
		foreign = "amd64"
	}
	built, err := image.Build(image.Options{Name: PlainForeign, Program: program, Architecture: foreign})
	if err != nil {
		return fmt.Errorf("making %s: %w", PlainForeign, err)
	}
	index, err := image.Index(built)
	if err != nil {
		return fmt.Errorf("making %s: %w", PlainForeign, err)
	}
	ref, err := parse(PlainForeign)
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(ref, index, options(ctx, transport, ref)...); err != nil {
		return fmt.Errorf("pushing %s: %w", PlainForeign, err)
	}
	return nil
}

// Push stores an image in one of the lab's registries.
func Push(ctx context.Context, transport http.RoundTripper, reference string, i v1.Image) error {
	ref, err := parse(reference)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, i, options(ctx, transport, ref)...); err != nil {
		return fmt.Errorf("pushing %s: %w", reference, err)
	}
	return nil
}

func parse(reference string) (name.Reference, error) {
	var how []name.Option
	for _, host := range []string{PlainHost, PlainHost2} {
		if len(reference) > len(host) && reference[:len(host)] == host {
			how = append(how, name.Insecure)
		}
	}
	ref, err := name.ParseReference(reference, how...)
	if err != nil {
		return nil, fmt.Errorf("image name: %w", err)
	}
	return ref, nil
}

func options(ctx context.Context, transport http.RoundTripper, ref name.Reference) []remote.Option {
	how := []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport), remote.WithUserAgent("whypull-lab")}
	switch ref.Context().RegistryStr() {
	case HubHost, HubHost2:
		return append(how, remote.WithAuth(&authn.Basic{Username: Alice, Password: AlicePassword}))
	case TokenHost, TokenHost2:
		return append(how, remote.WithAuth(&authn.Basic{Username: Admin, Password: AdminPassword}))
	default:
		return how
	}
}

// LogFile returns the name of a registry's access log in the log directory.
func LogFile(registry string) string { return path.Base(registry) + ".access.log" }
