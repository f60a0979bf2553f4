// Package integrations tests what deploy/docs/integrations.md has for other tools, with
// the libraries that those tools use.
package integrations
