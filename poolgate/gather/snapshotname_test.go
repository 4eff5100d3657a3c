package gather_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/poolgate/poolgate/poolgate/gather"
)

// What a server calls its snapshot becomes a part of a statement.
func TestSnapshotName(t *testing.T) {
	for _, name := range []string{"", "1'; DROP TABLE numbers; --", "00000003-0000001b-1"} {
		t.Run("a name that is none is refused: "+name, func(t *testing.T) {
			f := &forger{name: name}
			db := sql.OpenDB(f)
			defer db.Close()
			err := gather.Run(t.Context(), db, gather.Options{Consistency: gather.Snapshot}, gather.Discard("SELECT 1"), gather.Discard("SELECT 2"))
			if err == nil || !strings.HasPrefix(err.Error(), "gather: the server calls its snapshot ") {
				t.Errorf("got error %v", err)
			}
			equal(t, f.told, []string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT pg_export_snapshot()", "ROLLBACK"})
		})
	}
}

// A forger is a driver whose server gives its snapshot any name.
type forger struct {
	name string
	mu   sync.Mutex // guards told
	told []string
}

func (f *forger) Connect(context.Context) (driver.Conn, error) { return &forgerConn{f}, nil }
func (f *forger) Driver() driver.Driver                        { return nil }

type forgerConn struct{ *forger }

func (c *forgerConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c *forgerConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }
func (c *forgerConn) Close() error                        { return nil }

func (c *forgerConn) tell(query string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, query)
}

func (c *forgerConn) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	c.tell(query)
	return driver.ResultNoRows, nil
}

func (c *forgerConn) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	c.tell(query)
	return &forgedRows{name: c.name}, nil
}

type forgedRows struct {
	name string
	done bool
}

func (r *forgedRows) Columns() []string { return []string{"name"} }
func (r *forgedRows) Close() error      { return nil }

func (r *forgedRows) Next(into []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	into[0] = r.name
	return nil
}
