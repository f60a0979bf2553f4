// Package recheck tells when what a verdict rested on is no longer as it was:
// another version of a pull secret, a changed file of the node. It looks at
// versions and times only, and reads no content.
package recheck
