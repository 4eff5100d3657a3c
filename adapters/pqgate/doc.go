// Package pqgate opens PostgreSQL through lib/pq, gated.
package pqgate
