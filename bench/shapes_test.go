package bench

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"

	"github.com/poolgate/poolgate/poolgate"
)

// A readShape is a way to write the idiomatic read; a writeShape one for the
// write. Those that are not the chosen one live here, to be compared with it.
type (
	readShape  func(context.Context, *sql.DB) error
	writeShape func(context.Context, *sql.DB, Op) error
)

// BenchmarkIdiomaticRead compares the shapes in which the read can be written:
// why idiomaticRead is what it is.
func BenchmarkIdiomaticRead(b *testing.B) {
	bench := openBenchmark(b, Config{Ops: 1, Limit: 8})
	fresh(b, bench, Idiomatic)
	fill(b, bench, halfway)
	type shape struct {
		name string
		read readShape
	}
	both := []shape{
		{"lateral", idiomaticRead}, // the chosen one
		{"any", readAny},
		{"in", readIn},
		{"join", readJoin},
		{"arrays", readArrays},
		{"cte-join", readCTE},
	}
	for _, d := range SQLDrivers() {
		own := shape{"two-in-one-message", readMessage}
		if d == PGX {
			own = shape{"batch", readBatch}
		}
		for _, s := range append(both[:len(both):len(both)], own) {
			b.Run(fmt.Sprintf("driver=%s/shape=%s", d, s.name), func(b *testing.B) {
				db := openGate(b, bench, d, Idiomatic, nil)
				repeat(b, bench, func(ctx context.Context) error { return s.read(ctx, db) })
			})
		}
	}
}

// BenchmarkIdiomaticWrite does the same for the write.
func BenchmarkIdiomaticWrite(b *testing.B) {
	bench := openBenchmark(b, Config{Ops: 1, Limit: 8})
	for _, d := range SQLDrivers() {
		for _, s := range []struct {
			name  string
			write writeShape
		}{
			{"cte", idiomaticWrite}, // the chosen one
			{"transaction", writeTransaction},
			{"faithful", faithfulWrite},
		} {
			b.Run(fmt.Sprintf("driver=%s/shape=%s", d, s.name), func(b *testing.B) {
				fresh(b, bench, Idiomatic)
				db := openGate(b, bench, d, Idiomatic, nil)
				var writes atomic.Int64
				repeat(b, bench, func(ctx context.Context) error {
					return s.write(ctx, db, Op{Write, int(writes.Add(parentsPerWrite))})
				})
			})
		}
	}
}

// TestShapes makes sure that what is compared does the same.
func TestShapes(t *testing.T) {
	b := openTest(t, Config{Ops: 1, Limit: 2})
	for _, d := range SQLDrivers() {
		if err := b.tables.fresh(t.Context(), Idiomatic); err != nil {
			t.Fatal(err)
		}
		db := openPlain(t, d, b.config.DSN)
		var plan []Op
		for i, write := range []writeShape{idiomaticWrite, writeTransaction, faithfulWrite, idiomaticWrite} {
			op := Op{Write, i * parentsPerWrite}
			if err := write(t.Context(), db, op); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, op)
		}
		if err := b.tables.verify(t.Context(), plan, []outcome{done, done, done, done}); err != nil {
			t.Errorf("%s: %v", d, err)
		}
		shapes := []readShape{idiomaticRead, faithfulRead, readAny, readIn, readJoin, readArrays, readCTE}
		if d == PGX {
			shapes = append(shapes, readBatch)
		} else {
			shapes = append(shapes, readMessage)
		}
		for i, read := range shapes {
			if err := read(t.Context(), db); err != nil {
				t.Errorf("%s: shape %d: %v", d, i, err)
			}
		}
		if _, err := db.ExecContext(t.Context(), "DELETE FROM b WHERE id <= 2"); err != nil {
			t.Fatal(err)
		}
		for i, read := range shapes {
			if err := read(t.Context(), db); err == nil {
				t.Errorf("%s: shape %d does not miss the children", d, i)
			}
		}
	}
}

// family puts children with their parents, and checks them.
func family(parents []parent, children []child) error {
	byID := make(map[int32]*parent, len(parents))
	for i := range parents {
		byID[parents[i].id] = &parents[i]
	}
	for _, c := range children {
		p := byID[c.parentID]
		if p == nil {
			return fmt.Errorf("%w: child %d of an unknown parent", errWrongRows, c.id)
		}
		p.children = append(p.children, c)
	}
	return checkFamilies(parents)
}

func queryParents(ctx context.Context, db *sql.DB) ([]parent, error) {
	rows, err := db.QueryContext(ctx, selectParents)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(p *parent) error { return rows.Scan(&p.id, &p.data, &p.created) })
}

func queryChildren(ctx context.Context, db *sql.DB, query string, args ...any) ([]child, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(c *child) error { return rows.Scan(&c.parentID, &c.id, &c.data) })
}

// readAny is two statements, each with a connection of its own.
func readAny(ctx context.Context, db *sql.DB) error {
	parents, err := queryParents(ctx, db)
	if err != nil {
		return err
	}
	ids := make([]int32, len(parents))
	for i, p := range parents {
		ids[i] = p.id
	}
	children, err := queryChildren(ctx, db, "SELECT a_id, id, data FROM b WHERE a_id = ANY($1)", ids)
	if err != nil {
		return err
	}
	return family(parents, children)
}

