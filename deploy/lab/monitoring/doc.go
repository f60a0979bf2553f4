// Package monitoring holds the tests of the alert rules, the dashboard and the
// metrics with Prometheus's own tools.
package monitoring
