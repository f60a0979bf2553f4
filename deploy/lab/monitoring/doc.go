// Package monitoring tests the alert rules, the inhibition rules, the dashboard and the
// metrics with Prometheus's and Alertmanager's own code.
package monitoring
