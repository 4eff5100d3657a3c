// Package sqlite shows SQLite behind a gate.
package sqlite
