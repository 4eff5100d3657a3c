package pgxgate_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func ExampleOpen() {
	db, err := pgxgate.Open(os.Getenv("DATABASE_URL"), poolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	rows, err := db.Query("SELECT generate_series(1, $1)", 3)
	if err != nil {
		log.Fatal(err)
	}
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			log.Fatal(err)
		}
		fmt.Print(n, " ")
	}
	fmt.Println("with", db.Gate().Stats().Acquired, "permit")
	// Output: 1 2 3 with 1 permit
}

// Copy many rows with pgx's own connection, under the permit of the Conn.
func Example_copyFrom() {
	ctx := context.Background()
	db, err := pgxgate.Open(os.Getenv("DATABASE_URL"), poolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	conn, err := db.Conn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "CREATE TEMPORARY TABLE accounts (id int, balance int)"); err != nil {
		log.Fatal(err)
	}
	err = poolgate.Raw(conn, func(c *stdlib.Conn) error {
		n, err := c.Conn().CopyFrom(ctx, pgx.Identifier{"accounts"}, []string{"id", "balance"},
			pgx.CopyFromRows([][]any{{1, 100}, {2, 200}}))
		fmt.Println(n, "rows")
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: 2 rows
}
