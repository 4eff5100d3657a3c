// Package gorm shows GORM on a gated pool: it is given the *sql.DB, and knows
// nothing of the gate.
package gorm
