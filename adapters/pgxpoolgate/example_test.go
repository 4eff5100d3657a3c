package pgxpoolgate_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func ExampleOpen() {
	ctx := context.Background()
	pool, err := pgxpoolgate.Open(os.Getenv("DATABASE_URL"), pgxpoolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	rows, err := pool.Query(ctx, "SELECT generate_series(1, $1)", 3)
	if err != nil {
		log.Fatal(err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(numbers, "with", pool.Gate().Stats().Acquired, "permit")
	// Output: [1 2 3] with 1 permit
}

// Put a gate in front of a pool that exists, and begin a transaction by pgx's own
// function.
func ExampleWrap() {
	ctx := context.Background()
	inner, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpoolgate.Wrap(inner, pgxpoolgate.Config{Gate: gate.Config{Limit: 3}, CloseInner: true})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SELECT 1")
		fmt.Println(pool.Gate().Stats().InFlight, "permit while the transaction lasts")
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pool.Gate().Stats().InFlight, "afterwards")
	// Output:
	// 1 permit while the transaction lasts
	// 0 afterwards
}
