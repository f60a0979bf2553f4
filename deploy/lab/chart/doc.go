// Package chart tests the Helm chart in deploy/chart and generates what it shares with
// the other manifests: the admission policies, the alert rules, the dashboard, the
// platforms' components and their documentation.
package chart
