package chaos

// clusterFaults returns the faults of the cluster's side: what its owner and its users do.
func clusterFaults() []fault {
	return []fault{}
}
