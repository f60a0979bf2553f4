package cri

import (
	"cmp"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind classifies why a call to the runtime failed.
type Kind string

// The kinds. They depend only on the gRPC code, not on the runtime's text.
const (
	KindDown          Kind = "Down"          // nothing answers on the socket, or it may not be opened
	KindTimeout       Kind = "Timeout"       // no response in time
	KindCanceled      Kind = "Canceled"      // the caller canceled the call
	KindUnimplemented Kind = "Unimplemented" // the runtime does not support the call
	KindNotReady      Kind = "NotReady"      // the runtime responds, but reports that it is not ready
	KindFailed        Kind = "Failed"        // the runtime returned another error
)

// Error is a failed call to the runtime. Its text names the call, the kind and
// the gRPC code. The runtime's own text is only available through Unwrap,
// because it may quote the image's registry or the runtime's configuration.
type Error struct {
	Op   string // the CRI method
	Kind Kind
	Code codes.Code
	err  error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("container runtime: %s: %s (%s)", e.Op, e.Kind, e.Code)
}

// Unwrap returns the gRPC status error.
func (e *Error) Unwrap() error { return e.err }

// IsDown reports whether the runtime could not be asked at all, so that nothing
// is known about the image.
func IsDown(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Kind == KindDown || e.Kind == KindTimeout || e.Kind == KindNotReady)
}

func callError(op string, err error) *Error {
	code := status.Code(err)
	return &Error{Op: op, Kind: cmp.Or(kinds[code], KindFailed), Code: code, err: err}
}

// kinds are the kinds of errors by their codes; of any other code it is KindFailed.
var kinds = map[codes.Code]Kind{ //nolint:gochecknoglobals // never written
	codes.Unavailable: KindDown, codes.PermissionDenied: KindDown, codes.DeadlineExceeded: KindTimeout,
	codes.Canceled: KindCanceled, codes.Unimplemented: KindUnimplemented,
}
