package main

import (
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A story is a way in which things go wrong, or do not.
type story struct {
	name   string
	limit  int // of the gate
	cured  int // and with the problem fixed; 0 if it is the same
	classy bool

	// requests in a second
	reads, writes, reports int

	// pays says that an order calls the payment service inside of its
	// transaction, until that is fixed.
	pays bool

	watch []string // the routes whose traces tell the story
}

var stories = []story{
	{name: "healthy", limit: 10, classy: true, reads: 60, writes: 20, reports: 1, watch: []string{"GET /order"}},
	{name: "small-pool", limit: 1, cured: 10, classy: true, reads: 80, writes: 5, watch: []string{"GET /order"}},
	{name: "held-transaction", limit: 4, classy: true, reads: 20, writes: 23, pays: true, watch: []string{"POST /order", "GET /order"}},
	{name: "batch", limit: 4, reads: 40, reports: 2, watch: []string{"GET /order", "GET /report"}},
}

// How long things take.
const (
	readTakes    = 10 * time.Millisecond  // the server
	reportTakes  = 200 * time.Millisecond // the server, for each of a report's parts
	paymentTakes = 150 * time.Millisecond // somebody else
)

// reportParts is how many statements a report is made of.
const reportParts = 6

// The classes of callers.
const (
	web     = "web"
	reports = "reports"
)

func (s story) gate(cured bool) gate.Config {
	c := gate.Config{Limit: s.limit, MaxWait: 5 * time.Second, LeakAfter: 10 * time.Second}
	if cured && s.cured > 0 {
		c.Limit = s.cured
	}
	if s.classy || cured {
		// A quarter is the web's own, and reports never take more than the rest.
		own := max(1, c.Limit/4)
		c.Classes = []gate.Class{
			{Name: web, Reserved: own, Priority: 1},
			{Name: reports, Max: max(1, c.Limit-own)},
		}
	}
	return c
}

func storyNames() []string {
	var names []string
	for _, s := range stories {
		names = append(names, s.name)
	}
	return names
}
