// Package bun shows bun on a gated pool, and inside of units of work.
package bun
