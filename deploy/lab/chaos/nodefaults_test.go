package chaos

// nodeFaults are the faults of the node's side: disks, names, registries, the runtime.
func nodeFaults() []fault { return nil }
