package gather

import (
	"iter"
	"slices"
)

// Frozen is the result of a query, which nothing can change. It can be read many
// times, kept in a cache, and read by several goroutines at once. Its zero value
// is empty. It is as small as a slice.
//
// Its methods return copies of the rows. They do not copy what a row points to:
// if that matters, T should contain values.
type Frozen[T any] struct{ rows []T }

// Freeze returns a frozen copy of rows.
func Freeze[T any](rows []T) Frozen[T] { return Frozen[T]{slices.Clone(rows)} }

// Len returns the number of rows.
func (f Frozen[T]) Len() int { return len(f.rows) }

// At returns row i, from 0. It panics if there is none.
func (f Frozen[T]) At(i int) T { return f.rows[i] }

// All returns the rows in order.
func (f Frozen[T]) All() iter.Seq[T] { return slices.Values(f.rows) }

// Rows returns the rows in a new slice, which belongs to the caller.
func (f Frozen[T]) Rows() []T { return slices.Clone(f.rows) }
