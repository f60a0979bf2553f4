package kube

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/cri/asserttest"
)

const (
	nodeName = "worker-3"
	asNode   = "system:node:" + nodeName
	password = "s3cret-passw0rd"
)

// long is how long a test waits for something that must happen; a passing test
// never waits that long.
const long = 30 * time.Second

// request is a request that the API server received.
type request = apitest.Request

// apiServer is an API server with scripted responses.
type apiServer struct{ *apitest.Script }

func newAPIServer(t *testing.T, answer func(http.ResponseWriter, request)) *apiServer {
	t.Helper()
	return &apiServer{apitest.NewScript(t, answer)}
}

func (s *apiServer) client(t *testing.T, access Access) *Client {
	t.Helper()
	c, err := New(&rest.Config{Host: s.URL, UserAgent: "whypull/test"}, Options{Node: nodeName, Access: access})
	if err != nil {
		t.Fatal(err)
	}
	c.lag = time.Millisecond
	return c
}

// refuse refuses impersonation.
func refuse(w http.ResponseWriter, resource, verb string) {
	apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(
		`%s "x" is forbidden: User "system:serviceaccount:whypull:whypull" cannot %s resource %q in API group ""`, resource, verb, resource))
}

// unrelated is the Node authorizer's refusal.
func unrelated(w http.ResponseWriter, secret string) {
	apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(
		`secrets %q is forbidden: User %q cannot get resource "secrets" in API group "" in the namespace "team": no relationship found between node %q and this object`,
		secret, asNode, nodeName))
}

func encode(t *testing.T, mediaType string, obj runtime.Object) []byte {
	t.Helper()
	out, err := apitest.Encode(mediaType, obj)
	if err != nil {
		t.Error(err)
	}
	return out
}

var wantLines, eventually = asserttest.Lines, asserttest.Eventually
