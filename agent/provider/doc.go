// Package provider runs the kubelet's credential provider plugins as the kubelet does,
// to find out what they return for an image.
//
// The rules are those of k8s.io/kubernetes v1.37.2, pkg/credentialprovider/plugin: the
// request on stdin, the program's arguments and environment, one minute, one run per
// image at a time, and answers that serve for the image, its registry or all images.
// What differs is to the plugin's or the node's advantage, never to the verdict's:
//
//   - What a plugin prints to stderr is not read: it may hold a password.
//   - Its output is read up to a limit; beyond it, nothing is known.
//   - Its whole process group ends with it.
//   - A failure is not repeated for a while, longer each time; nor is an answer that is
//     not to be cached. No answer is kept for more than an hour.
//   - A token of the pod's service account is valid for the shortest time that the API
//     server allows, and is requested only when the plugin is to be run.
//
// A plugin is a program of the node that the kubelet runs as root with all
// capabilities. Here it runs as root with the agent's few, and with the node's root as
// far as that is mounted as its root directory: it does not see the agent's own files.
package provider
