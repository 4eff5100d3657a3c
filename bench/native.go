package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

// A native is a pool of pgx, with a gate or without. The workload sends it the
// statements that it sends an *sql.DB.
type native interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Begin(ctx context.Context) (pgx.Tx, error)
}

// bareNative opens a pool with nothing in front of it.
func (c Case) bareNative(dsn string, ops, maxOpen int) (pool, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return pool{}, err
	}
	if c.Strategy == Unbounded {
		if maxOpen == 0 {
			maxOpen = ops // a pgxpool has a bound
		}
		config.MaxConns = int32(maxOpen)
	}
	p, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return pool{}, err
	}
	return pool{
		do:    c.Form.natively(p),
		close: func() error { p.Close(); return nil },
		// It has the opening of connections in it.
		waited: func() time.Duration { return p.Stat().EmptyAcquireWaitTime() },
		limit:  func() int { return 0 },
		unused: func() error { return inUse(p.Stat()) },
	}, nil
}

// gatedNative opens a pool with a gate in front.
func (c Case) gatedNative(dsn string, config gate.Config, traces trace.TracerProvider) (pool, error) {
	p, err := pgxpoolgate.Open(dsn, pgxpoolgate.Config{Gate: config})
	if err != nil {
		return pool{}, err
	}
	stop := func() {}
	if traces != nil {
		if stop, err = tracing.Instrument(p.DB(), tracing.WithTracerProvider(traces)); err != nil {
			p.Close()
			return pool{}, err
		}
	}
	return pool{
		do: c.Form.natively(p),
		close: func() error {
			p.Close()
			stop()
			return nil
		},
		waited: func() time.Duration { return p.Gate().Stats().WaitDuration },
		limit:  func() int { return p.Gate().Stats().FoundLimit() },
		unused: func() error { return errors.Join(out(p.Gate()), inUse(p.Stat())) },
	}, nil
}

func inUse(s *pgxpool.Stat) error {
	if n := s.AcquiredConns(); n > 0 {
		return fmt.Errorf("%d connections are still in use", n)
	}
	return nil
}

// natively returns what carries out an operation of this form.
func (f Form) natively(p native) func(context.Context, Op) error {
	write, read := nativeIdiomaticWrite, nativeIdiomaticRead
	if f == Faithful {
		write, read = nativeFaithfulWrite, nativeFaithfulRead
	}
	return func(ctx context.Context, op Op) error {
		if op.Kind == Write {
			return write(ctx, p, op)
		}
		return read(ctx, p)
	}
}

func nativeIdiomaticWrite(ctx context.Context, p native, op Op) error {
	data := op.Data()
	_, err := p.Exec(ctx, insertFamilies, data[0], data[1], data[2])
	return committed(err)
}

func nativeIdiomaticRead(ctx context.Context, p native) error {
	rows, err := p.Query(ctx, selectFamilies)
	if err != nil {
		return err
	}
	defer rows.Close()
	parents := make([]parent, 0, parentsPerRead)
	var one parent
	var c child
	var childID pgtype.Int4
	var data pgtype.Text
	for rows.Next() {
		if err := rows.Scan(&one.id, &one.data, &one.created, &childID, &data); err != nil {
			return err
		}
		if n := len(parents); n == 0 || parents[n-1].id != one.id {
			parents = append(parents, one)
		}
		if childID.Valid {
			last := &parents[len(parents)-1]
			c.id, c.parentID, c.data = childID.Int32, last.id, nullable(data)
			last.children = append(last.children, c)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return checkFamilies(parents)
}

func nullable(t pgtype.Text) sql.Null[string] { return sql.Null[string]{V: t.String, Valid: t.Valid} }

func nativeFaithfulWrite(ctx context.Context, p native, op Op) error {
	tx, err := p.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) // of no effect after Commit
	var parents [parentsPerWrite]parent
	for i, data := range op.Data() {
		one := &parents[i]
		if err := tx.QueryRow(ctx, insertParent, data).Scan(&one.id, &one.created); err != nil {
			return err
		}
	}
	args := make([]any, 0, 2*childrenPerWrite)
	for i, one := range parents {
		for range childrenOf[i] {
			args = append(args, one.id, nil)
		}
	}
	rows, err := tx.Query(ctx, insertChildren, args...)
	if err != nil {
		return err
	}
	children, err := nativeCollect(rows, func(c *child) error { return rows.Scan(&c.id) })
	if err != nil {
		return err
	}
	if len(children) != childrenPerWrite {
		return fmt.Errorf("%w: %d children inserted instead of %d", errWrongRows, len(children), childrenPerWrite)
	}
	if err := tx.Commit(ctx); err != nil {
		return &commitError{err}
	}
	return nil
}

func nativeFaithfulRead(ctx context.Context, p native) error {
	tx, err := p.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) // for the returns before the end
	rows, err := tx.Query(ctx, selectParents)
	if err != nil {
		return err
	}
	parents, err := nativeCollect(rows, func(p *parent) error { return rows.Scan(&p.id, &p.data, &p.created) })
	if err != nil {
		return err
	}
	if len(parents) > 0 {
		args := make([]any, len(parents))
		for i, one := range parents {
			args[i] = one.id
		}
		if rows, err = tx.Query(ctx, selectChildren[len(parents)], args...); err != nil {
			return err
		}
		children, err := nativeCollect(rows, func(c *child) error {
			var data pgtype.Text
			err := rows.Scan(&c.parentID, &c.id, &data)
			c.data = nullable(data)
			return err
		})
		if err != nil {
			return err
		}
		if err := adopt(parents, children); err != nil {
			return err
		}
	}
	if err := tx.Rollback(ctx); err != nil {
		return err
	}
	return checkFamilies(parents)
}

// nativeCollect scans every row of rows and closes it.
func nativeCollect[T any](rows pgx.Rows, scan func(*T) error) ([]T, error) {
	defer rows.Close()
	var all []T
	var one, zero T
	for rows.Next() {
		one = zero
		if err := scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
