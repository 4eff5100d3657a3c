package poolgate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// One line is added; what used the pool goes on as before.
func Example() {
	existing := sql.OpenDB(nullConnector{}) // or sql.Open, as you have it
	db, err := poolgate.Wrap(existing, poolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()

	service := struct{ db *sql.DB }{db.DB} // sqlc, sqlx, GORM, bun and ent take it too
	if _, err := service.db.ExecContext(context.Background(), "UPDATE …"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(db.Gate().Stats().Acquired, "permit was given out")
	// Output: 1 permit was given out
}

// Where the database is the bottleneck, a refusal in good time is worth more
// than an answer that comes too late.
func ExampleWrap_refusal() {
	db, err := poolgate.Wrap(sql.OpenDB(nullConnector{}), poolgate.Config{
		Gate:       gate.Config{Limit: 1, MaxWaiting: 100, MaxWait: 10 * time.Millisecond},
		CloseInner: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()

	ctx := context.Background()
	tx, err := db.BeginTx(ctx, nil) // holds the only permit
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tx.Rollback()

	_, err = db.ExecContext(ctx, "UPDATE …")
	var rejected *gate.RejectedError
	if errors.As(err, &rejected) {
		fmt.Printf("503: %v, %d of %d in flight\n", rejected.Reason, rejected.InFlight, rejected.Limit)
	}
	// Output: 503: wait timeout, 1 of 1 in flight
}

// Without an *sql.DB that exists already, OpenDB keeps the connections itself.
// The adapters for PostgreSQL do so: see pgxgate.Open and pqgate.Open.
func ExampleOpenDB() {
	db, err := poolgate.OpenDB(nullConnector{}, poolgate.Config{
		Gate:        gate.Config{Limit: 40},
		MaxIdleTime: 10 * time.Minute,
		MaxLifetime: time.Hour,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()

	if _, err := db.ExecContext(context.Background(), "UPDATE …"); err != nil {
		fmt.Println(err)
	}
	s := db.Stats()
	fmt.Println(s.OpenConnections, "connection is open and", s.Idle, "idle")
	// Output: 1 connection is open and 1 idle
}

// An observer passes on a value of its own in the context of the lease.
func ExampleDB_Observe() {
	db, err := poolgate.OpenDB(nullConnector{}, poolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()

	type key struct{}
	stop := db.Observe(poolgate.Observer{
		Lease: func(ctx context.Context, l poolgate.LeaseStart) context.Context {
			return context.WithValue(ctx, key{}, "lease 1")
		},
		Call: func(ctx context.Context, c poolgate.Call) {
			fmt.Println(ctx.Value(key{}), "has called", c.Kind, c.Query)
		},
		LeaseEnd: func(ctx context.Context, e poolgate.LeaseEnd) {
			fmt.Println(ctx.Value(key{}), "has ended after", e.Calls, "call")
		},
	})
	defer stop()
	if _, err := db.ExecContext(context.Background(), "UPDATE …"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// lease 1 has called exec UPDATE …
	// lease 1 has ended after 1 call
}
