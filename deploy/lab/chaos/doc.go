// Package chaos tests whypull on a node on a bad day: while pods fail, heal, go and come
// back, its surroundings break one after the other. It holds only tests.
package chaos
