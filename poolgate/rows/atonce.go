package rows

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"weak"

	"github.com/poolgate/poolgate/internal/delivery"
	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate"
)

// A memory keeps the tables that InsertMany has looked up, so that the next
// statement for one can be written before the server is asked. Whether the table
// is still the same is asked in the same round trip, and nothing is stored if it
// is not.
type memory struct {
	mu     sync.Mutex
	tables map[place]table // nil for a pool that has no pipeline
}

type place struct {
	db   weak.Pointer[sql.DB]
	name string
}

var tables memory

// mostTables is how many tables a memory has until it forgets all of them.
const mostTables = 1000

// poolOf returns the pool that q is, or nil. A transaction, or a connection that
// may have one open, is not for a statement that may fail.
func poolOf(q Queryer) *sql.DB {
	switch q := q.(type) {
	case *sql.DB:
		return q
	case *poolgate.DB:
		return q.DB
	}
	return nil
}

// recall returns the table, or nil if it is not known.
func (m *memory) recall(db *sql.DB, name string) table {
	if db == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tables[place{weak.Make(db), name}]
}

// remember keeps a table of q, unless its pool is known to have no pipeline.
func (m *memory) remember(q Queryer, name string, t table) {
	db := poolOf(q)
	if db == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := place{weak.Make(db), name}
	if known, ok := m.tables[at]; ok && known == nil {
		return
	}
	if m.tables == nil || len(m.tables) >= mostTables {
		m.tables = make(map[place]table)
	}
	m.tables[at] = t
}

// refuse notes that the pool has no pipeline.
func (m *memory) refuse(db *sql.DB, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tables[place{weak.Make(db), name}] = nil
}

// insertAtOnce is InsertMany in one round trip. It reports whether that was
// possible: the table is known and has not changed, and the driver has a pipeline.
// Otherwise nothing is stored.
func insertAtOnce[Out, In any](ctx context.Context, q Queryer, name string, in []In, columns []string) (out []Out, stored bool, err error) {
	db := poolOf(q)
	known := tables.recall(db, name)
	if known == nil {
		return nil, false, nil
	}
	query, args, err := insertion[Out](known, in, columns)
	if err != nil { // the table may have changed
		return nil, false, nil
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, true, err
	}
	defer conn.Close()
	same := false
	err = poolgate.SendPipeline(ctx, conn, poolgate.Pipeline{Statements: []poolgate.PipelineStatement{
		{Query: checkQuery, Args: values(name, earliest, known[0].Print)},
		{Query: query, Args: values(args...)},
	}}, func(results poolgate.PipelineResults, _ func()) error {
		check, err := results.Query()
		if err == nil {
			err = check.Close()
		}
		if err != nil {
			return err
		}
		same = true
		returned, err := results.Query()
		if err != nil {
			return err
		}
		made := delivery.Open()
		defer made.Close()
		rs, err := made.QueryContext(context.WithoutCancel(ctx), query, delivery.Result{Rows: returned})
		if err != nil {
			return err
		}
		out, err = collect[Out](rs)
		return err
	})
	switch {
	case err == nil:
		return out, true, nil
	case errors.Is(err, poolgate.ErrNoPipeline):
		tables.refuse(db, name)
		return nil, false, nil
	case same:
		return nil, true, err
	}
	_, refused := errors.AsType[*poolgate.PipelineError](err)
	return nil, !refused && !errors.Is(err, driver.ErrBadConn) && sqlstate.Of(err) == "", err
}

func values(args ...any) []driver.NamedValue {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return named
}
