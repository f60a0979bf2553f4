// Command push uploads the image and the chart of a release, with the credentials of
// docker login.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/whypull/whypull/deploy/lab/release/push"
)

func main() {
	from := flag.String("from", "../../dist/oci", "OCI layout of command release")
	to := flag.String("to", "ghcr.io/whypull", "registry and namespace")
	flag.Parse()
	if err := push.Push(*from, *to, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		fmt.Fprintln(os.Stderr, "push:", err)
		os.Exit(1)
	}
}
