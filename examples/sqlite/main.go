// Command sqlite shows SQLite behind a gate. SQLite has one writer at a time, so
// those who write are of a class of one permit. They wait for one another in order,
// instead of failing with SQLITE_BUSY. Those who read are of no such class, and go on
// while one writes.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func main() {
	dir, err := os.MkdirTemp("", "sqlite")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := run(context.Background(), filepath.Join(dir, "accounts.db"), os.Stdout); err != nil {
		log.Print(err)
	}
}

// open opens the database in a file. busy_timeout is for writers of other
// processes, of which the gate knows nothing.
func open(file string) (*poolgate.DB, error) {
	pool, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	return poolgate.Wrap(pool, poolgate.Config{
		Gate: gate.Config{
			Limit:   8,
			Classes: []gate.Class{{Name: "writers", Max: 1}},
		},
		CloseInner: true,
	})
}

// deposit adds 1 to the account. It reads first, as a transaction often does that
// writes: with two of these at once one would fail.
func deposit(ctx context.Context, writers *sql.DB) error {
	tx, err := writers.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var balance int
	if err := tx.QueryRowContext(ctx, "SELECT balance FROM account").Scan(&balance); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE account SET balance = ?", balance+1); err != nil {
		return err
	}
	return tx.Commit()
}

// run has 50 callers write and 50 read, and prints what has become of the account.
func run(ctx context.Context, file string, out io.Writer) error {
	db, err := open(file)
	if err != nil {
		return err
	}
	defer db.Close()
	writers := db.Class("writers") // a *sql.DB, for whatever takes one
	for _, statement := range []string{"CREATE TABLE account (balance INTEGER)", "INSERT INTO account VALUES (0)"} {
		if _, err := writers.ExecContext(ctx, statement); err != nil {
			return err
		}
	}

	// A reader does not wait for the writer that is at work.
	tx, err := writers.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE account SET balance = 1000"); err != nil {
		return err
	}
	var balance int
	if err := db.QueryRowContext(ctx, "SELECT balance FROM account").Scan(&balance); err != nil {
		return err
	}
	fmt.Fprintln(out, "while one writes, others read", balance)
	if err := tx.Rollback(); err != nil {
		return err
	}

	all, ctx := errgroup.WithContext(ctx)
	for range 50 {
		all.Go(func() error { return deposit(ctx, writers) })
		all.Go(func() error {
			var balance int
			return db.QueryRowContext(ctx, "SELECT balance FROM account").Scan(&balance)
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if err := db.QueryRow("SELECT balance FROM account").Scan(&balance); err != nil {
		return err
	}
	fmt.Fprintln(out, "after 50 deposits of 1 the balance is", balance)
	return nil
}
