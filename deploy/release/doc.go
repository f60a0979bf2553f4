// Package release has the tests of what a release is made of and with: the workflows,
// the flags of every build, the licenses of the modules in the programs.
package release
