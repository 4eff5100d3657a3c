// Command gather_statements runs thirty SELECTs at once, each out of band on a
// connection of its own, and merges what they have read into one identity map.
// It then does what that pattern cannot do by itself: it adds balances up while
// somebody moves money about, first as above, then on one snapshot.
//
// It is SQLAlchemy's example gather_orm_statements, and what that warns of.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A is a row of example_a.
type A struct {
	ID   int
	Data string
}

func main() {
	ctx := context.Background()
	server, err := pgserver.Start(ctx, pgserver.Config{}) // a throw-away PostgreSQL
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	db, err := pgxgate.Open(server.DSN(), poolgate.Config{Gate: gate.Config{Limit: 8}})
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
	if err := gatherAndMerge(ctx, db, out); err != nil {
		return err
	}
	return addUp(ctx, db, out)
}

func createAll(ctx context.Context, db *poolgate.DB) error {
	_, err := db.ExecContext(ctx, `
		DROP TABLE IF EXISTS example_a, example_accounts;
		CREATE TABLE example_a (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data text NOT NULL);
		CREATE TABLE example_accounts (id int PRIMARY KEY, balance int NOT NULL);
		INSERT INTO example_accounts SELECT n, 100 FROM generate_series(1, 8) n`)
	if err != nil {
		return err
	}
	return session.Run(ctx, func(ctx context.Context) error {
		data := make([]string, 100)
		for i := range data {
			data[i] = fmt.Sprintf("a_%d", i)
		}
		_, err := rows.InsertMany[int](ctx, session.DB(ctx, db.DB), "example_a", data, "data")
		return err
	})
}

// gatherAndMerge works in a unit whose transaction stays open meanwhile: the
// statements do not need its connection, and it does not wait for their permits.
func gatherAndMerge(ctx context.Context, db *poolgate.DB, out io.Writer) error {
	return session.Run(ctx, func(ctx context.Context) error {
		if _, err := session.DB(ctx, db.DB).ExecContext(ctx, "INSERT INTO example_a (data) VALUES ('not committed yet')"); err != nil {
			return err
		}

		random := rand.New(rand.NewPCG(14, 2)) // the same each time
		statements := make([]gather.SQL, 30)
		for i := range statements {
			statements[i] = gather.SQL{
				Query: "SELECT id, data FROM example_a WHERE data = $1",
				Args:  []any{fmt.Sprintf("a_%d", random.IntN(100))},
			}
		}
		frozen, err := gather.Collect[A](ctx, db, gather.Options{}, statements...)
		if err != nil {
			return err
		}

		identity := gather.NewIdentity(func(a A) int { return a.ID }, gather.LastWins)
		results, err := identity.Merge(frozen...)
		if err != nil {
			return err
		}
		for i, result := range results { // in the order of the statements
			for _, a := range result {
				fmt.Fprintf(out, "%2d: %+v\n", i, *a)
			}
		}
		fmt.Fprintf(out, "%d results, %d objects\n", len(results), identity.Len())

		// Where nobody wants the results they are read and dropped.
		return gather.Run(ctx, db, gather.Options{}, gather.Discard("SELECT id FROM example_a"), gather.Discard("SELECT data FROM example_a"))
	})
}

// addUp adds up eight balances, each by a statement of its own, while money is
// moved from one account to another. The sum is always 800.
func addUp(ctx context.Context, db *poolgate.DB, out io.Writer) (err error) {
	moving, stop := context.WithCancel(ctx)
	moved := make(chan error)
	go func() { moved <- moveMoney(moving, db) }()
	defer func() {
		stop()
		err = errors.Join(err, <-moved)
	}()

	statements := make([]gather.SQL, 8)
	for i := range statements {
		statements[i] = gather.SQL{Query: "SELECT balance FROM example_accounts WHERE id = $1", Args: []any{i + 1}}
	}
	// wrong reports whether one of n sums is wrong.
	wrong := func(n int, consistency gather.Consistency) (bool, error) {
		for range n {
			balances, err := gather.Collect[int](ctx, db, gather.Options{Consistency: consistency}, statements...)
			if err != nil {
				return false, err
			}
			sum := 0
			for _, b := range balances {
				sum += b.At(0)
			}
			if sum != 800 {
				return true, nil
			}
		}
		return false, nil
	}

	for _, try := range []struct {
		consistency gather.Consistency
		sums        int
	}{{gather.Independent, 10_000}, {gather.Snapshot, 100}, {gather.Serial, 100}} {
		torn, err := wrong(try.sums, try.consistency)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%v: a sum was wrong: %v\n", try.consistency, torn)
	}
	return nil
}

func moveMoney(ctx context.Context, db *poolgate.DB) error {
	for i := 0; ctx.Err() == nil; i++ {
		from, to := i%8+1, (3*i+1)%8+1
		if from == to {
			continue
		}
		_, err := db.ExecContext(ctx, "UPDATE example_accounts SET balance = balance + CASE id WHEN $1 THEN -1 ELSE 1 END WHERE id IN ($1, $2)", from, to)
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