// readIn is the same with a list of parameters.
func readIn(ctx context.Context, db *sql.DB) error {
	parents, err := queryParents(ctx, db)
	if err != nil || len(parents) == 0 {
		return err
	}
	args := make([]any, len(parents))
	for i, p := range parents {
		args[i] = p.id
	}
	children, err := queryChildren(ctx, db, selectChildren[len(parents)], args...)
	if err != nil {
		return err
	}
	return family(parents, children)
}

// readJoin is one statement; the parent comes again with each child.
func readJoin(ctx context.Context, db *sql.DB) error {
	return readJoined(ctx, db, `SELECT a.id, a.data, a.create_date, b.id, b.data
		FROM (SELECT id, data, create_date FROM a LIMIT 10) a LEFT JOIN b ON b.a_id = a.id`)
}

func readCTE(ctx context.Context, db *sql.DB) error {
	return readJoined(ctx, db, `WITH p AS (SELECT id, data, create_date FROM a LIMIT 10)
		SELECT p.id, p.data, p.create_date, b.id, b.data FROM p LEFT JOIN b ON b.a_id = p.id`)
}

func readJoined(ctx context.Context, db *sql.DB, query string) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	var parents []parent
	var children []child
	seen := map[int32]bool{}
	type row struct{}
	_, err = collect(rows, func(*row) error {
		var p parent
		var c child
		var id sql.Null[int32]
		if err := rows.Scan(&p.id, &p.data, &p.created, &id, &c.data); err != nil {
			return err
		}
		if !seen[p.id] {
			seen[p.id] = true
			parents = append(parents, p)
		}
		if id.Valid {
			c.id, c.parentID = id.V, p.id
			children = append(children, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return family(parents, children)
}

// readArrays is one statement too, with the children in two arrays.
func readArrays(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, `
		SELECT a.id, a.data, a.create_date, b.ids, b.data
		FROM (SELECT id, data, create_date FROM a LIMIT 10) a,
		LATERAL (SELECT array_agg(id) AS ids, array_agg(data) AS data FROM b WHERE a_id = a.id) b`)
	if err != nil {
		return err
	}
	var ids pq.Int32Array
	var data []sql.NullString
	parents, err := collect(rows, func(p *parent) error {
		err := rows.Scan(&p.id, &p.data, &p.created, &ids, pq.Array(&data))
		for i, id := range ids {
			p.children = append(p.children, child{id, p.id, sql.Null[string]{V: data[i].String, Valid: data[i].Valid}})
		}
		return err
	})
	if err != nil {
		return err
	}
	return checkFamilies(parents)
}

// The children of the parents that the statement before has returned, where
// nobody can tell it which they were.
const selectChildrenAgain = "SELECT a_id, id, data FROM b WHERE a_id IN (SELECT id FROM a LIMIT 10)"

// readBatch sends both statements in one message, as pgx can.
func readBatch(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return poolgate.Raw(conn, func(c *stdlib.Conn) error {
		var batch pgx.Batch
		batch.Queue(selectParents)
		batch.Queue(selectChildrenAgain)
		results := c.Conn().SendBatch(ctx, &batch)
		defer results.Close()
		rows, err := results.Query()
		if err != nil {
			return err
		}
		parents, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p parent, err error) {
			return p, row.Scan(&p.id, &p.data, &p.created)
		})
		if err != nil {
			return err
		}
		if rows, err = results.Query(); err != nil {
			return err
		}
		children, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c child, err error) {
			return c, row.Scan(&c.parentID, &c.id, &c.data)
		})
		if err != nil {
			return err
		}
		return family(parents, children)
	})
}

// readMessage sends both statements in one message, as lib/pq does with what
// has no parameters.
func readMessage(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, selectParents+";"+selectChildrenAgain)
	if err != nil {
		return err
	}
	defer rows.Close()
	var parents []parent
	for rows.Next() {
		var p parent
		if err := rows.Scan(&p.id, &p.data, &p.created); err != nil {
			return err
		}
		parents = append(parents, p)
	}
	if !rows.NextResultSet() {
		return fmt.Errorf("no second result: %w", rows.Err())
	}
	children, err := collect(rows, func(c *child) error { return rows.Scan(&c.parentID, &c.id, &c.data) })
	if err != nil {
		return err
	}
	return family(parents, children)
}

// writeTransaction is the write in four round trips.
func writeTransaction(ctx context.Context, db *sql.DB, op Op) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	data := op.Data()
	rows, err := tx.QueryContext(ctx, "INSERT INTO a (data) VALUES ($1), ($2), ($3) RETURNING id", data[0], data[1], data[2])
	if err != nil {
		return err
	}
	parents, err := collect(rows, func(p *parent) error { return rows.Scan(&p.id) })
	if err != nil {
		return err
	}
	var args []any
	for i, p := range parents {
		for range childrenOf[i] {
			args = append(args, p.id)
		}
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO b (a_id) VALUES ($1), ($2), ($3), ($4), ($5)", args...); err != nil {
		return err
	}
	return tx.Commit()
}
