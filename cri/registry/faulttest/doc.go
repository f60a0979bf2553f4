// Package faulttest is a world of faults, for tests: a registry, a token
// server, a name server and a proxy that fail on demand. Each Case is an image
// that cannot be pulled (or, for contrast, can), and says what is really wrong
// with it, so that a verdict can be held against the truth.
package faulttest
