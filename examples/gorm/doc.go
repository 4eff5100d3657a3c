// Package gorm shows GORM on a gated pool, and inside of units of work.
package gorm
