// Command libraries has forty goroutines move money between ten accounts, by each
// of the libraries that take a *sql.DB, on a gate of four permits.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/examples/goose"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

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
		log.Print(err)
	}
}

func run(ctx context.Context, db *poolgate.DB, out io.Writer) error {
	migrations, err := goose.NewProvider(db.DB)
	if err != nil {
		return err
	}
	if _, err := migrations.Up(ctx); err != nil {
		return err
	}
	for _, l := range libraries {
		if _, err := db.ExecContext(ctx, "TRUNCATE accounts"); err != nil {
			return err
		}
		sum, err := move(ctx, db, l)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		fmt.Fprintf(out, "%s: the sum is still %d\n", l.name, sum)
	}
	_, err = migrations.DownTo(ctx, 0)
	return err
}

// move opens ten accounts with 100 in each, moves money between them, and returns
// the sum of all balances.
func move(ctx context.Context, db *poolgate.DB, l library) (sum int64, err error) {
	s, err := l.open(ctx, db.DB)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	const people, goroutines = 10, 40
	ids, balances := make([]int64, people), make([]int64, people)
	for i := range ids {
		ids[i], balances[i] = int64(i+1), 100
	}
	if err := s.CreateMany(ctx, ids, balances); err != nil {
		return 0, err
	}
	var all errgroup.Group
	for i := range goroutines {
		all.Go(func() error {
			a, b := i%people, (i+1+i/people)%people
			return s.inTx(ctx, func(tx store) error {
				// In the order of ids, so that no two wait for each other's rows.
				if err := tx.Add(ctx, ids[min(a, b)], int64(i)); err != nil {
					return err
				}
				return tx.Add(ctx, ids[max(a, b)], -int64(i))
			})
		})
	}
	if err := all.Wait(); err != nil {
		return 0, err
	}
	err = s.Each(ctx, func(_, balance int64) error {
		sum += balance
		return nil
	})
	return sum, err
}
