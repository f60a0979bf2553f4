package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/probe"
)

// fromFiles reads pull secrets from the manifests. One that is not there may
// well be in the cluster, so it is never said to be missing.
type fromFiles struct{ objects *objects }

// Secret implements probe.Secrets.
func (s fromFiles) Secret(_ context.Context, namespace, name string) (kube.Secret, error) {
	k := key{namespace, name}
	if secret, ok := s.objects.secrets[k]; ok {
		return secret, nil
	}
	why := fmt.Sprintf("secret %s of namespace %s is not in the files, so it was not tried; it may be in the cluster", name, namespace)
	if others := s.objects.elsewhere(k); len(others) > 0 {
		why += fmt.Sprintf("; the one of that name in the files is for namespace %s, and does not count", strings.Join(others, ", "))
	}
	return kube.Secret{}, probe.Unread(why)
}
