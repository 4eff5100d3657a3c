package gather

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
)

// ErrConflict is the error of [Refuse].
var ErrConflict = errors.New("two rows of the same key differ")

// A Policy merges a row whose key is already known: it changes *have, which the
// results point to, leaves it, or returns an error. It may keep next. [LastWins],
// [FirstWins] and [Refuse] are policies; another may copy some fields and leave
// others.
type Policy[T any] func(have, next *T) error

// LastWins overwrites what is there, as SQLAlchemy's merge does.
func LastWins[T any](have, next *T) error {
	*have = *next
	return nil
}

// FirstWins keeps what is there.
func FirstWins[T any](have, next *T) error { return nil }

// Refuse returns [ErrConflict] unless both are equal, by reflect.DeepEqual.
// Rows with one key that were read at different moments, as by Independent
// statements, may differ.
func Refuse[T any](have, next *T) error {
	if reflect.DeepEqual(have, next) {
		return nil
	}
	return ErrConflict
}

// An Identity is an identity map: it has one object for each key, and all results
// that are merged into it point to that object.
//
//	people := gather.NewIdentity(func(p Person) int64 { return p.ID }, gather.LastWins)
//	lists, err := people.Merge(results...) // lists[i] are pointers, in the order of results[i]
//
// Nested objects get an Identity of their own, see [Identity.Adopt]:
//
//	for _, p := range people.All() {
//		p.Books, err = books.Adopt(p.Books)
//	}
//
// An Identity is for one goroutine at a time: gather first, then merge.
type Identity[K comparable, T any] struct {
	key    func(T) K
	policy Policy[T]
	byKey  map[K]*T
	order  []K // in which they were added
}

// NewIdentity returns an empty Identity for objects that key identifies.
func NewIdentity[K comparable, T any](key func(T) K, policy Policy[T]) *Identity[K, T] {
	return &Identity[K, T]{key: key, policy: policy, byKey: make(map[K]*T)}
}

// Merge merges results in order, row by row, and returns pointers to the objects:
// lists[i] has those for results[i], in its order. The same key has the same
// pointer, also across calls of Merge. Merge does not change the results.
//
// If the policy refuses a row, Merge returns no lists, and the policy's error
// with the key. Rows before that one remain merged.
//
// Merge makes one allocation for each new object and one for each list.
func (m *Identity[K, T]) Merge(results ...Frozen[T]) (lists [][]*T, err error) {
	lists = make([][]*T, len(results))
	for i, result := range results {
		list := make([]*T, len(result.rows))
		for j := range result.rows {
			if list[j], err = m.add(&result.rows[j]); err != nil {
				return nil, fmt.Errorf("gather: result %d, row %d: %w", i, j, err)
			}
		}
		lists[i] = list
	}
	return lists, nil
}

// Adopt merges objects that a row points to, such as the children of a merged
// row, and returns pointers in the order of objects. It changes neither objects
// nor what they point to, and fails like Merge. A nil stays nil.
func (m *Identity[K, T]) Adopt(objects []*T) (list []*T, err error) {
	if objects == nil {
		return nil, nil
	}
	list = make([]*T, len(objects))
	for i, object := range objects {
		if object == nil {
			continue
		}
		if list[i], err = m.add(object); err != nil {
			return nil, fmt.Errorf("gather: object %d: %w", i, err)
		}
	}
	return list, nil
}

func (m *Identity[K, T]) add(row *T) (*T, error) {
	key := m.key(*row)
	next := *row // a copy, because row belongs to the frozen result
	have, ok := m.byKey[key]
	if !ok {
		m.byKey[key] = &next
		m.order = append(m.order, key)
		return &next, nil
	}
	if have == row { // adopted before
		return have, nil
	}
	if err := m.policy(have, &next); err != nil {
		return nil, fmt.Errorf("%T with key %v: %w", next, key, err)
	}
	return have, nil
}

// Get returns the object of key, or nil if there is none.
func (m *Identity[K, T]) Get(key K) *T { return m.byKey[key] }

// Len returns the number of objects.
func (m *Identity[K, T]) Len() int { return len(m.order) }

// All returns the objects with their keys, in the order in which they were added.
func (m *Identity[K, T]) All() iter.Seq2[K, *T] {
	return func(yield func(K, *T) bool) {
		for _, key := range m.order {
			if !yield(key, m.byKey[key]) {
				return
			}
		}
	}
}
