package scratchpull

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrUnsupported means that this runtime cannot do this pull the way it would
// for the kubelet: it is not containerd, it is too old, or its transfer service
// does not read the registry configuration.
var ErrUnsupported = errors.New("the runtime cannot pull into a separate namespace the way it pulls for the kubelet")

// ErrInterrupted means that another Sweep or an operator removed the pull's
// content while it ran. It says nothing about the image.
var ErrInterrupted = errors.New("the pull's lease was removed during the pull")

// OpTransfer is the Op of an Error whose Text is about the image.
const OpTransfer = "Transfer"

// Error is an error response of containerd. The Error method returns only the
// call and the code, because the text may quote signed URLs or anything else
// that the registry sent.
type Error struct {
	// Op is the call. OpTransfer means that the pull failed; with any other,
	// nothing is known about the image.
	Op   string
	Code codes.Code
	// Text is containerd's own text, not redacted. For OpTransfer it is what
	// the kubelet would get from CRI, including the prefix that CRI adds.
	Text string
	err  error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("containerd: %s: %s", e.Op, e.Code) }

// Unwrap returns the error as containerd's libraries have it.
func (e *Error) Unwrap() error { return e.err }

// callError returns the error of a call; if the context has ended, the
// context's error.
func callError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("containerd: %s: %w", op, ctx.Err())
	}
	if isKind(err, errdefs.IsNotImplemented) {
		return fmt.Errorf("containerd: %s: %w", op, ErrUnsupported)
	}
	return newError(op, err)
}

// newError converts an error of gRPC or of containerd's libraries to an Error.
func newError(op string, err error) *Error {
	if answer, ok := status.FromError(err); ok {
		return &Error{Op: op, Code: answer.Code(), Text: answer.Message(), err: errgrpc.ToNative(err)}
	}
	return &Error{Op: op, Code: status.Code(errgrpc.ToGRPC(err)), Text: err.Error(), err: err}
}

// isKind reports whether an error of gRPC or of containerd's libraries is of an
// errdefs kind.
func isKind(err error, kind func(error) bool) bool {
	return err != nil && (kind(err) || kind(errgrpc.ToNative(err)))
}
