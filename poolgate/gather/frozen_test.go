package gather_test

import (
	"slices"
	"testing"

	"github.com/poolgate/poolgate/poolgate/gather"
)

type book struct {
	ID    int
	Title string
}

type author struct {
	ID    int
	Name  string
	Books []*book
}

func authorID(a author) int { return a.ID }
func bookID(b book) int     { return b.ID }

func TestFrozen(t *testing.T) {
	t.Run("nobody can change it", func(t *testing.T) {
		rows := []author{{1, "Ada", nil}, {2, "Alan", nil}}
		f := gather.Freeze(rows)
		rows[0].Name = "changed"
		f.Rows()[0].Name = "changed"
		for a := range f.All() {
			a.Name = "changed"
		}
		equal(t, f.Rows(), []author{{1, "Ada", nil}, {2, "Alan", nil}})
		equal(t, f.At(1).Name, "Alan")
		equal(t, f.Len(), 2)
	})

	t.Run("it can be read again and again", func(t *testing.T) {
		f := gather.Freeze([]int{1, 2, 3})
		for range 2 {
			equal(t, slices.Collect(f.All()), []int{1, 2, 3})
		}
	})

	t.Run("the zero value is empty", func(t *testing.T) {
		var f gather.Frozen[int]
		equal(t, f.Len(), 0)
		equal(t, len(slices.Collect(f.All())), 0)
	})
}

func TestMerge(t *testing.T) {
	first := gather.Freeze([]author{{1, "Ada", nil}, {2, "Alan", nil}})
	second := gather.Freeze([]author{{2, "Turing", nil}, {3, "Grace", nil}, {2, "Alan M.", nil}})

	t.Run("the same key is the same pointer, in the order of each result", func(t *testing.T) {
		people := gather.NewIdentity(authorID, gather.LastWins)
		lists, err := people.Merge(first, second)
		must(t, err)
		equal(t, [][]int{ids(lists[0]), ids(lists[1])}, [][]int{{1, 2}, {2, 3, 2}})
		if lists[0][1] != lists[1][0] || lists[1][0] != lists[1][2] || lists[0][1] != people.Get(2) {
			t.Error("2 is not one object")
		}
		equal(t, people.Len(), 3)
		var keys []int
		for key, p := range people.All() {
			equal(t, p.ID, key)
			keys = append(keys, key)
		}
		equal(t, keys, []int{1, 2, 3})
		if people.Get(4) != nil {
			t.Error("4 is somebody")
		}
		for key := range people.All() {
			if key == 2 {
				break
			}
		}
	})

	t.Run("what is merged later finds what was merged before", func(t *testing.T) {
		people := gather.NewIdentity(authorID, gather.LastWins)
		a, err := people.Merge(first)
		must(t, err)
		b, err := people.Merge(second)
		must(t, err)
		equal(t, a[0][1] == b[0][0], true)
		equal(t, a[0][1].Name, "Alan M.")
	})

	for _, test := range []struct {
		name   string
		policy gather.Policy[author]
		want   string
	}{
		{"the last wins", gather.LastWins[author], "Alan M."},
		{"the first wins", gather.FirstWins[author], "Alan"},
		{"a policy of one's own decides", func(have, next *author) error { have.Name += "+" + next.Name; return nil }, "Alan+Turing+Alan M."},
	} {
		t.Run(test.name, func(t *testing.T) {
			people := gather.NewIdentity(authorID, test.policy)
			_, err := people.Merge(first, second)
			must(t, err)
			equal(t, people.Get(2).Name, test.want)
			equal(t, first.At(1).Name, "Alan") // frozen is frozen
			equal(t, second.At(0).Name, "Turing")
		})
	}

	t.Run("a conflict can be refused", func(t *testing.T) {
		people := gather.NewIdentity(authorID, gather.Refuse)
		lists, err := people.Merge(first, second)
		is(t, err, gather.ErrConflict)
		says(t, err, "gather: result 1, row 0: gather_test.author with key 2: two rows of the same key differ")
		equal(t, len(lists), 0)
		equal(t, people.Get(2).Name, "Alan")
	})

	t.Run("rows that are equal are no conflict", func(t *testing.T) {
		people := gather.NewIdentity(authorID, gather.Refuse)
		_, err := people.Merge(first, first)
		must(t, err)
		equal(t, people.Len(), 2)
	})

	t.Run("an object changed by the caller leaves the result as it was", func(t *testing.T) {
		people := gather.NewIdentity(authorID, gather.LastWins)
		_, err := people.Merge(first)
		must(t, err)
		people.Get(1).Name = "changed"
		equal(t, first.At(0).Name, "Ada")
	})
}

func TestAdopt(t *testing.T) {
	t.Run("children of several parents become one object", func(t *testing.T) {
		frozen := gather.Freeze([]author{
			{1, "Ada", []*book{{10, "Notes"}, {11, "Letters"}}},
			{2, "Alan", []*book{{11, "Letters, 2nd ed."}, nil}},
			{3, "Grace", nil},
		})
		people := gather.NewIdentity(authorID, gather.LastWins)
		books := gather.NewIdentity(bookID, gather.LastWins)
		_, err := people.Merge(frozen)
		must(t, err)
		for range 2 { // the second time changes nothing
			for _, p := range people.All() {
				p.Books, err = books.Adopt(p.Books)
				must(t, err)
			}
		}
		if people.Get(1).Books[1] != people.Get(2).Books[0] {
			t.Error("book 11 is not one object")
		}
		equal(t, people.Get(1).Books[1].Title, "Letters, 2nd ed.")
		equal(t, people.Get(2).Books[1], nil)
		equal(t, people.Get(3).Books, nil)
		equal(t, frozen.At(0).Books[1].Title, "Letters") // not even through its pointers
	})

	t.Run("a conflict can be refused", func(t *testing.T) {
		books := gather.NewIdentity(bookID, gather.Refuse)
		_, err := books.Adopt([]*book{{10, "Notes"}, {10, "Letters"}})
		says(t, err, "gather: object 1: gather_test.book with key 10: two rows of the same key differ")
	})
}

func ids(list []*author) (ids []int) {
	for _, a := range list {
		ids = append(ids, a.ID)
	}
	return ids
}
