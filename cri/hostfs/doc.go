// Package hostfs reads the files of a node whose root file system, or a part of
// it, is mounted at a directory of this process. All access to the node's files
// goes through it, so that the same rules apply everywhere:
//
//   - Names are paths on the node. Symbolic links are resolved as on the node:
//     absolute links start at the node's root, and none leads out of it.
//   - Only regular files are read, and only up to the caller's limit. Reads never
//     block on pipes or devices.
//   - Concurrent changes of the node's files cannot make a read leave the root.
package hostfs
