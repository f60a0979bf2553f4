package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/whypull/whypull/agent/check"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/report"
)

// notPullable is the exit status for an image that cannot be pulled.
const notPullable = 1

// status is an exit status that a command has explained already.
type status int

// Error implements error.
func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// checkHelp is what whypull check says of itself.
const checkHelp = `Makes the agent's checks on this machine, without a cluster: is the image there,
which credentials are for it, does the registry's name resolve, and what does
each of the registry's endpoints say to each login. Of the image itself it looks
at the manifest for the platform and whether its layers are there; what is in
them only with --download.

The manifests may hold Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets,
ReplicationControllers, Jobs, CronJobs, PodTemplates, lists of these, Secrets and
ServiceAccounts, as YAML or JSON; whatever else is in them is named and passed
over. A pod that names no pull secret has its service account's. A pull secret
that is not in the files counts as not given, and not as missing.

Credentials are those of the pull secrets, then those of --docker-config or, if
that is not given, of the kubelet's own config.json on this machine, if it has
one. ~/.docker/config.json is not read unless it is named.

-o json writes one document: "schema" is ` + check.Schema + `, "pullable" is the
answer, and each of "pods" has its own "pullable" and a "report" like that of the
annotation whypull.dev/report (report/schema.json); an image that can be pulled
has the cause NotReproducible in it.

The exit status is 0 if all images can be pulled, or are there and need no pull;
1 if one cannot, or if that could not be found out; 2 for wrong usage and
internal errors.`

func checkCommand() *cobra.Command {
	o := check.Options{Version: version, Report: func(verdicts []diagnosis.Verdict, node string, observed time.Time) any {
		return report.NewDocument(verdicts, node, observed)
	}}
	cmd := &cobra.Command{
		Use:   "check {IMAGE | -f FILE...}",
		Short: "Says whether an image, or those of the pods in manifests, can be pulled on this machine, and why not",
		Long:  checkHelp,
		Example: `  whypull check nginx:1.27
  whypull check --docker-config ~/.docker/config.json registry.example.com/team/app:v1
  kubectl kustomize overlays/production | whypull check -f - -f secrets.yaml --platform linux/arm64`,
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
	f.StringArrayVarP(&o.Files, "file", "f", nil, "manifests with pods, secrets and service accounts; - is standard input; may be repeated")
	f.StringVarP(&o.Namespace, "namespace", "n", "default", "namespace of the objects that name none")
	f.StringVar(&o.DockerConfig, "docker-config", "", "a docker config.json to take for the node's own credentials; as the kubelet, only its auths")
	f.StringVar(&o.Platform, "platform", "", "os/arch[/variant] to look for; empty: that of this machine")
	f.BoolVar(&o.Download, "download", false, "download up to 32 MiB of an image's layers and verify them")
	f.StringVarP(&o.Output, "output", "o", "text", "text or json")
	f.StringVar(&o.Socket, "cri-socket", "unix:///run/containerd/containerd.sock", "the container runtime's CRI socket, asked if there is one; empty: none is asked")
	f.StringVar(&o.HostRoot, "host-root", "/", "where the node's file system is mounted; its /etc is read")
	f.StringVar(&o.RegistryDir, "registry-config-path", "", "the node's folder of hosts.toml files; empty: as containerd's config.toml says")
	f.StringVar(&o.ContainerdConfig, "containerd-config", "/etc/containerd/config.toml", "containerd's configuration file on the node (k3s and rke2 have it elsewhere)")
	f.StringVar(&o.KubeletDir, "kubelet-root-dir", "/var/lib/kubelet", "the kubelet's --root-dir; its records of pulled images and its config.json are read if there are any")
	f.StringVar(&o.Providers, "image-credential-provider-config", "", "the kubelet's flag of this name; empty: looked for in the kubelet's unit files")
	twins(f)
	return cmd
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
