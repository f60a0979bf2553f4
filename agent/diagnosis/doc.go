// Package diagnosis decides why a container cannot get its image: from a
// Failure and the Evidence about it to one Verdict. It is pure: standard
// library only, no clock, no network, the same input gives the same bytes.
package diagnosis
