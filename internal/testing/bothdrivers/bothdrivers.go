// Package bothdrivers has the adapters in a list, for tests that run with each.
package bothdrivers

import (
	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/poolgate"
)

// A Driver is an adapter.
type Driver struct {
	Name string
	Open func(dsn string, config poolgate.Config) (*poolgate.DB, error)
}

// All are the adapters.
var All = []Driver{
	{"pgx", pgxgate.Open},
	{"pq", pqgate.Open},
}
