// Package oci decodes manifests, indexes and image configs that strangers wrote.
//
// It takes what encoding/json takes into the types of image-spec, which is what
// container runtimes do, and refuses what it refuses. It differs in what it
// keeps: of a document it keeps only what whypull looks at, at most a few hundred
// kibibytes. It does not decode a document with so many entries that these would take
// much more memory than the text: that is ErrTooLarge, which says nothing of whether a
// runtime takes the document.
package oci
