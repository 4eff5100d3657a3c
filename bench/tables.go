package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
)

// DefaultSchema is the schema that the tables are in unless [Config] names
// another.
const DefaultSchema = "poolbench"

// ErrOccupied is the error of [Open] if the schema has tables that no benchmark
// has created, or is in use by another benchmark.
var ErrOccupied = errors.New("the schema is occupied")

// mark is the comment on what a benchmark creates. A benchmark that was killed
// leaves its tables behind, and the next one may drop them.
const mark = "created by poolbench"

// schemaPattern matches names that need no quotes.
var schemaPattern = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// tables are the article's, in a schema.
type tables struct {
	db     *sql.DB
	schema string
	claim  bool // the schema is this benchmark's to work in
}

// take claims the schema, as long as conn is open. It returns an ErrOccupied if
// it cannot have it.
func (t *tables) take(ctx context.Context, conn *sql.Conn) error {
	var free bool
	err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock(hashtextextended('poolbench ' || $1, 0))", t.schema).Scan(&free)
	if err != nil {
		return fmt.Errorf("locking schema %s: %w", t.schema, err)
	}
	if !free {
		return fmt.Errorf("%w: another benchmark is using schema %s", ErrOccupied, t.schema)
	}
	if err := t.checkOwn(ctx); err != nil {
		return err
	}
	t.claim = true
	return nil
}

// checkOwn returns an ErrOccupied if the schema has an a or a b that no
// benchmark has created.
func (t *tables) checkOwn(ctx context.Context) error {
	var foreign sql.NullString
	err := t.db.QueryRowContext(ctx, `
		SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY relname)
		FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname = $1 AND relname IN ('a', 'b') AND obj_description(c.oid, 'pg_class') IS DISTINCT FROM '`+mark+`'`,
		t.schema).Scan(&foreign)
	if err != nil {
		return fmt.Errorf("looking for tables in schema %s: %w", t.schema, err)
	}
	if foreign.Valid {
		return fmt.Errorf("%w: the benchmark needs the names a and b in schema %s, and did not create %s", ErrOccupied, t.schema, foreign.String)
	}
	return nil
}

// fresh gives the next run empty tables. The columns of b are in the order of
// the article's model.
func (t *tables) fresh(ctx context.Context, form Form) error {
	if err := t.checkOwn(ctx); err != nil {
		return err
	}
	var exists bool
	if err := t.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", t.schema).Scan(&exists); err != nil {
		return fmt.Errorf("looking for schema %s: %w", t.schema, err)
	}
	a, b := t.schema+".a", t.schema+".b"
	var statements []string
	if !exists {
		statements = append(statements,
			"CREATE SCHEMA "+t.schema,
			"COMMENT ON SCHEMA "+t.schema+" IS '"+mark+"'")
	}
	statements = append(statements,
		"DROP TABLE IF EXISTS "+b+", "+a,
		`CREATE TABLE `+a+` (
			id serial PRIMARY KEY,
			data varchar,
			create_date timestamp DEFAULT now()
		)`,
		"COMMENT ON TABLE "+a+" IS '"+mark+"'",
		`CREATE TABLE `+b+` (
			id serial PRIMARY KEY,
			a_id integer REFERENCES `+a+` (id),
			data varchar
		)`,
		"COMMENT ON TABLE "+b+" IS '"+mark+"'")
	if form == Idiomatic {
		statements = append(statements, "CREATE INDEX ON "+b+" (a_id)")
	}
	// In one transaction, so that no table is there without its mark.
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("creating the tables: %w", err)
	}
	defer tx.Rollback()
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("creating the tables: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("creating the tables: %w", err)
	}
	return nil
}

// drop removes what fresh has created, and nothing else: it fails if something
// else has been put into a schema that it created.
func (t *tables) drop(ctx context.Context) error {
	if !t.claim {
		return nil
	}
	if err := t.checkOwn(ctx); err != nil {
		return err
	}
	statements := []string{"DROP TABLE IF EXISTS " + t.schema + ".b, " + t.schema + ".a"}
	var own bool
	err := t.db.QueryRowContext(ctx, `
		SELECT coalesce((SELECT obj_description(oid, 'pg_namespace') = '`+mark+`' FROM pg_namespace WHERE nspname = $1), false)`,
		t.schema).Scan(&own)
	if err != nil {
		return fmt.Errorf("looking for schema %s: %w", t.schema, err)
	}
	if own {
		statements = append(statements, "DROP SCHEMA "+t.schema)
	}
	for _, s := range statements {
		if _, err := t.db.ExecContext(ctx, s); err != nil {
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
func (t *tables) verify(ctx context.Context, plan []Op, outcomes []outcome) error {
	rows, err := t.db.QueryContext(ctx, `
		SELECT coalesce(a.data, ''), count(b.id), count(b.data)
		FROM `+t.schema+`.a FULL JOIN `+t.schema+`.b ON b.a_id = a.id
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
