// Package conformance is the one suite that every adapter passes, on a real
// PostgreSQL: what poolgate promises of a gated pool, and what programs expect
// of database/sql, holds with each driver alike.
//
// An adapter calls [Run] from a test with a [Driver], and [Torture] from
// another. The assertions are the same for all drivers, but for what the
// drivers themselves do differently, gated or not. That is in one table,
// [Differences], in differences.go, so that a program that changes its driver
// finds there what it has to look at.
package conformance
