package bench

import (
	"slices"
	"testing"
)

func TestPlan(t *testing.T) {
	t.Run("the same seed gives the same operations", func(t *testing.T) {
		if !slices.Equal(Plan(1000, 7), Plan(1000, 7)) {
			t.Error("two plans of one seed differ")
		}
	})
	t.Run("another seed gives others", func(t *testing.T) {
		if slices.Equal(Plan(1000, 7), Plan(1000, 8)) {
			t.Error("two seeds give one plan")
		}
	})
	t.Run("the plan of a seed never changes", func(t *testing.T) {
		// A seed from a report must give the same plan in later versions.
		want := []Op{{Kind: Read}, {Write, 3}, {Write, 6}, {Write, 9}, {Kind: Write}, {Write, 12}}
		if got := Plan(6, 1); !slices.Equal(got, want) {
			t.Errorf("Plan(6, 1) = %v, want %v", got, want)
		}
	})
	t.Run("reads and writes are half and half, and shuffled", func(t *testing.T) {
		const n = 35000
		plan := Plan(n, 1)
		if len(plan) != n {
			t.Fatalf("%d operations instead of %d", len(plan), n)
		}
		for _, part := range [][]Op{plan, plan[:n/10], plan[n-n/10:]} {
			writes := 0
			for _, op := range part {
				if op.Kind == Write {
					writes++
				}
			}
			if share := float64(writes) / float64(len(part)); share < 0.47 || share > 0.53 {
				t.Errorf("%.3f of %d operations are writes", share, len(part))
			}
		}
	})
	t.Run("no two parents have the same data", func(t *testing.T) {
		seen := map[string]bool{}
		for _, op := range Plan(5000, 3) {
			if op.Kind == Read {
				continue
			}
			for i, data := range op.Data() {
				if seen[data] {
					t.Fatalf("data %s is there twice", data)
				}
				seen[data] = true
				if n, err := wantChildren(data); err != nil || n != childrenOf[i] {
					t.Fatalf("wantChildren(%s) = %d, %v; parent %d of a write has %d", data, n, err, i, childrenOf[i])
				}
			}
		}
	})
}

func TestCheckFamilies(t *testing.T) {
	family := func(data string, children int) parent {
		return parent{data: data, children: make([]child, children)}
	}
	for _, test := range []struct {
		name    string
		parents []parent
		ok      bool
	}{
		{"no parents at all", nil, true},
		{"a whole write", []parent{family("4", 2), family("5", 1), family("6", 2)}, true},
		{"a child too few", []parent{family("4", 1)}, false},
		{"a child too many", []parent{family("5", 2)}, false},
		{"no children", []parent{family("6", 0)}, false},
		{"data of somebody else", []parent{family("x", 2)}, false},
		{"too many parents", slices.Repeat([]parent{family("4", 2)}, parentsPerRead+1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := checkFamilies(test.parents); (err == nil) != test.ok {
				t.Errorf("checkFamilies says %v", err)
			}
		})
	}
}
