package netns

import "errors"

// ErrGone means that the namespace file does not exist. Pods end at any time,
// so this is an ordinary result.
var ErrGone = errors.New("the network namespace is gone")

// ErrNotMounted means that not even the directory of the namespace file exists:
// it is not mounted into the agent's container.
var ErrNotMounted = errors.New("the directory of the network namespaces is not mounted")

// ErrNotNamespace means that the file is not a network namespace.
var ErrNotNamespace = errors.New("not a network namespace")

// ErrNotPermitted means that the process may not open or enter the namespace.
var ErrNotPermitted = errors.New("not permitted to enter the network namespace; CAP_SYS_ADMIN is required")
