package bench

import (
	"context"
	"database/sql"
	"fmt"
)

// The article's tables. The columns of b are in the order of its model.
var createTables = []string{
	"CREATE SCHEMA IF NOT EXISTS " + schemaName,
	"DROP TABLE IF EXISTS " + schemaName + ".b, " + schemaName + ".a",
	`CREATE TABLE ` + schemaName + `.a (
		id serial PRIMARY KEY,
		data varchar,
		create_date timestamp DEFAULT now()
	)`,
	`CREATE TABLE ` + schemaName + `.b (
		id serial PRIMARY KEY,
		a_id integer REFERENCES ` + schemaName + `.a (id),
		data varchar
	)`,
}

const createIndex = "CREATE INDEX ON " + schemaName + ".b (a_id)"

// freshTables gives the next run empty tables.
func freshTables(ctx context.Context, db *sql.DB, form Form) error {
	statements := createTables
	if form == Idiomatic {
		statements = append(statements[:len(statements):len(statements)], createIndex)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("creating the tables: %w", err)
		}
	}
	return nil
}

// dropTables removes what freshTables has made, and nothing else: it fails if
// somebody has put something else into the schema.
func dropTables(ctx context.Context, db *sql.DB) error {
	for _, s := range []string{
		"DROP TABLE IF EXISTS " + schemaName + ".b, " + schemaName + ".a",
		"DROP SCHEMA IF EXISTS " + schemaName,
	} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("dropping the tables: %w", err)
		}
	}
	return nil
}

// An outcome is what became of an operation.
type outcome int

const (
	failed  outcome = iota // a write has left no row
	done                   // a write has left all its rows
	unknown                // a write that lost its connection has left all its rows or none
)

// verify returns an error unless the tables hold exactly the rows of the
// writes that are done: each parent once and with its number of children, and
// no row besides. Of each write whose outcome is unknown there may be all rows
// or none.
func verify(ctx context.Context, db *sql.DB, plan []Op, outcomes []outcome) error {
	rows, err := db.QueryContext(ctx, `
		SELECT coalesce(a.data, ''), count(b.id), count(b.data)
		FROM `+schemaName+`.a FULL JOIN `+schemaName+`.b ON b.a_id = a.id
		GROUP BY a.id, a.data`)
	if err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	defer rows.Close()
	children := map[string]int{} // by the parent's data
	for rows.Next() {
		var data string
		var total, withData int
		if err := rows.Scan(&data, &total, &withData); err != nil {
			return fmt.Errorf("verifying: %w", err)
		}
		switch _, twice := children[data]; {
		case data == "":
			return fmt.Errorf("verification: %d children without a parent, or a parent without data", total)
		case twice:
			return fmt.Errorf("verification: parent %s is there twice", data)
		case withData > 0:
			return fmt.Errorf("verification: parent %s has %d children with data", data, withData)
		}
		children[data] = total
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	for i, op := range plan {
		if op.Kind != Write || outcomes[i] == failed {
			continue
		}
		found := 0
		for nth, data := range op.Data() {
			if n, ok := children[data]; ok {
				found++
				if n != childrenOf[nth] {
					return fmt.Errorf("verification: parent %s has %d children instead of %d", data, n, childrenOf[nth])
				}
				delete(children, data)
			}
		}
		none := found == 0 && outcomes[i] == unknown
		if found != parentsPerWrite && !none {
			return fmt.Errorf("verification: write %d has left %d parents instead of %d", op.Base, found, parentsPerWrite)
		}
	}
	for data, n := range children {
		return fmt.Errorf("verification: parent %s with %d children is there, of a write that failed or never was", data, n)
	}
	return nil
}
