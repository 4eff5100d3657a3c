package gather_test

import (
	"context"
	"fmt"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gather"
)

func ExampleIdentity_Merge() {
	type person struct {
		ID   int
		Name string
	}
	// What gather.Collect[person] has read by two statements.
	results := []gather.Frozen[person]{
		gather.Freeze([]person{{1, "Ada"}, {2, "Alan"}}),
		gather.Freeze([]person{{2, "Alan Turing"}, {3, "Grace"}}),
	}

	people := gather.NewIdentity(func(p person) int { return p.ID }, gather.LastWins)
	lists, err := people.Merge(results...)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, list := range lists {
		for _, p := range list {
			fmt.Println(i, p.Name)
		}
	}
	fmt.Println("one object:", lists[0][1] == lists[1][0])
	// Output:
	// 0 Ada
	// 0 Alan Turing
	// 1 Alan Turing
	// 1 Grace
	// one object: true
}

// A page that needs a list, its length and a total has all of them in one round
// trip, as they were at one moment.
func ExampleRun_pipelined() {
	var (
		ctx  context.Context
		db   *poolgate.DB // of pgxgate.Open
		page struct {
			Orders []struct{ ID, Amount int }
			Count  int
			Total  int
		}
	)
	load := func(customer int) error {
		return gather.Run(ctx, db, gather.Options{Consistency: gather.Pipelined},
			gather.Query(&page.Orders, "SELECT id, amount FROM orders WHERE customer = $1 LIMIT 20", customer),
			gather.One(&page.Count, "SELECT count(*) FROM orders WHERE customer = $1", customer),
			gather.One(&page.Total, "SELECT coalesce(sum(amount), 0) FROM orders WHERE customer = $1", customer))
	}
	_ = load
}
