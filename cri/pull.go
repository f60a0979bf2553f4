package cri

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PullError is the runtime's refusal or failure to pull.
type PullError struct {
	// Text is what the kubelet would have put on the pod; it can quote signed URLs
	// and the registry's words.
	Text string
	err  *Error
}

// Error implements error. It names the call and the code alone.
func (e *PullError) Error() string { return e.err.Error() }

// Unwrap gives the *Error.
func (e *PullError) Unwrap() error { return e.err }

// Pull has the runtime pull an image as the kubelet does, into the kubelet's own
// view: every pod of the node can then use it without credentials, since an image
// that the kubelet has not pulled itself counts as preloaded (KEP-2535). It is
// the only call of this package that changes anything. user and password may be
// empty. It takes as long as ctx lets it. Errors of the pull are of type
// *PullError, others of type *Error.
func (r *Runtime) Pull(ctx context.Context, ref, user, password string) error {
	req := &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: ref}}
	if user != "" || password != "" {
		req.Auth = &runtime.AuthConfig{Username: user, Password: password}
	}
	_, err := r.images.PullImage(ctx, req)
	if err == nil {
		return nil
	}
	failed := callError("PullImage", err)
	if failed.Kind == KindDown || ctx.Err() != nil {
		return failed
	}
	return &PullError{Text: pullText(err), err: failed}
}

// pullText is the text of a failed pull as the kubelet passes it on: without the
// code where that is Unknown (cri-client, remote_image.go).
func pullText(err error) string {
	s := status.Convert(err)
	if s.Code() == codes.Unknown {
		return s.Message()
	}
	return err.Error()
}
