//go:build unix

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/internal/testing/pgbouncer"
)

// The same through a PgBouncer in transaction mode.
func TestFleetThroughPgBouncer(t *testing.T) {
	needsOwnServer(t)
	if os.Getenv(fleetStep) == "" {
		t.Skip("takes long: set " + fleetStep + " to how long a stage lasts, such as 10s")
	}
	if _, err := pgbouncer.Find(); err != nil {
		if os.Getenv(pgbouncer.EnvRequire) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for _, d := range bench.SQLDrivers() {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			config := fleetConfig(t, d)
			config.Through = func(dsn string) (string, error) {
				b, err := pgbouncer.Start(t.Context(), dsn, pgbouncer.Config{PoolSize: config.Budget + 2*config.Many})
				if err != nil {
					return "", err
				}
				t.Cleanup(func() { b.Close() })
				if d == bench.PQ {
					return b.DSN(), nil
				}
				// Older ones do not know prepared statements in this mode.
				return connstring.With(b.DSN(), map[string]string{"default_query_exec_mode": "exec"})
			}
			testFleet(t, config, func(kind string) bool {
				return strings.HasPrefix(kind, "08") // so PgBouncer says that the server is away
			})
		})
	}
}
