package tracing

import (
	"strings"
	"testing"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Config.PgBouncer reaches the connector of the adapter, which refuses what
// contradicts it.
func TestOpenBehindPgBouncer(t *testing.T) {
	config := poolgate.Config{Gate: gate.Config{Limit: 1}, PgBouncer: true}
	for _, test := range []struct {
		open func(dsn string) (*poolgate.DB, error)
		dsn  string
		want string // in the error; "" for none
	}{
		{func(dsn string) (*poolgate.DB, error) {
			return Open(pgxgate.NewConnector, dsn, config, WithGlobalProviders())
		}, "postgres://u@h/d", ""},
		{func(dsn string) (*poolgate.DB, error) {
			return Open(pgxgate.NewConnector, dsn, config, WithGlobalProviders())
		},
			"postgres://u@h/d?default_query_exec_mode=describe_exec", "Config.PgBouncer"},
		{func(dsn string) (*poolgate.DB, error) {
			return Open(pqgate.NewConnector, dsn, config, WithGlobalProviders())
		}, "postgres://u@h/d", ""},
		{func(dsn string) (*poolgate.DB, error) {
			return Open(pqgate.NewConnector, dsn, config, WithGlobalProviders())
		},
			"postgres://u@h/d?binary_parameters=no", "Config.PgBouncer"},
	} {
		db, err := test.open(test.dsn)
		if err == nil {
			db.Close()
		}
		if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.dsn, err)
		}
	}
}
