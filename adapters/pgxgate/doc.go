// Package pgxgate opens PostgreSQL through pgx/v5's database/sql driver, gated.
package pgxgate
