package main

import (
	"context"
	"fmt"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// The kinds of work. The workload of poolbench has both forms; cpu sorts a few
// thousand numbers; wait sleeps in the server, as a statement that waits for
// something else does, 8 side by side at most: more wait for one another.
func kinds() []string { return []string{"faithful", "idiomatic", "cpu", "wait"} }

const (
	cpuQuery  = "SELECT count(*) FROM (SELECT g FROM generate_series(1, 3000) g ORDER BY md5(g::text)) s"
	waitQuery = "SELECT pg_sleep(0.003) FROM (SELECT pg_advisory_xact_lock(4711, (random() * 8)::int)) l"
)

// prepare checks that the server can be reached.
func prepare(ctx context.Context, dsn string) error {
	db, err := bench.PGX.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.PingContext(ctx)
}

// A load is a kind of work on a pool.
type load struct {
	db        *poolgate.DB
	operation func(context.Context) error
	holds     *holds
	close     func()
	again     func(gate.Config) (*load, error)
}

// open returns a load on a pool with that gate. The workload gets fresh tables,
// which a load from again shares.
func open(ctx context.Context, dsn, kind string, d bench.Driver, config gate.Config) (*load, error) {
	switch kind {
	case "faithful", "idiomatic":
		return openWorkload(ctx, dsn, bench.Form(kind), d, config)
	case "cpu":
		return openQuery(dsn, cpuQuery, d, config)
	case "wait":
		return openQuery(dsn, waitQuery, d, config)
	}
	return nil, fmt.Errorf("there is no work %q: it is one of %v", kind, kinds())
}

func openQuery(dsn, query string, d bench.Driver, config gate.Config) (*load, error) {
	db, err := d.Open(dsn, poolgate.Config{Gate: config})
	if err != nil {
		return nil, err
	}
	return newLoad(db, func(ctx context.Context) error {
		rows, err := db.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}, func(c gate.Config) (*load, error) { return openQuery(dsn, query, d, c) }), nil
}

func openWorkload(ctx context.Context, dsn string, form bench.Form, d bench.Driver, config gate.Config) (*load, error) {
	b, err := bench.Open(ctx, bench.Config{DSN: dsn, Schema: bench.DefaultSchema, Ops: 1, Limit: 1})
	if err != nil {
		return nil, err
	}
	w, err := b.Workload(ctx, form, d)
	if err != nil {
		b.Close()
		return nil, err
	}
	var another func(c gate.Config) (*load, error)
	another = func(c gate.Config) (*load, error) {
		db, operation, err := w.Open(c)
		if err != nil {
			return nil, err
		}
		return newLoad(db, operation, another), nil
	}
	l, err := another(config)
	if err != nil {
		b.Close()
		return nil, err
	}
	closePool := l.close
	l.close = func() {
		closePool()
		b.Close()
	}
	return l, nil
}

func newLoad(db *poolgate.DB, operation func(context.Context) error, again func(gate.Config) (*load, error)) *load {
	l := &load{db: db, operation: operation, holds: new(holds), again: again}
	stop := db.Gate().Observe(gate.Observer{Release: func(r gate.Release) { l.holds.add(r.Held) }})
	l.close = func() {
		stop()
		db.Close()
	}
	return l
}
