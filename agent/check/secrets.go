package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/probe"
)

// fromFiles reads pull secrets from the manifests. A secret that is not in them
// may exist in the cluster, so it is reported as unread, not as missing.
type fromFiles struct{ objects *objects }

// Secret implements probe.Secrets.
func (s fromFiles) Secret(_ context.Context, namespace, name string) (kube.Secret, error) {
	k := key{namespace, name}
	if secret, ok := s.objects.secrets[k]; ok {
		return secret, nil
	}
	why := fmt.Sprintf("secret %s in namespace %s is not in the files, so it was not tried; it may exist in the cluster", name, namespace)
	if others := s.objects.elsewhere(k); len(others) > 0 {
		why += fmt.Sprintf("; the files have that name only in other namespaces: %s", strings.Join(others, ", "))
	}
	return kube.Secret{}, probe.Unread(why)
}
