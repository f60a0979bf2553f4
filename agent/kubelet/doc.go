// Package kubelet reads what the kubelet has on its node's disk that decides
// about credentials: the node's own docker configuration, the configuration of
// credential provider plugins, and the records of the images that it pulled.
//
// The rules are those of k8s.io/kubernetes v1.37.2: pkg/credentialprovider,
// pkg/credentialprovider/plugin and pkg/kubelet/images/pullmanager; the module
// in deploy/lab/keyringdiff compares the last with the kubelet's own code.
//
// All answers have three values: what lies outside of the part of the node's
// file system that is mounted is not visible, which is not the same as absent.
// The records tell which namespaces use an image and hold hashes of passwords;
// this package hands out conclusions and nothing of their content but another
// spelling of the name that was asked for.
package kubelet
