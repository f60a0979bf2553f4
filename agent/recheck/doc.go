// Package recheck triggers another examination when something that a verdict was
// based on has changed: a pull secret or a file of the node. It compares versions
// and times only and reads no content.
package recheck
