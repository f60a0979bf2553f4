package provider

import "github.com/whypull/whypull/agent/diagnosis"

// maxOutput is how much of a plugin's output is read. Tokens of registries have a few
// kilobytes.
const maxOutput = 64 << 10

// process is a program to run.
type process struct {
	root      string // its root directory
	path      string // of the program, below root
	args, env []string
	stdin     []byte
}

// output is what a program came to.
type output struct {
	run    diagnosis.ProviderRun // "" if it has exited with status 0
	status int
	stdout []byte
}
