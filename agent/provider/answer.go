package provider

import (
	"encoding/json"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/credential"
)

// newRequest returns a CredentialProviderRequest; token and annotations, which only
// version v1 has, may be empty.
func newRequest(apiVersion, image, token string, annotations map[string]string) []byte {
	request, _ := json.Marshal(struct { // texts always encode
		Kind        string            `json:"kind"`
		APIVersion  string            `json:"apiVersion"`
		Image       string            `json:"image"`
		Token       string            `json:"serviceAccountToken,omitempty"`
		Annotations map[string]string `json:"serviceAccountAnnotations,omitempty"`
	}{"CredentialProviderRequest", apiVersion, image, token, annotations})
	return request
}

// response is a CredentialProviderResponse.
type response struct {
	Kind          string           `json:"kind"`
	APIVersion    string           `json:"apiVersion"`
	CacheKeyType  string           `json:"cacheKeyType"`
	CacheDuration *metav1.Duration `json:"cacheDuration"`
	Auth          map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auth"`
}

// answerOf returns the answer that the kubelet reads from a plugin's output: strict
// JSON of the configured version, with one of three cache keys.
func answerOf(p kubelet.Plugin, image string, stdout []byte) *Answer {
	var in response
	strict, err := kjson.UnmarshalStrict(stdout, &in)
	if err != nil || len(strict) > 0 || in.Kind != "CredentialProviderResponse" || in.APIVersion != p.APIVersion {
		return &Answer{Run: diagnosis.ProviderInvalid}
	}
	a := &Answer{Run: diagnosis.ProviderGave, cacheKey: cacheKeyOf(in.CacheKeyType, image), life: lifeOf(p, in.CacheDuration)}
	if a.cacheKey == "" {
		return &Answer{Run: diagnosis.ProviderInvalid}
	}
	if len(in.Auth) == 0 {
		a.Run = diagnosis.ProviderGaveNone
	}
	found := make(map[string]credential.Credential, len(in.Auth))
	for key, c := range in.Auth {
		found[key] = credential.New(c.Username, c.Password)
	}
	a.Credentials = credential.Redact(found)
	return a
}

// cacheKeyOf returns what an answer is for; "" if that is not valid.
func cacheKeyOf(keyType, image string) string {
	switch keyType {
	case "Image":
		return image
	case "Registry":
		registry, _, _ := strings.Cut(image, "/")
		return registry
	case "Global":
		return everything
	}
	return ""
}

// lifeOf returns how long an answer serves.
func lifeOf(p kubelet.Plugin, own *metav1.Duration) time.Duration {
	life := p.CacheDuration
	if own != nil {
		life = own.Duration
	}
	return min(max(life, minLife), maxLife)
}
