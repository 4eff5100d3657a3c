package gate_test

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"strings"
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

// Classes divide the permits among kinds of callers.
func ExampleClass() {
	g, err := gate.New(gate.Config{Limit: 3, MaxWaiting: gate.NoWaiting, Classes: []gate.Class{
		{Name: "pages", Reserved: 2},
		{Name: "reports", Max: 1, Priority: -1},
	}})
	if err != nil {
		panic(err)
	}
	reports := gate.WithClass(context.Background(), "reports")
	first, err := g.Acquire(reports)
	fmt.Println(first.Class(), err)
	_, err = g.Acquire(reports) // Max is 1
	fmt.Println(errors.Is(err, gate.ErrQueueFull))
	page, err := g.Acquire(gate.WithClass(context.Background(), "pages"))
	fmt.Println(page.Class(), err)
	first.Release()
	page.Release()
	// Output:
	// reports <nil>
	// true
	// pages <nil>
}

// A class can come from a flag, the environment or a file.
func ExampleClass_UnmarshalText() {
	var c gate.Class
	err := c.UnmarshalText([]byte("reports max=8 priority=-1 max_wait=5s"))
	fmt.Println(c.Name, c.Max, c.Priority, c.MaxWait, err)
	// Output: reports 8 -1 5s <nil>
}

// A refusal says why, and when to try again.
func ExampleRejectedError() {
	g, err := gate.New(gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting})
	if err != nil {
		panic(err)
	}
	permit, _ := g.Acquire(context.Background())
	defer permit.Release()
	_, err = g.Acquire(context.Background())
	if rejected, ok := errors.AsType[*gate.RejectedError](err); ok {
		fmt.Println(rejected.Reason.String(), rejected.InFlight, "of", rejected.Limit)
	}
	fmt.Println(errors.Is(err, gate.ErrRejected), errors.Is(err, gate.ErrQueueFull))
	// Output:
	// queue_full 1 of 1
	// true true
}

// The state as JSON, which expvar can publish.
func ExampleStats() {
	g, err := gate.New(gate.Config{Limit: 40})
	if err != nil {
		panic(err)
	}
	published := expvar.Func(func() any { return g.Stats() }) // expvar.Publish("orders_gate", …)
	fmt.Println(strings.HasPrefix(published.String(), `{"mode":"sliding","limit":40,"in_flight":0,"waiting":0,`))
	// Output: true
}
