package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/whypull/whypull/agent/check"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/report"
)

// notPullable is the exit status for an image that cannot be pulled.
const notPullable = 1

// status is an exit status whose reason has already been printed.
type status int

// Error implements error.
func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// checkHelp is the long help of whypull check.
const checkHelp = `Run the agent's checks on this machine, without a cluster: whether the image is
present, which credentials match it, whether the registry's name resolves, and
how each registry endpoint responds to each credential. Of the image itself,
check reads the manifest for the platform and looks up its layers; it verifies
their content only with --download.

Manifests may contain any objects, as YAML or JSON: workloads of Kubernetes, Argo
Rollouts, Knative Services, Tekton tasks and pipelines, other custom resources with
a pod template or with containers that name images, lists of these, Secrets and
ServiceAccounts. Objects without images are skipped; a pod template that is not
valid is an error. A pod without pull secrets uses its service account's. A pull
secret that is not in the files counts as not given, not as missing. A directory
stands for its .json, .yaml and .yml files. Manifests without any image are an error
unless --allow-empty is given.

--runtime checks by the rules of another container runtime than this machine's:
containerd 1.6, 1.7 and 2.0 to 2.4, CRI-O 1.20 to 1.37. Its configuration is read
from --registry-config-path and --containerd-config or, for CRI-O,
--registries-conf. A version without a patch is the newest of its minor version.

Credentials are tried in this order: those of the pull secrets, then those of
--docker-config or, without it, of the kubelet's own config.json on this machine.
~/.docker/config.json is not read unless --docker-config names it.

-o json prints one document: "schema" is ` + check.Schema + `, "pullable" is the
overall result, and each entry of "pods" has its own "pullable" and a "report"
like the annotation whypull.dev/report (report/schema.json); an image that can be
pulled has the cause NotReproducible in it. -o yaml prints the same as YAML. -o junit
prints a test suite for each pod with a test case for each image: a failure if it
cannot be pulled, an error if the checks are inconclusive. -o sarif prints a SARIF
2.1.0 log of the images that cannot be pulled, with the file and line of each; a
rule is a cause, and an inconclusive result has the level warning.

Exit status: 0 if all images can be pulled, or are present and need no pull; 1 if
one cannot be pulled or the checks are inconclusive; 2 for wrong usage and
internal errors. An inconclusive result counts as 1: nobody has seen the image.`

func checkCommand() *cobra.Command {
	o := check.Options{Registries: nodeconfig.Options{Version: version}, Report: func(verdicts []diagnosis.Verdict, node string, observed time.Time) any {
		return report.NewDocument(verdicts, node, observed)
	}}
	cmd := &cobra.Command{
		Use:   "check {IMAGE | -f FILE|DIRECTORY...}",
		Short: "Check whether an image, or the images of pods in manifests, can be pulled on this machine, and why not",
		Long:  checkHelp,
		Example: `  whypull check nginx:1.27
  whypull check --docker-config ~/.docker/config.json registry.example.com/team/app:v1
  kubectl kustomize overlays/production | whypull check -f - -f secrets.yaml --platform linux/arm64
  whypull check -R -f deploy/ -o sarif > whypull.sarif
  whypull check -f pod.yaml --runtime containerd=1.7 --registry-config-path ./certs.d`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Image = args[0]
			}
			o.SocketWanted = cmd.Flags().Changed("cri-socket")
			return runCheck(cmd.Context(), o, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Files, "file", "f", nil, "manifest file or directory with pods, secrets and service accounts, or - for standard input; may be repeated")
	f.BoolVarP(&o.Recursive, "recursive", "R", false, "subdirectories of the directories given with -f")
	f.BoolVar(&o.AllowEmpty, "allow-empty", false, "manifests without any image, which are an error otherwise")
	f.StringVarP(&o.Namespace, "namespace", "n", "default", "namespace of objects that do not set one")
	f.StringVar(&o.DockerConfig, "docker-config", "", "path to a docker config.json with the node's credentials; only its auths are used, as by the kubelet")
	f.StringVar(&o.Platform, "platform", "", "platform as os/arch[/variant]; linux with this machine's architecture when empty")
	f.BoolVar(&o.Download, "download", false, "download up to 32 MiB of each image's layers and verify them")
	f.StringVarP(&o.Output, "output", "o", "text", "output format: "+strings.Join(check.Outputs(), ", "))
	f.StringVar(&o.Runtime, "runtime", "", "container runtime whose rules apply, as containerd=VERSION or cri-o=VERSION; this machine's when empty")
	f.StringVar(&o.Registries.RegistriesConf, "registries-conf", "", "CRI-O's registries.conf, in place of those below /etc/containers")
	f.StringVar(&o.Socket, "cri-socket", "unix:///run/containerd/containerd.sock", "the container runtime's CRI socket, used if it exists; no runtime is asked when empty")
	nodeFlags(f, &o.Registries.Root, &o.Registries.CertsDir, &o.Registries.ConfigFile, &o.Kubelet.ProviderConfig)
	f.StringVar(&o.Kubelet.Dir, "kubelet-root-dir", "/var/lib/kubelet", "the kubelet's --root-dir, with its records of pulled images and its config.json")
	twins(f)
	return cmd
}

// nodeFlags defines the flags of agent and check that say where the node's files are.
func nodeFlags(f *pflag.FlagSet, root, registries, containerd, providers *string) {
	f.StringVar(root, "host-root", "/", "directory at which the node's root file system is mounted")
	f.StringVar(registries, "registry-config-path", "", "the node's directory of hosts.toml files; read from containerd's config.toml when empty")
	f.StringVar(containerd, "containerd-config", "/etc/containerd/config.toml", "containerd's configuration file on the node; that of k3s or RKE2, or in the unit of containerd, is found by itself")
	f.StringVar(providers, "image-credential-provider-config", "", "path to the kubelet's CredentialProviderConfig file; detected from the kubelet's unit when empty")
}

func runCheck(ctx context.Context, o check.Options, in io.Reader, out io.Writer) error {
	pullable, err := check.Run(ctx, o, in, out)
	var flag *check.FlagError
	switch {
	case errors.As(err, &flag):
		return wrong(flag.Flag, flag.Err)
	case err != nil:
		return err
	case !pullable:
		return status(notPullable)
	}
	return nil
}
