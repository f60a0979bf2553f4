package main

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/fleet"
)

// doomed is a running pod whose image could not be pulled again.
func doomed(namespace, name string, cause diagnosis.Cause) *corev1.Pod {
	p := fine(namespace, name)
	p.Status.Phase = corev1.PodRunning
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, report.UnavailableAnnotation, broken(namespace, name, cause).Annotations[report.ReportAnnotation])
	return p
}

func TestPreflight(t *testing.T) {
	s := apitest.New(t, doomed("shop", "web", diagnosis.TagNotFound), doomed("bank", "db", diagnosis.TagNotFound), fine("shop", "fine"), broken("shop", "broken", diagnosis.DiskFull))
	for args, want := range map[string]string{
		"--preflight":                             "1 pod on node n1: TagNotFound",
		"--preflight -A":                          "2 pods on node n1: TagNotFound",
		"--preflight -A -l app=none":              "No running pod in any namespace (only -l app=none) is reported to have an image that could not be pulled again.\n",
		"--preflight web":                         "a sentence on web",
		"--preflight pod/fine":                    "No running pod shop/fine is reported to have an image that could not be pulled again.\n",
		"--preflight --cause DiskFull":            "No running pod",
		"--preflight broken":                      "No running pod",
		"--preflight -A --cause tagnotfound":      "2 running pods in all namespaces (only --cause TagNotFound) could not pull their images again, for 1 reason.",
		"-A":                                      "1 pod in all namespaces cannot pull its image",
		"--preflight --node n2":                   "No running pod",
		"--preflight -o wide --since 1000000h -A": "TagNotFound",
	} {
		status, stdout, stderr := called(t, s, strings.Fields(args)...)
		code := somethingFails
		if strings.HasPrefix(want, "No ") {
			code = nothingFails
		}
		if status != code || !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("%s: status %d\n%s%s", args, status, stdout, stderr)
		}
	}
	_, stdout, _ := called(t, s, "--preflight", "-A", "-o", "json")
	var o fleet.Overview
	if err := json.Unmarshal([]byte(stdout), &o); err != nil || !o.Preflight || len(o.Pods) != 2 || len(o.Groups) != 1 || o.Pods[0].Report == nil {
		t.Errorf("%v\n%s", err, stdout)
	}
	t.Setenv("KUBECONFIG", s.Kubeconfig(t))
	var out, errs output
	if run([]string{"__complete", "--preflight", "-n", "shop", "w"}, &out, &errs); out.String() != "web\tTagNotFound\n:4\n" {
		t.Errorf("completed with\n%s", out.String())
	}
}
