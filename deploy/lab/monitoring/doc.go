// Package monitoring holds the tests of the alert rules, the inhibition, the dashboard and the
// metrics with Prometheus's and Alertmanager's own code.
package monitoring
