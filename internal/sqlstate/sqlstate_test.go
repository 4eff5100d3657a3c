package sqlstate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"
)

func TestOf(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, ""},
		{"an error of pgx", &pgconn.PgError{Code: "22P02"}, "22P02"},
		{"an error of lib/pq", &pq.Error{Code: "23505"}, "23505"},
		{"a wrapped error", fmt.Errorf("reading: %w", &pgconn.PgError{Code: "40001"}), "40001"},
		{"a joined error", errors.Join(errors.New("other"), &pq.Error{Code: "40P01"}), "40P01"},
		{"an error of another kind", errors.New("SQLSTATE 40P01"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Of(test.err); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestIsLost(t *testing.T) {
	for state, want := range map[string]bool{
		"": false, "0": false, "08": true, "08006": true, "57P01": true, "57014": false, "40001": false,
	} {
		if got := IsLost(state); got != want {
			t.Errorf("%q: got %v", state, got)
		}
	}
}

// MySQLError has the fields of go-sql-driver/mysql's error.
type MySQLError struct {
	Number   uint16
	SQLState [5]byte
}

func (*MySQLError) Error() string { return "Error" }

func TestOfMySQL(t *testing.T) {
	deadlock := &MySQLError{1213, [5]byte{'4', '0', '0', '0', '1'}}
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, ""},
		{"an error of MySQL", deadlock, "40001"},
		{"a wrapped error", fmt.Errorf("writing: %w", errors.Join(errors.New("other"), deadlock)), "40001"},
		{"an error of MySQL without a state", &MySQLError{Number: 1}, ""},
		{"an error of PostgreSQL", &pgconn.PgError{Code: "40001"}, ""},
		{"another error", errors.New("40001"), ""},
	} {
		if got := OfMySQL(test.err); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestIsForeign(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"nil":                             {nil, false},
		"an error of this module":         {&MySQLError{}, false},
		"an error of pgx":                 {&pgconn.PgError{Code: "42601"}, false},
		"an error of pgx without a state": {&pgconn.ConnectError{}, false},
		"an error of lib/pq":              {&pq.Error{Code: "42601"}, false},
		"an error of a context":           {context.DeadlineExceeded, false},
		"an error of database/sql":        {sql.ErrTxDone, false},
		"an error of the network":         {&net.OpError{Op: "dial", Err: io.EOF}, false},
	} {
		if got := IsForeign(test.err); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for path, want := range map[string]bool{
		"github.com/go-sql-driver/mysql": true, "modernc.org/sqlite": true, "github.com/mattn/go-sqlite3": true,
		"errors": false, "database/sql": false, "main": false, "github.com/lib/pq/pqerror": false, "github.com/jackc/pgx/v5/pgconn": false,
		"github.com/poolgate/poolgate/poolgate/gate": false,
	} {
		if got := isForeign(path); got != want {
			t.Errorf("%s: got %v", path, got)
		}
	}
}
