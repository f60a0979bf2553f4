// Package oci decodes manifests, indexes and image configs that strangers wrote.
//
// It takes what encoding/json takes into the types of image-spec, which is what
// container runtimes do, and refuses what it refuses. It differs in what it
// keeps: of a document it keeps only what whypull looks at, and never more than
// a few hundred kibibytes, however many entries there are. What does not fit is
// ErrTooLarge, which says nothing of whether a runtime takes the document.
package oci
