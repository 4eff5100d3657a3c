package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/session"
)

// With one permit, a library that took a second one while it has the first would
// be refused.
func TestLibraries(t *testing.T) {
	forAll(t, withLimit(1), func(t *testing.T, db *poolgate.DB, l library, s store) {
		for _, class := range []string{gate.DefaultClass, reports} {
			ctx := gate.WithClass(t.Context(), class)
			for _, part := range []struct {
				name string
				test func(ctx context.Context, t *testing.T, db *poolgate.DB, l library, s store)
			}{{"statements", statements}, {"transactions", transactions}, {"unit", unit}} {
				t.Run(class+"/"+part.name, func(t *testing.T) {
					empty(t, db)
					before := acquired(db)
					part.test(ctx, t, db, l, s)
					for name, n := range acquired(db) {
						if took := n > before[name]; took != (name == class) {
							t.Errorf("class %q was given %d permits", name, n-before[name])
						}
					}
				})
			}
		}
	})
}

// acquired returns how many permits each class was given.
func acquired(db *poolgate.DB) map[string]uint64 {
	counts := map[string]uint64{}
	for _, c := range db.Gate().Stats().Classes {
		counts[c.Name] = c.Acquired
	}
	return counts
}

// statements creates, reads, updates and deletes accounts, of which there are
// none.
func statements(ctx context.Context, t *testing.T, db *poolgate.DB, l library, s store) {
	for name, err := range map[string]error{
		"create":      s.Create(ctx, 1, 10),
		"create many": s.CreateMany(ctx, []int64{2, 3, 4}, []int64{20, 30, 40}),
	} {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := s.Add(ctx, 2, 5); err != nil {
		t.Errorf("update: %v", err)
	}
	if err := s.Delete(ctx, 3); err != nil {
		t.Errorf("delete: %v", err)
	}
	if balance, err := s.Balance(ctx, 2); err != nil || balance != 25 {
		t.Errorf("account 2: %d, %v", balance, err)
	}
	if _, err := s.Balance(ctx, 3); err == nil {
		t.Error("account 3 is still there")
	}
	if p, ok := s.accounts.(interface {
		Balances(ctx context.Context, ids ...int64) ([]int64, error)
	}); ok {
		if got, err := p.Balances(ctx, 4, 2, 1); err != nil || !slices.Equal(got, []int64{40, 25, 10}) {
			t.Errorf("by a prepared statement: %v, %v", got, err)
		}
	}
	wantAccounts(ctx, t, s, balances{1: 10, 2: 25, 4: 40})

	var seen []int64
	err := s.Each(ctx, func(id, _ int64) error {
		seen = append(seen, id)
		inFlight := db.Gate().Stats().InFlight == 1
		if want := l.streams || session.From(ctx) != nil; inFlight != want {
			t.Errorf("while reading, a permit is out: %v, want %v", inFlight, want)
		}
		if id == 2 {
			return errUndone
		}
		return nil
	})
	if !errors.Is(err, errUndone) || !slices.Equal(seen, []int64{1, 2}) {
		t.Errorf("reading as far as account 2: %v, %v", seen, err)
	}
}

func transactions(ctx context.Context, t *testing.T, db *poolgate.DB, l library, s store) {
	for _, test := range []struct {
		name string
		fn   func(tx store) error
		ok   func(error) bool
		want balances
	}{
		{"that is committed", func(tx store) error {
			if err := tx.CreateMany(ctx, []int64{1, 2}, []int64{10, 20}); err != nil {
				return err
			}
			wantAccounts(ctx, t, tx, balances{1: 10, 2: 20})
			return tx.Add(ctx, 1, 1)
		}, func(err error) bool { return err == nil }, balances{1: 11, 2: 20}},

		{"that is undone", func(tx store) error {
			return errors.Join(tx.Add(ctx, 1, 1), tx.Delete(ctx, 2), errUndone)
		}, func(err error) bool { return errors.Is(err, errUndone) }, balances{1: 11, 2: 20}},

		{"that fails", func(tx store) error {
			if err := tx.Create(ctx, 3, 30); err != nil {
				return err
			}
			return tx.Create(ctx, 1, 10)
		}, func(err error) bool { return sqlstate.Of(err) == "23505" }, balances{1: 11, 2: 20}},

		{"that asks the pool for more", func(tx store) error {
			if err := tx.Create(ctx, 3, 30); err != nil {
				return err
			}
			return s.Add(ctx, 1, 1) // and not tx.Add
		}, func(err error) bool { return errors.Is(err, gate.ErrDeadlock) }, balances{1: 11, 2: 20}},
	} {
		if err := s.inTx(ctx, test.fn); !test.ok(err) {
			t.Errorf("a transaction %s: %v", test.name, err)
		}
		wantAccounts(ctx, t, s, test.want)
	}

	err := s.inTx(ctx, func(tx store) error {
		inner := tx.inTx(ctx, func(tx store) error {
			return errors.Join(tx.Create(ctx, 4, 40), errUndone)
		})
		if nested := errors.Is(inner, errUndone); nested != l.nests {
			t.Errorf("a nested transaction: %v, want one: %v", inner, l.nests)
		}
		if l.nests {
			return tx.inTx(ctx, func(tx store) error { return tx.Create(ctx, 5, 50) })
		}
		return tx.Create(ctx, 5, 50)
	})
	if err != nil {
		t.Errorf("around it: %v", err)
	}
	wantAccounts(ctx, t, s, balances{1: 11, 2: 20, 5: 50})
}

// unit does the same in units of work.
func unit(ctx context.Context, t *testing.T, db *poolgate.DB, l library, s store) {
	err := session.Run(ctx, func(ctx context.Context) error {
		statements(ctx, t, db, l, s)
		return errUndone
	})
	if !errors.Is(err, errUndone) {
		t.Errorf("a unit that is undone: %v", err)
	}
	wantAccounts(ctx, t, s, balances{})

	err = session.Run(ctx, func(ctx context.Context) error {
		if err := s.Create(ctx, 1, 10); err != nil {
			return err
		}
		inner := session.Run(ctx, func(ctx context.Context) error {
			return s.Create(ctx, 1, 10)
		})
		if sqlstate.Of(inner) != "23505" {
			t.Errorf("a nested Run that fails: %v", inner)
		}
		inner = session.Run(ctx, func(ctx context.Context) error { return s.Create(ctx, 2, 20) })
		if inner != nil {
			t.Errorf("a nested Run: %v", inner)
		}
		// The library's own transaction.
		inner = s.inTx(ctx, func(tx store) error {
			return errors.Join(tx.Create(ctx, 3, 30), tx.Create(ctx, 1, 10))
		})
		switch state := sqlstate.Of(inner); {
		case l.inUnit && state == "23505":
			return s.inTx(ctx, func(tx store) error { return tx.Create(ctx, 4, 40) })
		case l.inUnit || !errors.Is(inner, gate.ErrDeadlock):
			t.Errorf("a transaction in the unit: %v", inner)
		}
		return s.Create(ctx, 4, 40)
	})
	if err != nil {
		t.Errorf("a unit: %v", err)
	}
	wantAccounts(ctx, t, s, balances{1: 10, 2: 20, 4: 40})
}

// A transaction that uses the pool inside is the mistake that hangs a program as
// soon as enough requests make it at once.
func TestTransactionsThatAskThePoolForMore(t *testing.T) {
	const limit = 3
	forAll(t, withLimit(limit), func(t *testing.T, db *poolgate.DB, _ library, s store) {
		const shared = 10
		if err := s.Create(t.Context(), shared, 0); err != nil {
			t.Fatal(err)
		}
		// GORM and squirrel prepare a statement under a lock of theirs. Those
		// that wait for it wait where a gate cannot see them.
		if err := s.Add(t.Context(), shared, 0); err != nil {
			t.Fatal(err)
		}
		var begun, all sync.WaitGroup
		begun.Add(limit)
		errs := make([]error, limit)
		for i := range limit {
			all.Go(func() {
				errs[i] = s.inTx(t.Context(), func(tx store) error {
					err := tx.Create(t.Context(), int64(i+1), 10)
					begun.Done()
					if err != nil {
						return err
					}
					begun.Wait()
					return s.Add(t.Context(), shared, 1) // and not tx.Add
				})
			})
		}
		all.Wait()
		want, refused := balances{shared: 0}, 0
		for i, err := range errs {
			switch {
			case errors.Is(err, gate.ErrDeadlock):
				refused++
			case err != nil:
				t.Error(err)
			default:
				want[int64(i+1)] = 10
				want[shared]++
			}
		}
		if refused != 1 {
			t.Errorf("%d were refused: %v", refused, errs)
		}
		wantAccounts(t.Context(), t, s, want)
	})
}

// Libraries prepare statements on the pool and in each transaction; for others
// the gate can do that. The server counts how many there are on its connections.
func TestStatementsArePreparedOncePerConnection(t *testing.T) {
	t.Run("by the library", func(t *testing.T) { preparedOnce(t, withLimit(4)) })
	t.Run("by the gate", func(t *testing.T) {
		config := withLimit(4)
		config.PrepareQueries = true
		preparedOnce(t, config)
	})
}

func preparedOnce(t *testing.T, config poolgate.Config) {
	const workers, each = 8, 40
	limit := config.Gate.Limit
	forAll(t, config, func(t *testing.T, db *poolgate.DB, l library, s store) {
		if l.balance == "" || l.prepares == config.PrepareQueries {
			return
		}
		if err := s.Create(t.Context(), 1, 10); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for worker := range workers {
			all.Go(func() {
				read := func(s store) error { _, err := s.Balance(t.Context(), 1); return err }
				for range each {
					err := read(s)
					if worker%2 == 0 && err == nil {
						err = s.inTx(t.Context(), read)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		statements, executed := 0, 0
		for range limit {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var n, times int
			err = conn.QueryRowContext(t.Context(), `SELECT count(*), coalesce(sum(generic_plans + custom_plans), 0)::int
				FROM pg_prepared_statements WHERE position($1 IN statement) = 1`, l.balance).Scan(&n, &times)
			if err != nil {
				t.Fatal(err)
			}
			statements, executed = statements+n, executed+times
		}
		if want := workers*each + workers/2*each; statements > limit || executed < want {
			t.Errorf("%d statements were executed %d times, want at most %d and at least %d", statements, executed, limit, want)
		}
	})
}
