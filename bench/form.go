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

// operations carry out the workload in one form. A write that
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

// on returns what carries out this form on db, which is a pool of d.
func (f Form) on(ctx context.Context, d Driver, db *sql.DB) (func(context.Context, Op) error, error) {
	o := operations{idiomaticWrite, idiomaticRead}
	var err error
	switch {
	case f == Faithful:
		o = operations{faithfulWrite, faithfulRead}
	case d == PQ:
		o, err = byStatements(ctx, db)
	}
	return func(ctx context.Context, op Op) error { return o.do(ctx, db, op) }, err
}
