package bench

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// What an ORM sends: each parent on its own, because the session wants its id
// and default back, then the children. SQLAlchemy 1.4, as the article used it,
// packs the children into one statement over psycopg2 (and the parents too,
// where nobody asked for create_date); over asyncpg it sends the five children
// one by one as well. One statement for the children is the middle of the
// three, and what later versions send on every driver.
const (
	insertParent   = "INSERT INTO a (data) VALUES ($1) RETURNING id, create_date"
	insertChildren = "INSERT INTO b (a_id, data) VALUES ($1, $2), ($3, $4), ($5, $6), ($7, $8), ($9, $10) RETURNING id"
	selectParents  = "SELECT a.id, a.data, a.create_date FROM a LIMIT 10"
)

// selectChildren has one element for each number of parents: an ORM writes
// the IN list out, as long as it happens to be.
var selectChildren = func() (statements [parentsPerRead + 1]string) {
	var list strings.Builder
	for n := 1; n < len(statements); n++ {
		fmt.Fprintf(&list, ", $%d", n)
		statements[n] = "SELECT b.a_id, b.id, b.data FROM b WHERE b.a_id IN (" + list.String()[2:] + ")"
	}
	return statements
}()

// faithfulWrite sends BEGIN, three INSERTs into a, one into b, COMMIT.
func faithfulWrite(ctx context.Context, db *sql.DB, op Op) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // of no effect after Commit
	var parents [parentsPerWrite]parent
	for i, data := range op.Data() {
		p := &parents[i]
		if err := tx.QueryRowContext(ctx, insertParent, data).Scan(&p.id, &p.created); err != nil {
			return err
		}
	}
	args := make([]any, 0, 2*childrenPerWrite)
	for i, p := range parents {
		for range childrenOf[i] {
			args = append(args, p.id, nil)
		}
	}
	rows, err := tx.QueryContext(ctx, insertChildren, args...)
	if err != nil {
		return err
	}
	children, err := collect(rows, func(c *child) error { return rows.Scan(&c.id) })
	if err != nil {
		return err
	}
	if len(children) != childrenPerWrite {
		return fmt.Errorf("%w: %d children inserted instead of %d", errWrongRows, len(children), childrenPerWrite)
	}
	if err := tx.Commit(); err != nil {
		return &commitError{err}
	}
	return nil
}

// faithfulRead sends BEGIN, the SELECT of the parents, that of their children
// (unless there are no parents), ROLLBACK.
func faithfulRead(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // for the returns before the end
	rows, err := tx.QueryContext(ctx, selectParents)
	if err != nil {
		return err
	}
	parents, err := collect(rows, func(p *parent) error { return rows.Scan(&p.id, &p.data, &p.created) })
	if err != nil {
		return err
	}
	if len(parents) > 0 {
		if err := loadChildren(ctx, tx, parents); err != nil {
			return err
		}
	}
	if err := tx.Rollback(); err != nil {
		return err
	}
	return checkFamilies(parents)
}

// loadChildren selects the children of the parents.
func loadChildren(ctx context.Context, tx *sql.Tx, parents []parent) error {
	args := make([]any, len(parents))
	for i := range parents {
		args[i] = parents[i].id
	}
	rows, err := tx.QueryContext(ctx, selectChildren[len(parents)], args...)
	if err != nil {
		return err
	}
	children, err := collect(rows, func(c *child) error { return rows.Scan(&c.parentID, &c.id, &c.data) })
	if err != nil {
		return err
	}
	return adopt(parents, children)
}

// adopt gives the parents their children.
func adopt(parents []parent, children []child) error {
	byID := make(map[int32]*parent, len(parents))
	for i := range parents {
		byID[parents[i].id] = &parents[i]
	}
	for _, c := range children {
		p := byID[c.parentID]
		if p == nil {
			return fmt.Errorf("%w: child %d of parent %d, which was not asked for", errWrongRows, c.id, c.parentID)
		}
		p.children = append(p.children, c)
	}
	return nil
}
