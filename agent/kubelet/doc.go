// Package kubelet reads the kubelet's files on the node that affect image pull
// credentials: the node's docker configuration, the configuration of credential
// provider plugins, and the records of images that the kubelet has pulled.
//
// It follows the rules of k8s.io/kubernetes v1.37.2: pkg/credentialprovider,
// pkg/credentialprovider/plugin and pkg/kubelet/images/pullmanager. The module
// deploy/lab/keyringdiff compares the pull manager rules with the kubelet's own
// code.
//
// Answers have three values: a file outside of the mounted part of the node's
// file system is not visible, which differs from absent. Records name the
// namespaces that use an image and contain password hashes; this package
// returns conclusions only: from the records themselves nothing but another
// spelling of the image name that the caller asked about, and whether the pod's
// own namespace is named.
package kubelet
