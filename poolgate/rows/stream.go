package rows

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
)

// Stream returns the rows of a query one by one, as they come from the server:
// only what the driver has buffered of them is in memory.
//
//	for user, err := range rows.Stream[User](ctx, db, "SELECT …") {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// The query starts when the loop does, and once more for each further loop over
// the same sequence. An error comes with a zero T, once, and is the last thing
// that comes. The end of ctx is such an error.
//
// The loop holds a connection, and the permit for it, until it ends, by break,
// return or panic too. A loop that ends early reads what the server still sends
// of the result, and drops it, so that the connection, and the transaction that
// may be on it, stay as they are. Where that can be much, and nothing else
// depends on the connection, cancel ctx before leaving the loop: then the
// statement is cancelled, and the connection closed.
func Stream[T any](ctx context.Context, q Queryer, query string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		rs, err := q.QueryContext(ctx, query, args...)
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		stream(rs, yield)
	}
}

// All returns the rows of rs one by one, as [Stream] does: those of a *sql.Stmt
// or of an ORM, or the next result set of a query that has several. It starts
// with the next row of rs and closes rs when the loop ends. A sequence that is
// never looped over leaves rs open.
func All[T any](rs *sql.Rows) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) { stream(rs, yield) }
}

func stream[T any](rs *sql.Rows, yield func(T, error) bool) {
	left := false
	err := read(rs, func(row T) bool {
		left = !yield(row, nil)
		return !left
	})
	if err != nil && !left {
		var zero T
		yield(zero, err)
	}
}

// Partitions returns the rows of a query in slices of n, of which the last may
// be shorter: for work that wants many rows at once, but not all. Each slice is
// the caller's to keep. Otherwise it is as [Stream], and as there rows are read
// only when they are asked for; those of a slice that an error cuts short are
// dropped. If n is less than 1 the sequence is an error.
func Partitions[T any](ctx context.Context, q Queryer, n int, query string, args ...any) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		if n < 1 {
			yield(nil, fmt.Errorf("rows: Partitions of %d rows; n must be at least 1", n))
			return
		}
		var part []T
		for row, err := range Stream[T](ctx, q, query, args...) {
			if err != nil {
				yield(nil, err)
				return
			}
			part = append(part, row)
			if len(part) < n {
				continue
			}
			if !yield(part, nil) {
				return
			}
			part = make([]T, 0, n) // this one was filled, so the next may well be
		}
		if len(part) > 0 {
			yield(part, nil)
		}
	}
}
