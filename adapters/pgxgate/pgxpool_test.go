package pgxgate

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A program that has a *pgxpool.Pool puts a gate in front of the *sql.DB that
// shares it, and goes on using the pool itself.
func TestWrapOfAPgxpool(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	leaks := goleak.IgnoreCurrent()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 5
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	inner := stdlib.OpenDBFromPool(pool)

	for limit, want := range map[int]string{5: "", 4: "", 6: "MaxConns of the pgxpool behind the inner pool is 5"} {
		db, err := poolgate.Wrap(inner, poolgate.Config{Gate: gate.Config{Limit: limit}})
		if err == nil {
			db.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("limit %d: got %v", limit, err)
		}
	}

	db, err := poolgate.Wrap(inner, poolgate.Config{Gate: gate.Config{Limit: 4}})
	if err != nil {
		t.Fatal(err)
	}
	if n := db.Gate().Stats().OutOfBand.Max; n != 1 {
		t.Errorf("the lane has %d permits", n)
	}
	var conns []*sql.Conn
	for range 4 {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		conn.Close()
	}
	if n := db.Stats().Idle; n != 0 {
		t.Errorf("the *sql.DB keeps %d of the pool's connections", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// No session of the server is left with more and more of them.
	for i := range 50 {
		stmt, err := db.PrepareContext(ctx, fmt.Sprintf("select %d + $1::int", i))
		if err != nil {
			t.Fatal(err)
		}
		var sum int
		if err := stmt.QueryRowContext(ctx, 1).Scan(&sum); err != nil || sum != i+1 {
			t.Errorf("got %d, %v", sum, err)
		}
		stmt.Close()
	}
	var prepared int
	err = db.QueryRowContext(ctx, "select count(*) from pg_prepared_statements where statement like 'select % + $1::int'").Scan(&prepared)
	if err != nil || prepared > 0 {
		t.Errorf("%d prepared statements are left, %v", prepared, err)
	}
	var own []*pgxpool.Conn
	for range 5 { // all that there are
		conn, err := pool.Acquire(ctx)
		if err != nil {
			t.Fatalf("the pool's own users starve: %v", err)
		}
		own = append(own, conn)
	}
	for _, conn := range own {
		conn.Release()
	}
	db.Close()
	inner.Close()
	pool.Close()
	goleak.VerifyNone(t, leaks)
}
