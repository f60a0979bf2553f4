// Package hostfs reads the files of a node whose root file system, or a part of
// it, is mounted at a directory of this process. Every reader of the node's files
// goes through it, so that all have the same rules:
//
//   - Names are paths of the node. A symbolic link means what it means on the
//     node: an absolute one starts at the node's root, and none leads out of it.
//   - Only regular files are read, and no more of one than the caller allows. A
//     pipe or a device is never waited for.
//   - Nobody who changes the node's files meanwhile can make a read leave the
//     root.
package hostfs
