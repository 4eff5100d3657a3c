package bench

import (
	"errors"
	"strings"
	"testing"
)

// TestVerify has three writes done, spoils the tables, and asks whether it is
// found out.
func TestVerify(t *testing.T) {
	b := openTest(t, Config{Ops: 10, Limit: 2, Seed: 1})
	db := openPlain(t, PGX, b.config.DSN)
	plan := []Op{{Write, 0}, {Write, 3}, {Read, 0}, {Write, 6}}
	all := []outcome{done, done, done, done}
	for _, test := range []struct {
		name     string
		spoil    string // SQL
		outcomes []outcome
		want     string // in the error; none if empty
	}{
		{"what was written", "", all, ""},
		{"a parent is missing",
			"DELETE FROM b WHERE a_id = 5; DELETE FROM a WHERE id = 5", all, "2 parents instead of 3"},
		{"a whole write is missing",
			"DELETE FROM b WHERE a_id IN (4, 5, 6); DELETE FROM a WHERE id IN (4, 5, 6)", all, "0 parents instead of 3"},
		{"a parent is there that nobody wrote",
			"INSERT INTO a (data) VALUES ('99')", all, "parent 99 with 0 children is there"},
		{"a parent is there twice",
			"INSERT INTO a (data) VALUES ('5')", all, "parent 5 is there twice"},
		{"a parent has no data",
			"INSERT INTO a (data) VALUES (NULL)", all, "without data"},
		{"a child is missing",
			"DELETE FROM b WHERE id = 3", all, "children instead of"},
		{"a child too many",
			"INSERT INTO b (a_id) VALUES (7)", all, "children instead of"},
		{"a child has another parent",
			"UPDATE b SET a_id = 2 WHERE id = 1", all, "children instead of"},
		{"a child has no parent",
			"INSERT INTO b (a_id) VALUES (NULL)", all, "without a parent"},
		{"a child has data",
			"UPDATE b SET data = 'x' WHERE id = 4", all, "with data"},
		{"a write that failed has left its rows",
			"", []outcome{done, done, done, failed}, "of a write that failed"},
		{"a write of unknown outcome is there",
			"", []outcome{done, unknown, done, done}, ""},
		{"a write of unknown outcome is not there",
			"DELETE FROM b WHERE a_id IN (4, 5, 6); DELETE FROM a WHERE id IN (4, 5, 6)",
			[]outcome{done, unknown, done, done}, ""},
		{"a write of unknown outcome is there in part",
			"DELETE FROM b WHERE a_id = 5; DELETE FROM a WHERE id = 5",
			[]outcome{done, unknown, done, done}, "2 parents instead of 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := t.Context()
			if err := b.tables.fresh(ctx, Faithful); err != nil {
				t.Fatal(err)
			}
			for _, op := range plan {
				if op.Kind == Write {
					if err := faithfulWrite(ctx, db, op); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, statement := range strings.Split(test.spoil, ";") {
				if _, err := db.ExecContext(ctx, statement); err != nil {
					t.Fatal(err)
				}
			}
			err := b.tables.verify(ctx, plan, test.outcomes)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("verify says %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("verify says %v, want %q", err, test.want)
			}
		})
	}
}

func TestDropTablesLeavesAloneWhatIsNotItsOwn(t *testing.T) {
	b := openTest(t, Config{Ops: 10, Limit: 2})
	ctx := t.Context()
	if err := b.tables.fresh(ctx, Faithful); err != nil {
		t.Fatal(err)
	}
	if _, err := b.admin.ExecContext(ctx, "CREATE TABLE "+DefaultSchema+".precious (); CREATE TABLE public.a ()"); err != nil {
		t.Fatal(err)
	}
	if err := b.tables.drop(ctx); err == nil {
		t.Error("the schema was dropped with a table of somebody else in it")
	}
	if _, err := b.admin.ExecContext(ctx, "DROP TABLE public.a, "+DefaultSchema+".precious"); err != nil {
		t.Error(err)
	}
}

func TestOneBenchmarkInASchema(t *testing.T) {
	b := openTest(t, Config{Ops: 10, Limit: 2})
	if err := b.tables.fresh(t.Context(), Faithful); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), b.config); !errors.Is(err, ErrOccupied) {
		t.Errorf("a second benchmark in the same schema: %v", err)
	}
	if err := b.tables.checkOwn(t.Context()); err != nil {
		t.Error(err)
	}
	other := b.config
	other.Schema = "other"
	second, err := Open(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestTablesOfABenchmarkThatWasKilled(t *testing.T) {
	b := openTest(t, Config{Ops: 10, Limit: 2, Schema: "leftover"})
	ctx := t.Context()
	if err := b.tables.fresh(ctx, Faithful); err != nil {
		t.Fatal(err)
	}
	if _, err := b.observer.ExecContext(ctx, "SELECT pg_advisory_unlock_all()"); err != nil { // as its end would
		t.Fatal(err)
	}
	next, err := Open(ctx, b.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.tables.fresh(ctx, Idiomatic); err != nil {
		t.Error(err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	var left bool
	if err := b.admin.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'leftover')").Scan(&left); err != nil || left {
		t.Errorf("the schema is still there: %v, error %v", left, err)
	}
}
