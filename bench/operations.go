package bench

import (
	"context"
	"image/color"
	"math/rand/v2"
	"sync/atomic"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Open opens a pool of the driver, which is one of SQLDrivers, behind a gate.
func (d Driver) Open(dsn string, config poolgate.Config) (*poolgate.DB, error) {
	return d.openGated(dsn, config)
}

// DriverColor returns the colour of a driver in pictures.
func DriverColor(d Driver) color.Color { return driverColors[d] }

// A Workload is the benchmark's reads and writes with even odds, without an
// end, on tables that one run of them after another shares.
type Workload struct {
	dsn    string
	driver Driver
	form   Form
	writes *atomic.Int64
}

// Workload makes fresh tables. The driver is one of SQLDrivers.
func (b *Bench) Workload(ctx context.Context, form Form, d Driver) (Workload, error) {
	dsn, err := d.connectionString(b.config.DSN, b.config.Schema, form)
	if err != nil {
		return Workload{}, err
	}
	if err := b.fresh(ctx, form); err != nil {
		return Workload{}, err
	}
	return Workload{dsn, d, form, new(atomic.Int64)}, nil
}

// Open opens a pool for the workload and returns one operation of it, which is
// safe for concurrent use. The pool is the caller's to close.
func (w Workload) Open(config gate.Config) (*poolgate.DB, func(context.Context) error, error) {
	db, err := w.driver.Open(w.dsn, poolgate.Config{Gate: config})
	if err != nil {
		return nil, nil, err
	}
	do, err := w.form.on(context.Background(), w.driver, db.DB)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return db, func(ctx context.Context) error {
		op := Op{Kind: Read}
		if rand.IntN(2) == 0 {
			op = Op{Kind: Write, Base: int(w.writes.Add(1)) * parentsPerWrite}
		}
		return do(ctx, op)
	}, nil
}
