package poolgatetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
)

// defaultLimit is the limit of a config that has none.
const defaultLimit = 8

// Begin takes a connection of pool, begins a transaction on it, and returns a
// DB all of whose connections are this one. Its gate is as config says, and has
// 8 permits if config has no limit. When t ends, what is still held fails it,
// and everything is rolled back.
//
// pool may be any *sql.DB, gated or not, and shared by tests that run in
// parallel, of which each has one connection for as long as it runs. Another one
// is taken for a moment to cancel a statement whose context has ended.
//
// Begin fails t if there is no connection, or if config is not valid. The DB is
// safe for concurrent use.
func Begin(t testing.TB, pool *sql.DB, config poolgate.Config) *poolgate.DB {
	t.Helper()
	l, err := newLine(t, pool)
	if err != nil {
		t.Fatalf("poolgatetest: Begin: %v", err)
	}
	t.Cleanup(l.end)
	if config.Gate.Limit == 0 {
		config.Gate.Limit = defaultLimit
	}
	config.CloseInner = true
	line := sql.OpenDB(connector{l})
	db, err := poolgate.Wrap(line, config)
	if err != nil {
		line.Close()
		t.Fatalf("poolgatetest: Begin: %v", err)
	}
	t.Cleanup(func() {
		NothingHeld(t, db)
		db.Close() // has no error of its own
	})
	return db
}

// connector opens connections that are all the same.
type connector struct{ line *line }

func (c connector) Connect(context.Context) (driver.Conn, error) { return &conn{line: c.line}, nil }
func (c connector) Driver() driver.Driver                        { return c.line.pool.Driver() }
