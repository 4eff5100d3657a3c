// Package bothdrivers has the adapters in a list, for tests that run with each.
package bothdrivers

import (
	"database/sql/driver"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/poolgate"
)

// A Driver is an adapter.
type Driver struct {
	Name      string
	Open      func(dsn string, config poolgate.Config) (*poolgate.DB, error)
	Connector func(dsn string) (driver.Connector, error)
}

// All are the adapters.
var All = []Driver{
	{"pgx", pgxgate.Open, func(dsn string) (driver.Connector, error) { return pgxgate.NewConnector(dsn) }},
	{"pq", pqgate.Open, func(dsn string) (driver.Connector, error) { return pqgate.NewConnector(dsn) }},
}
