// Package credential has the one type for the credentials that an image is
// pulled with, and the one type for a value that must not be printed.
//
// A Credential goes from the secret, or the node's file, to the Authorization
// header. Where it comes from, and when it expires, is the business of the
// packages that find it.
package credential
