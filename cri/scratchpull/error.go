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

// ErrUnsupported says that this runtime cannot do this pull as it would do it
// for the kubelet: it is not containerd, it is too old, or its transfer service
// does not read the registry configuration.
var ErrUnsupported = errors.New("the runtime cannot pull in a namespace of our own as it pulls for the kubelet")

// ErrInterrupted says that what held the pull's content was removed while it
// ran, by another Sweep or by an operator. It says nothing about the image.
var ErrInterrupted = errors.New("the pull's lease was removed while it ran")

// OpTransfer is the operation of an Error whose Text is about the image.
const OpTransfer = "Transfer"

// Error is a call that containerd answered with an error. Error names the call
// and the code alone: the text can quote signed URLs, or whatever the registry
// says.
type Error struct {
	// Op is the call. If it is OpTransfer, the pull failed; else nothing was
	// learnt about the image.
	Op   string
	Code codes.Code
	// Text is containerd's own. For OpTransfer it is what the kubelet would have
	// got from CRI, with the words that CRI puts in front, and is not redacted.
	Text string
	err  error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("containerd: %s: %s", e.Op, e.Code) }

// Unwrap gives the error as containerd's libraries have it.
func (e *Error) Unwrap() error { return e.err }

// callError is the error of a call. A context that ended is told as such.
func callError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("containerd: %s: %w", op, ctx.Err())
	}
	if is(err, errdefs.IsNotImplemented) {
		return fmt.Errorf("containerd: %s: %w", op, ErrUnsupported)
	}
	return newError(op, err)
}

// newError makes an Error from one of gRPC or of containerd's libraries.
func newError(op string, err error) *Error {
	if answer, ok := status.FromError(err); ok {
		return &Error{Op: op, Code: answer.Code(), Text: answer.Message(), err: errgrpc.ToNative(err)}
	}
	return &Error{Op: op, Code: status.Code(errgrpc.ToGRPC(err)), Text: err.Error(), err: err}
}

// is tells whether an error, of gRPC or of containerd's libraries, is of a kind
// of errdefs.
func is(err error, kind func(error) bool) bool {
	return err != nil && (kind(err) || kind(errgrpc.ToNative(err)))
}
