package gather

import (
	"iter"
	"slices"
)

// Frozen is the result of a query that nothing can change any more: it can be
// read again and again, kept in a cache, and read by several goroutines at
// once. Its zero value is empty. It is as small as a slice.
//
// Each reading gives copies of the rows. What a row points to is not copied:
// let T have values where that matters.
type Frozen[T any] struct{ rows []T }

// Freeze returns a frozen copy of rows.
func Freeze[T any](rows []T) Frozen[T] { return Frozen[T]{slices.Clone(rows)} }

// Len returns the number of rows.
func (f Frozen[T]) Len() int { return len(f.rows) }

// At returns row i, from 0. It panics if there is none.
func (f Frozen[T]) At(i int) T { return f.rows[i] }

// All returns the rows in order.
func (f Frozen[T]) All() iter.Seq[T] { return slices.Values(f.rows) }

// Rows returns the rows in a new slice, which is the caller's.
func (f Frozen[T]) Rows() []T { return slices.Clone(f.rows) }
