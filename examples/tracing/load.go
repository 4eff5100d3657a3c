package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// load sends the story's requests until ctx ends, waits for their answers, and
// returns what became of them. It sends them when it is their time, however long
// the others take, as clients do who know nothing of one another.
func load(ctx context.Context, base string, s story) string {
	routes := []*route{
		{name: "GET /order", rate: s.reads, request: func() (*http.Request, error) {
			return http.NewRequest(http.MethodGet, fmt.Sprintf("%s/order?id=%d", base, 1+rand.N(100)), nil)
		}},
		{name: "POST /order", rate: s.writes, request: func() (*http.Request, error) {
			return http.NewRequest(http.MethodPost, base+"/order", nil)
		}},
		{name: "GET /report", rate: s.reports, request: func() (*http.Request, error) {
			return http.NewRequest(http.MethodGet, base+"/report", nil)
		}},
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for _, r := range routes {
		if r.rate > 0 {
			all.Go(func() { r.send(ctx, client) })
		}
	}
	all.Wait()
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %9s %8s %8s %8s %8s\n", "", "requests", "median", "99 %", "refused", "failed")
	for _, r := range routes {
		if r.rate > 0 {
			fmt.Fprintln(&b, r)
		}
	}
	return b.String()
}

// A route is where requests are sent to, and what became of them.
type route struct {
	name    string
	rate    int // in a second
	request func() (*http.Request, error)

	mu      sync.Mutex // guards what follows
	took    []time.Duration
	refused int // 503
	failed  int
}

func (r *route) send(ctx context.Context, client *http.Client) {
	var all sync.WaitGroup
	defer all.Wait()
	ticker := time.NewTicker(time.Second / time.Duration(r.rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			all.Go(func() { r.one(client) })
		}
	}
}

func (r *route) one(client *http.Client) {
	begin := time.Now()
	status := 0
	if request, err := r.request(); err == nil {
		if answer, err := client.Do(request); err == nil {
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			status = answer.StatusCode
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took = append(r.took, time.Since(begin))
	switch {
	case status == http.StatusServiceUnavailable:
		r.refused++
	case status < 200 || status > 299:
		r.failed++
	}
}

// String returns a line of the table. Nobody may be sending any more.
func (r *route) String() string {
	slices.Sort(r.took)
	at := func(share float64) string {
		if len(r.took) == 0 {
			return "-"
		}
		return r.took[int(share*float64(len(r.took)-1))].Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%-12s %9d %8s %8s %8d %8d", r.name, len(r.took), at(0.5), at(0.99), r.refused, r.failed)
}
