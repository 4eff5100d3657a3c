package sqlstate

import (
	"errors"
	"fmt"
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
