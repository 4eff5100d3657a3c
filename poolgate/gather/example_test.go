package gather_test

import (
	"fmt"

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
