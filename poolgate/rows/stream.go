package rows

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
)

// Stream returns the rows of a query one by one as they arrive from the server.
// Only what the driver has buffered is in memory.
//
//	for user, err := range rows.Stream[User](ctx, db, "SELECT …") {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// The query starts when the loop does, and again for each further loop over the
// same sequence. An error, such as the end of ctx, comes once, with a zero T, and
// ends the sequence.
//
// The loop holds a connection, and its permit, until it ends, also by break,
// return or panic. A loop that ends early reads and drops the rest of the
// result, so that the connection, and a transaction on it, stay usable. If the
// rest can be large and nothing else depends on the connection, cancel ctx before
// leaving the loop: that cancels the statement and closes the connection.
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

// Partitions returns the rows of a query in slices of n rows, of which the last
// may be shorter. It suits work that needs many rows at once, but not all. The
// caller may keep each slice. Otherwise it is like [Stream]: rows are read when
// they are needed. If an error occurs, the rows of the incomplete slice are
// dropped. If n is less than 1, the sequence is one error.
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
			part = make([]T, 0, n) // one slice was full, so the next probably will be
		}
		if len(part) > 0 {
			yield(part, nil)
		}
	}
}
