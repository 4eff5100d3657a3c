package poolgate_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// serverError is an error of PostgreSQL as both drivers have it.
type serverError string

func (e serverError) Error() string    { return "server: " + string(e) }
func (e serverError) SQLState() string { return string(e) }

func adaptive(a gate.Adaptive) poolgate.Config {
	return poolgate.Config{Gate: gate.Config{Adaptive: &a}}
}

func TestAdaptiveGateSeesStatements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		db, err := poolgate.OpenDB(nullConnector{}, adaptive(gate.Adaptive{}))
		must(t, err)
		defer db.Close()
		want := func(n int) {
			t.Helper()
			seen := 0
			for _, p := range db.Gate().Stats().Adaptive.Periods {
				seen += p.Statements
				if p.Took != 0 {
					t.Errorf("a statement took %v: that includes the time that the transaction thinks", p.Took)
				}
			}
			if seen != n {
				t.Errorf("%d statements were seen, want %d", seen, n)
			}
		}
		_, err = db.ExecContext(ctx, "UPDATE t")
		must(t, err)
		want(1)
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		_, err = tx.ExecContext(ctx, "UPDATE t")
		must(t, err)
		time.Sleep(time.Minute) // it thinks
		must(t, tx.Commit())
		want(4) // BEGIN, the statement and COMMIT too
	})
}

func TestAdaptiveGateHeedsTheServersErrors(t *testing.T) {
	ctx := context.Background()
	for name, call := range map[string]string{"a statement": "exec", "a connection": "connect"} {
		t.Run(name, func(t *testing.T) {
			config := adaptive(gate.Adaptive{})
			config.Gate.Limit = 40
			db, r := open(t, modern, config)
			want := serverError("53300")
			r.set(func(c string, _ int) error {
				if c == call {
					return want
				}
				return nil
			})
			_, err := db.ExecContext(ctx, "UPDATE t")
			if !errors.Is(err, want) {
				t.Fatalf("the error is %v", err)
			}
			if n := db.Gate().Limit(); n >= 40 {
				t.Errorf("the limit is %d after the server refused work", n)
			}
			r.set(nil)
		})
	}
}

func TestWrapWithAnAdaptiveLimit(t *testing.T) {
	inner := sql.OpenDB(nullConnector{})
	defer inner.Close()
	inner.SetMaxOpenConns(50)
	db, err := poolgate.Wrap(inner, adaptive(gate.Adaptive{}))
	must(t, err)
	defer db.Close()
	if s := db.Gate().Stats(); s.Adaptive.Max != 40 {
		t.Errorf("the limit may be %d, want the 40 that leave the lane 10 of 50", s.Adaptive.Max)
	}
	if n := db.Gate().MostPermits(); n != 50 {
		t.Errorf("at most %d permits may be out, want 50", n)
	}
	if err := db.SetLimit(51); err == nil {
		t.Error("a maximum that the pool cannot serve is accepted")
	}
	must(t, db.SetLimit(20))
	if s := db.Gate().Stats(); s.Adaptive.Max != 20 {
		t.Errorf("the limit may be %d after SetLimit(20)", s.Adaptive.Max)
	}
	if _, err := poolgate.Wrap(inner, adaptive(gate.Adaptive{Max: 60})); err == nil {
		t.Error("a Max above the pool's MaxOpenConns is accepted")
	}
}
