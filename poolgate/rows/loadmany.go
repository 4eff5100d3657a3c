package rows

import (
	"context"
	"errors"
	"fmt"
)

// ErrUnknownParent is the error of [LoadMany] for a child of none of the
// parents.
var ErrUnknownParent = errors.New("rows: a child is of none of the parents")

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
// them once; args are $2 and so on. It is sent as text, for the server to read
// as what stands before it: where that does not say the type, say it yourself,
// as in ANY($1::bigint[]). It counts as one parameter, whatever the number of
// parents.
//
// key and parent return the key of a parent and the parent's key of a child. A
// key is a number, a string, a bool, a time.Time or a driver.Valuer. A child
// whose parent is none of parents is an error, [ErrUnknownParent]: nearly
// always parent returns the wrong field. Parents with the same key have the
// same slice of children. Without parents there is no query.
func LoadMany[P, C any, K comparable](ctx context.Context, q Queryer, parents []P, key func(P) K, parent func(C) K, query string, args ...any) (children [][]C, err error) {
	if len(parents) == 0 {
		return nil, nil
	}
	place := make(map[K]int, len(parents)) // among distinct keys
	places := make([]int, len(parents))
	var keys array
	for i, p := range parents {
		k := key(p)
		n, ok := place[k]
		if !ok {
			n = len(place)
			place[k] = n
			if err := keys.add(k); err != nil {
				return nil, fmt.Errorf("rows: the key of parent %d, a %T: %w", i, k, err)
			}
		}
		places[i] = n
	}

	byPlace := make([][]C, len(place))
	for child, err := range Stream[C](ctx, q, query, append([]any{keys.String()}, args...)...) {
		if err != nil {
			return nil, err
		}
		n, ok := place[parent(child)]
		if !ok {
			return nil, fmt.Errorf("%w: its key is %v", ErrUnknownParent, parent(child))
		}
		byPlace[n] = append(byPlace[n], child)
	}

	children = make([][]C, len(parents))
	for i, n := range places {
		children[i] = byPlace[n]
	}
	return children, nil
}
