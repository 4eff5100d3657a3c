package pqgate_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/lib/pq"

	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func ExampleOpen() {
	db, err := pqgate.Open(os.Getenv("DATABASE_URL"), poolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	var names []string
	err = db.QueryRow("SELECT array['a', 'b']").Scan(pq.Array(&names))
	fmt.Println(names, err)
	// Output: [a b] <nil>
}

// Copy many rows in a transaction, under the permit of the transaction.
func Example_copyIn() {
	ctx := context.Background()
	db, err := pqgate.Open(os.Getenv("DATABASE_URL"), poolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "CREATE TEMPORARY TABLE accounts (id int, balance int)"); err != nil {
		log.Fatal(err)
	}
	stmt, err := tx.PrepareContext(ctx, "COPY accounts (id, balance) FROM STDIN")
	if err != nil {
		log.Fatal(err)
	}
	for id := range 3 {
		if _, err := stmt.ExecContext(ctx, id, 100); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := stmt.ExecContext(ctx); err != nil { // the end of the rows
		log.Fatal(err)
	}
	if err := stmt.Close(); err != nil {
		log.Fatal(err)
	}
	var n int
	err = tx.QueryRowContext(ctx, "SELECT count(*) FROM accounts").Scan(&n)
	fmt.Println(n, "rows", err)
	// Output: 3 rows <nil>
}
