package bench

import (
	"context"
	"database/sql"
)

// A Form is a way to write the workload's operations in SQL.
type Form string

const (
	// Faithful sends statement for statement what SQLAlchemy does, without
	// an index on b(a_id), as in the article: each read scans a growing b.
	Faithful Form = "faithful"

	// Idiomatic is how a Go programmer would write the same: with that
	// index, autocommit, and as few round trips as the driver allows.
	Idiomatic Form = "idiomatic"
)

// Forms returns all forms in the order in which they run.
func Forms() []Form { return []Form{Faithful, Idiomatic} }

// operations carry out the workload in one form on one driver. A write that
// fails returns a *commitError if it may have been committed nevertheless.
type operations struct {
	write func(context.Context, *sql.DB, Op) error
	read  func(context.Context, *sql.DB) error
}

// do carries out one operation.
func (o operations) do(ctx context.Context, db *sql.DB, op Op) error {
	if op.Kind == Write {
		return o.write(ctx, db, op)
	}
	return o.read(ctx, db)
}

// operations returns what carries out this form on a driver.
func (f Form) operations(d Driver) operations {
	if f == Faithful {
		return operations{faithfulWrite, faithfulRead}
	}
	return operations{idiomaticWrite, idiomaticRead}
}
