package gate_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A gate stands in front of anything: here never more than two are inside.
func Example() {
	g, err := gate.New(gate.Config{Limit: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			permit, err := g.Acquire(context.Background())
			if err != nil {
				fmt.Println(err)
				return
			}
			defer permit.Release()
			// … the work …
		})
	}
	wg.Wait()
	s := g.Stats()
	fmt.Println(s.Acquired, "were let in,", s.InFlight, "are inside")
	// Output: 10 were let in, 0 are inside
}
