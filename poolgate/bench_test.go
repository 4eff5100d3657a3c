package poolgate_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A driver that does nothing, at no cost: what is left is the pool's work.
type (
	nullConnector struct{}
	nullDriver    struct{}
	nullConn      struct{}
	nullRows      struct{}
	nullStmt      struct{}
	nullTx        struct{}
)

func (nullConnector) Connect(context.Context) (driver.Conn, error) { return &nullConn{}, nil }
func (nullConnector) Driver() driver.Driver                        { return nullDriver{} }
func (nullDriver) Open(string) (driver.Conn, error)                { return &nullConn{}, nil }

func (*nullConn) Prepare(string) (driver.Stmt, error) { return nullStmt{}, nil }
func (*nullConn) Begin() (driver.Tx, error)           { return nullTx{}, nil }
func (*nullConn) Close() error                        { return nil }
func (*nullConn) IsValid() bool                       { return true }
func (*nullConn) ResetSession(context.Context) error  { return nil }
func (*nullConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), nil
}
func (*nullConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return nullRows{}, nil
}

func (nullRows) Columns() []string         { return nil }
func (nullRows) Close() error              { return nil }
func (nullRows) Next([]driver.Value) error { return io.EOF }

func (nullStmt) Close() error                               { return nil }
func (nullStmt) NumInput() int                              { return 0 }
func (nullStmt) Exec([]driver.Value) (driver.Result, error) { return driver.RowsAffected(1), nil }
func (nullStmt) Query([]driver.Value) (driver.Rows, error)  { return nullRows{}, nil }

func (nullStmt) ExecContext(context.Context, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), nil
}
func (nullStmt) QueryContext(context.Context, []driver.NamedValue) (driver.Rows, error) {
	return nullRows{}, nil
}

func (nullTx) Commit() error   { return nil }
func (nullTx) Rollback() error { return nil }

// BenchmarkCheckout compares one statement through the bare pool and through
// gated ones, on a driver that costs nothing: the difference is what a gate adds
// to a checkout, and to one that is observed.
func BenchmarkCheckout(b *testing.B) {
	config := poolgate.Config{Gate: gate.Config{Limit: 4}, CloseInner: true}
	open := func(db *poolgate.DB, err error) *poolgate.DB {
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		return db
	}
	bare := sql.OpenDB(nullConnector{})
	defer bare.Close()
	opened := open(poolgate.OpenDB(nullConnector{}, config))
	wrapped := open(poolgate.Wrap(sql.OpenDB(nullConnector{}), config))
	observed := open(poolgate.OpenDB(nullConnector{}, config))
	observed.Observe(poolgate.Observer{
		Gate:     gate.Observer{AcquireEnd: func(context.Context, gate.AcquireEnd) {}, Release: func(gate.Release) {}},
		Lease:    func(ctx context.Context, _ poolgate.LeaseStart) context.Context { return ctx },
		LeaseEnd: func(context.Context, poolgate.LeaseEnd) {},
	})
	ctx := b.Context()
	for _, pool := range []struct {
		name string
		db   *sql.DB
	}{{"bare", bare}, {"OpenDB", opened.DB}, {"Wrap", wrapped.DB}, {"observed", observed.DB}} {
		b.Run("call=exec/pool="+pool.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := pool.db.ExecContext(ctx, "x"); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("call=stmt/pool="+pool.name, func(b *testing.B) {
			stmt, err := pool.db.PrepareContext(ctx, "x")
			if err != nil {
				b.Fatal(err)
			}
			defer stmt.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := stmt.ExecContext(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("call=conn/pool="+pool.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				conn, err := pool.db.Conn(ctx)
				if err != nil {
					b.Fatal(err)
				}
				conn.Close()
			}
		})
	}
}
