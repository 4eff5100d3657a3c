package session_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/poolgate/poolgate/poolgate/gatehttp"
	"github.com/poolgate/poolgate/poolgate/session"
)

func ExampleRun() {
	db := sql.OpenDB(printing{}) // or the DB of a *poolgate.DB
	defer db.Close()

	// A callee that knows nothing of units, as sqlc generates them.
	insert := func(ctx context.Context, text string) error {
		_, err := session.DB(ctx, db).ExecContext(ctx, "INSERT "+text)
		return err
	}

	err := session.Run(context.Background(), func(ctx context.Context) error {
		if err := insert(ctx, "order"); err != nil {
			return err
		}
		err := session.Run(ctx, func(ctx context.Context) error { // can be undone by itself
			insert(ctx, "discount")
			return errors.New("no discount today")
		})
		fmt.Println(err)
		return session.From(ctx).AfterCommit(func(context.Context) { fmt.Println("send a mail") })
	})
	fmt.Println(err)
	// Output:
	// BEGIN
	// INSERT order
	// SAVEPOINT poolgate_1
	// INSERT discount
	// ROLLBACK TO SAVEPOINT poolgate_1
	// RELEASE SAVEPOINT poolgate_1
	// no discount today
	// COMMIT
	// send a mail
	// <nil>
}

func ExampleNew() {
	db := sql.OpenDB(printing{})
	defer db.Close()

	ctx := context.Background()
	s, err := session.New(ctx, session.Config{Isolation: sql.LevelSerializable})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close() // rolls back what is not committed
	s.DB(db).ExecContext(ctx, "INSERT a")
	if err := s.Commit(); err != nil {
		fmt.Println(err)
		return
	}
	s.DB(db).ExecContext(ctx, "INSERT b") // begins the next transaction
	// Output:
	// BEGIN
	// INSERT a
	// COMMIT
	// BEGIN
	// INSERT b
	// ROLLBACK
}

func ExampleConfig_Run() {
	db := sql.OpenDB(printing{})
	defer db.Close()

	// The function may be repeated: it does nothing but what is rolled back.
	config := session.Config{Isolation: sql.LevelSerializable, Attempts: 5}
	err := config.Run(context.Background(), func(ctx context.Context) error {
		_, err := session.DB(ctx, db).ExecContext(ctx, "UPDATE")
		return err
	})
	fmt.Println(err)
	// Output:
	// BEGIN
	// UPDATE
	// COMMIT
	// <nil>
}

func ExampleNewHandler() {
	db := sql.OpenDB(printing{})
	defer db.Close()

	handler, err := session.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := session.DB(r.Context(), db).ExecContext(r.Context(), "INSERT"); err != nil {
			gatehttp.WriteError(w, err) // a 503 if the gate refused, or a 500; rolls back
			return
		}
		w.WriteHeader(http.StatusCreated) // commits, or is a 500
		fmt.Println("the header is out")
	}), session.HandlerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	fmt.Println(w.Code)
	// Output:
	// BEGIN
	// INSERT
	// COMMIT
	// the header is out
	// 201
}

// printing is a database that prints what it is told.
type printing struct{}

func (printing) Connect(context.Context) (driver.Conn, error) { return printing{}, nil }
func (printing) Driver() driver.Driver                        { return nil }
func (printing) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (printing) Close() error                                 { return nil }
func (p printing) Begin() (driver.Tx, error) {
	return p.BeginTx(context.Background(), driver.TxOptions{})
}

func (p printing) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	fmt.Println("BEGIN")
	return p, nil
}

func (printing) Commit() error {
	fmt.Println("COMMIT")
	return nil
}

func (printing) Rollback() error {
	fmt.Println("ROLLBACK")
	return nil
}

func (printing) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	fmt.Println(query)
	return driver.ResultNoRows, nil
}
