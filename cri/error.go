package cri

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind says why a call to the runtime failed.
type Kind string

// The kinds. The gRPC code decides: the runtime's own text is not looked at.
const (
	KindDown          Kind = "Down"          // nobody answers on the socket, or it may not be opened
	KindTimeout       Kind = "Timeout"       // no answer in time
	KindCanceled      Kind = "Canceled"      // the caller gave up
	KindUnimplemented Kind = "Unimplemented" // the runtime is too old for the call
	KindNotReady      Kind = "NotReady"      // the runtime answers, and says that it is not ready
	KindFailed        Kind = "Failed"        // the runtime answered with another error
)

// Error is a failed call to the runtime. Its text names the call, the kind and
// the gRPC code; what the runtime wrote is behind Unwrap, since it can quote
// the image's registry or the runtime's configuration.
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

// Unwrap gives the gRPC status error.
func (e *Error) Unwrap() error { return e.err }

// IsDown tells that the runtime could not be asked at all, so that nothing was
// learnt about the image.
func IsDown(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == KindDown || e.Kind == KindTimeout || e.Kind == KindNotReady)
}

func callError(op string, err error) *Error {
	code := status.Code(err)
	return &Error{Op: op, Kind: kindOf(code), Code: code, err: err}
}

func kindOf(code codes.Code) Kind {
	switch code {
	case codes.Unavailable, codes.PermissionDenied:
		return KindDown
	case codes.DeadlineExceeded:
		return KindTimeout
	case codes.Canceled:
		return KindCanceled
	case codes.Unimplemented:
		return KindUnimplemented
	default:
		return KindFailed
	}
}
