// Command async_orm stores parents with their children, reads them all at once
// and one by one, and changes one.
//
// It is SQLAlchemy's example async_orm.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A is a row of example_a, with its children.
type A struct {
	ID         int
	Data       string
	CreateDate time.Time
	Bs         []B `db:"-"`
}

// B is a row of example_b.
type B struct {
	ID  int
	AID int `db:"a_id"`
}

func main() {
	ctx := context.Background()
	server, err := pgserver.Start(ctx, pgserver.Config{}) // a throw-away PostgreSQL
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	db, err := pgxgate.Open(server.DSN(), poolgate.Config{Gate: gate.Config{Limit: 4}})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if err := run(ctx, db, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, db *poolgate.DB, out io.Writer) error {
	if err := createAll(ctx, db); err != nil {
		return err
	}
	if err := session.Run(ctx, func(ctx context.Context) error { return addAll(ctx, db) }); err != nil {
		return err
	}
	return session.Run(ctx, func(ctx context.Context) error {
		if err := readAtOnce(ctx, db, out); err != nil {
			return err
		}
		if err := readOneByOne(ctx, db, out); err != nil {
			return err
		}
		return change(ctx, db, out)
	})
}

func createAll(ctx context.Context, db *poolgate.DB) error {
	_, err := db.ExecContext(ctx, `
		DROP TABLE IF EXISTS example_b, example_a;
		CREATE TABLE example_a (
			id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			data        text NOT NULL,
			create_date timestamptz NOT NULL DEFAULT now()
		);
		CREATE TABLE example_b (
			id   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			a_id int NOT NULL REFERENCES example_a
		)`)
	return err
}

// addAll stores three A and their five B, in one statement each. The keys and
// the dates that the server makes come back with them.
func addAll(ctx context.Context, db *poolgate.DB) error {
	conn := session.DB(ctx, db.DB)
	as, err := rows.InsertMany[A](ctx, conn, "example_a", []string{"a1", "a2", "a3"}, "data")
	if err != nil {
		return err
	}
	of := []int{as[0].ID, as[0].ID, as[1].ID, as[2].ID, as[2].ID}
	_, err = rows.InsertMany[int](ctx, conn, "example_b", of, "a_id")
	return err
}

// readAtOnce reads all A, and then the children of all of them.
func readAtOnce(ctx context.Context, db *poolgate.DB, out io.Writer) error {
	conn := session.DB(ctx, db.DB)
	as, err := rows.Collect[A](ctx, conn, "SELECT id, data, create_date FROM example_a ORDER BY id")
	if err != nil {
		return err
	}
	bs, err := rows.LoadMany(ctx, conn, as, func(a A) int { return a.ID }, func(b B) int { return b.AID },
		"SELECT id, a_id FROM example_b WHERE a_id = ANY($1) ORDER BY id")
	if err != nil {
		return err
	}
	for i, a := range as {
		a.Bs = bs[i]
		fmt.Fprintf(out, "A %d %s, created at: %s\n", a.ID, a.Data, a.CreateDate.Format(time.RFC3339))
		for _, b := range a.Bs {
			fmt.Fprintf(out, "  B %d\n", b.ID)
		}
	}
	return nil
}

// readOneByOne reads the same as the rows come from the server. The connection
// can do nothing else meanwhile, so the children come in the same statement.
func readOneByOne(ctx context.Context, db *poolgate.DB, out io.Writer) error {
	type row struct {
		A string
		B *int
	}
	last := ""
	for r, err := range rows.Stream[row](ctx, session.DB(ctx, db.DB),
		"SELECT a.data AS a, b.id AS b FROM example_a a LEFT JOIN example_b b ON b.a_id = a.id ORDER BY a.id, b.id") {
		if err != nil {
			return err
		}
		if r.A != last {
			fmt.Fprintf(out, "A %s\n", r.A)
			last = r.A
		}
		if r.B != nil {
			fmt.Fprintf(out, "  B %d\n", *r.B)
		}
	}
	return nil
}

// change changes the first A; the end of the unit commits it.
func change(ctx context.Context, db *poolgate.DB, out io.Writer) error {
	conn := session.DB(ctx, db.DB)
	first, err := rows.First[A](ctx, conn, "SELECT id, data, create_date FROM example_a ORDER BY id LIMIT 1")
	if err != nil {
		return err
	}
	first.Data = "new data"
	if _, err := conn.ExecContext(ctx, "UPDATE example_a SET data = $1 WHERE id = $2", first.Data, first.ID); err != nil {
		return err
	}
	return session.From(ctx).AfterCommit(func(ctx context.Context) {
		data, err := rows.One[string](ctx, db, "SELECT data FROM example_a WHERE id = $1", first.ID)
		fmt.Fprintf(out, "committed: A %d is %q, error: %v\n", first.ID, data, err)
	})
}
