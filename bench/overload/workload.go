package overload

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Workload is what each request asks of the server.
type Workload string

const (
	// CPU is a query that keeps one core of the server busy for a while. What
	// the server can do is bounded by its cores, and more queries at once
	// take longer each.
	CPU Workload = "cpu"

	// Wait is a query that waits, as for a disk or a lock, and leaves the
	// server's cores idle. What the server can do is bounded by the number of
	// connections.
	Wait Workload = "wait"
)

// Workloads returns all workloads, in the order in which they are measured.
func Workloads() []Workload { return []Workload{CPU, Wait} }

// How long a query takes where nothing else is going on. That of CPU is about
// so long.
const (
	cpuTime  = 10 * time.Millisecond
	waitTime = 20 * time.Millisecond
)

// limit is how many connections there are: as many as the server has cores,
// which are thought to be as many as the client's, or few enough for the client
// to send ten times what they can do without effort.
func (w Workload) limit(cores int) int {
	if w == CPU {
		return cores
	}
	return 10
}

// A query is what a request sends.
type query struct {
	text string
	arg  any
}

// String returns the statement with its argument.
func (q query) String() string { return strings.Replace(q.text, "$1", fmt.Sprint(q.arg), 1) }

func (q query) run(ctx context.Context, db *sql.DB) error {
	var result any
	return db.QueryRowContext(ctx, q.text, q.arg).Scan(&result)
}

// query returns the workload's query. That of CPU is made to fit the server,
// which db is a pool of and does nothing else now.
func (w Workload) query(ctx context.Context, db *sql.DB) (query, error) {
	if w == Wait {
		return query{"SELECT pg_sleep($1)", waitTime.Seconds()}, nil
	}
	const text = "SELECT count(md5(i::text)) FROM generate_series(1, $1::int) i"
	const rows = 10_000
	times := make([]time.Duration, 25)
	for i := range times {
		start := time.Now()
		if err := (query{text, rows}).run(ctx, db); err != nil {
			return query{}, fmt.Errorf("overload: trying how long a query takes: %w", err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	usual := times[len(times)/4] // without what else the machine was doing
	return query{text, max(1, int(rows*cpuTime/usual))}, nil
}
