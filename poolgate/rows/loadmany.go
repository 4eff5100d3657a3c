package rows

import (
	"context"
	"errors"
	"fmt"

	"github.com/poolgate/poolgate/internal/sqlstate"
)

// ErrUnknownParent is the error of [LoadMany] for a child that belongs to none
// of the parents.
var ErrUnknownParent = errors.New("rows: a child belongs to none of the parents")

// LoadMany loads the children of many parents in one statement. children[i]
// are those of parents[i], in the order of the query, and nil if there are
// none.
//
//	books, err := rows.LoadMany(ctx, db, authors,
//		func(a Author) int64 { return a.ID },
//		func(b Book) int64 { return b.AuthorID },
//		"SELECT id, author_id, title FROM books WHERE author_id = ANY($1) ORDER BY id")
//	for i := range authors {
//		authors[i].Books = books[i]
//	}
//
// The first parameter of query, $1, is an array of the parents' keys, each of
// them once; args are $2 and so on. The array is sent as text, and the server
// reads it as the type that its place in the query demands. Where that place
// does not say, name the type, as in ANY($1::bigint[]). The array counts as one
// parameter, whatever the number of parents. LoadMany needs PostgreSQL, which has
// arrays.
//
// key returns the key of a parent, and parent the key of a child's parent. A key
// is a number, a string, a bool, a time.Time, a driver.Valuer, or a pointer to
// one of these. Two keys are equal if they are the same value for the database:
// times are compared by their instant, in microseconds, pointers by what they
// point to, and Valuers by what Value returns. Where a child's key is equal to
// no parent's in this way, the one that differs only in case, in trailing
// spaces, in the trailing zeros of a decimal number, or in the zone of the same
// clock time is taken, because the database has found it equal.
//
// The children of several relations take one round trip with gather.LoadMany,
// in a gather that is gather.Pipelined.
//
// A child that belongs to none of parents is an error, [ErrUnknownParent]. The
// usual cause is that parent returns the wrong field. Parents with the same key
// share one slice of children. Without parents there is no query.
func LoadMany[P, C any, K comparable](ctx context.Context, q Queryer, parents []P, key func(P) K, parent func(C) K, query string, args ...any) (children [][]C, err error) {
	if len(parents) == 0 {
		return nil, nil
	}
	known := newIndex[K]()
	places := make([]int, len(parents))
	var keys array
	for i, p := range parents {
		k := key(p)
		n, added, err := known.add(k)
		if err == nil && added {
			err = keys.add(k)
		}
		if err != nil {
			return nil, fmt.Errorf("rows: the key of parent %d, a %T: %w", i, k, err)
		}
		places[i] = n
	}

	byPlace := make([][]C, known.len())
	for child, err := range Stream[C](ctx, q, query, append([]any{keys.String()}, args...)...) {
		if sqlstate.IsForeign(err) {
			return nil, fmt.Errorf("rows: LoadMany needs PostgreSQL and its arrays: %w", err)
		}
		if err != nil {
			return nil, err
		}
		k := parent(child)
		n, ok := known.find(k)
		if !ok {
			return nil, fmt.Errorf("%w: its key is %v", ErrUnknownParent, k)
		}
		byPlace[n] = append(byPlace[n], child)
	}

	children = make([][]C, len(parents))
	for i, n := range places {
		children[i] = byPlace[n]
	}
	return children, nil
}
