package bench

import (
	"context"
	"database/sql"
)

// A write is one statement, and so one round trip and one transaction. The
// first and the third parent get two children, the second gets one.
const insertFamilies = `
WITH parent AS (
	INSERT INTO a (data) VALUES ($1), ($2), ($3) RETURNING id, data
)
INSERT INTO b (a_id)
SELECT id FROM parent UNION ALL SELECT id FROM parent WHERE data <> $2`

func idiomaticWrite(ctx context.Context, db *sql.DB, op Op) error {
	data := op.Data()
	_, err := db.ExecContext(ctx, insertFamilies, data[0], data[1], data[2])
	return committed(err)
}

// committed returns the error of a write that is one statement.
func committed(err error) error {
	if err != nil {
		err = &commitError{err}
	}
	return err
}

// A read is one statement without parameters. LATERAL and OFFSET 0 have the
// planner look the children up by the index, ten times: it would turn a plain
// join into one that reads all of b.
const selectFamilies = `
SELECT a.id, a.data, a.create_date, b.id, b.data
FROM (SELECT id, data, create_date FROM a LIMIT 10) a
LEFT JOIN LATERAL (SELECT id, data FROM b WHERE a_id = a.id OFFSET 0) b ON true`

func idiomaticRead(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, selectFamilies)
	if err != nil {
		return err
	}
	return readFamilies(rows)
}

func readFamilies(rows *sql.Rows) error {
	defer rows.Close()
	parents := make([]parent, 0, parentsPerRead)
	var p parent
	var c child
	var childID sql.Null[int32]
	for rows.Next() {
		if err := rows.Scan(&p.id, &p.data, &p.created, &childID, &c.data); err != nil {
			return err
		}
		if n := len(parents); n == 0 || parents[n-1].id != p.id {
			parents = append(parents, p)
		}
		if childID.Valid {
			last := &parents[len(parents)-1]
			c.id, c.parentID = childID.V, last.id
			last.children = append(last.children, c)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return checkFamilies(parents)
}

// byStatements returns what carries out the idiomatic operations by statements that are
// prepared once. It is for lib/pq, which remembers no statement by its text as pgx
// does.
func byStatements(ctx context.Context, db *sql.DB) (operations, error) {
	write, err := db.PrepareContext(ctx, insertFamilies)
	if err != nil {
		return operations{}, err
	}
	read, err := db.PrepareContext(ctx, selectFamilies)
	if err != nil {
		return operations{}, err
	}
	return operations{
		func(ctx context.Context, _ *sql.DB, op Op) error {
			data := op.Data()
			_, err := write.ExecContext(ctx, data[0], data[1], data[2])
			return committed(err)
		},
		func(ctx context.Context, _ *sql.DB) error {
			rows, err := read.QueryContext(ctx)
			if err != nil {
				return err
			}
			return readFamilies(rows)
		},
	}, nil
}
