//go:build unix

package adapters_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	native "github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestPgBouncerContradictions(t *testing.T) {
	for _, test := range []struct {
		driver, dsn string
		config      poolgate.Config
		want        []string // in the error; none if there is none
	}{
		{"pgx", "postgres://u:s3cr3t@h/d", poolgate.Config{}, nil},
		{"pgx", "user=u password=s3cr3t", poolgate.Config{StatementsPerConn: 10, PrepareQueries: true}, nil},
		{"pgx", "postgres://u:s3cr3t@h/d?default_query_exec_mode=cache_describe", poolgate.Config{}, nil},
		{"pgx", "postgres://u:s3cr3t@h/d?default_query_exec_mode=exec", poolgate.Config{}, nil},
		{"pgx", "postgres://u:s3cr3t@h/d?default_query_exec_mode=exec&description_cache_capacity=0", poolgate.Config{}, nil},
		{"pgx", "user=u password=s3cr3t default_query_exec_mode=simple_protocol", poolgate.Config{}, nil},
		{"pgx", "postgres://u:s3cr3t@h/d?default_query_exec_mode=describe_exec", poolgate.Config{},
			[]string{"Config.PgBouncer", "default_query_exec_mode=describe_exec"}},
		{"pgx", "user=u password=s3cr3t default_query_exec_mode=cache_statement", poolgate.Config{},
			[]string{"Config.PgBouncer", "default_query_exec_mode=cache_statement"}},
		{"pgx", "postgres://u:s3cr3t@h/d?description_cache_capacity=0", poolgate.Config{},
			[]string{"Config.PgBouncer", "description_cache_capacity=0"}},
		{"pgx", "", poolgate.Config{Reset: poolgate.ResetConns}, []string{"Config.Reset is conns", "Config.PgBouncer"}},
		{"pgxpool", "postgres://u:s3cr3t@h/d?pool_max_conns=9", poolgate.Config{}, nil},
		{"pgxpool", "postgres://u:s3cr3t@h/d?default_query_exec_mode=describe_exec", poolgate.Config{},
			[]string{"pgxpoolgate: Config.PgBouncer", "default_query_exec_mode=describe_exec"}},
		{"pq", "postgres://u:s3cr3t@h/d", poolgate.Config{StatementsPerConn: 10, PrepareQueries: true}, nil},
		{"pq", "user=u password=s3cr3t", poolgate.Config{}, nil},
		{"pq", "postgres://u:s3cr3t@h/d?binary_parameters=yes", poolgate.Config{}, nil},
		{"pq", "user=u password=s3cr3t binary_parameters=yes", poolgate.Config{}, nil},
		{"pq", "postgres://u:s3cr3t@h/d?binary_parameters=no", poolgate.Config{}, []string{"Config.PgBouncer", "binary_parameters=no"}},
		{"pq", "user=u password=s3cr3t binary_parameters=no", poolgate.Config{}, []string{"Config.PgBouncer", "binary_parameters=no"}},
		{"pq", "", poolgate.Config{Reset: poolgate.ResetAlways}, []string{"Config.Reset is always", "Config.PgBouncer"}},
	} {
		open := map[string]func(string, poolgate.Config) (*poolgate.DB, error){
			"pgx": bothdrivers.All[0].Open, "pq": bothdrivers.All[1].Open, "pgxpool": pgxpool.Open,
		}[test.driver]
		test.config.Gate.Limit, test.config.PgBouncer = 1, true
		db, err := open(test.dsn, test.config)
		if err == nil {
			db.Close()
		}
		if (err != nil) != (test.want != nil) {
			t.Errorf("%s, %q: got the error %v", test.driver, test.dsn, err)
		}
		for _, want := range test.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %q: the error does not say %s: %v", test.driver, test.dsn, want, err)
			}
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

// foreign is a connector of no adapter.
type foreign struct{}

func (foreign) Connect(context.Context) (driver.Conn, error) { return nil, errors.ErrUnsupported }
func (foreign) Driver() driver.Driver                        { return nil }

func TestPgBouncerNeedsAnAdapter(t *testing.T) {
	config := poolgate.Config{Gate: gate.Config{Limit: 1}, PgBouncer: true}
	inner := sql.OpenDB(foreign{})
	defer inner.Close()
	_, wrapped := poolgate.Wrap(inner, config)
	_, opened := poolgate.OpenDB(foreign{}, config)
	pool, err := native.New(t.Context(), "postgres://u@127.0.0.1:1/d")
	must(t, err)
	defer pool.Close()
	_, prepares := pgxpoolgate.Wrap(pool, pgxpoolgate.Config{Gate: config.Gate, PgBouncer: true})
	for _, err := range []error{wrapped, opened, prepares} {
		if err == nil || !strings.Contains(err.Error(), "Config.PgBouncer") {
			t.Errorf("got %v", err)
		}
	}
}

// The way in which pgx sends a statement can be one of its arguments.
func TestPgBouncerRefusesModes(t *testing.T) {
	for _, w := range ways() {
		if w.driver.Name != "pgx" || !w.pgBouncer {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			b := through(t, w, 1)
			for mode, refused := range map[pgx.QueryExecMode]bool{
				pgx.QueryExecModeCacheStatement: true,
				pgx.QueryExecModeDescribeExec:   true,
				pgx.QueryExecModeCacheDescribe:  false,
				pgx.QueryExecModeExec:           false,
				pgx.QueryExecModeSimpleProtocol: false,
			} {
				var n int
				err := b.QueryRow("SELECT $1::int", mode, 7).Scan(&n)
				if refused && (err == nil || !strings.Contains(err.Error(), "Config.PgBouncer")) || !refused && (err != nil || n != 7) {
					t.Errorf("%v: got %d, %v", mode, n, err)
				}
			}
		})
	}
}
