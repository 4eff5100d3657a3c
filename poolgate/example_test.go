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
