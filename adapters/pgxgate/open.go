package pgxgate

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/adapters/internal/dsn"
	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
	"github.com/poolgate/poolgate/poolgate"
)

// DefaultConnectTimeout bounds each attempt to connect where the DSN and the
// environment have no connect_timeout. A connection is opened under a permit,
// which a host that never answers would keep.
const DefaultConnectTimeout = 30 * time.Second

// Open returns a gated pool of pgx connections to the server that name says:
// a postgres:// URL or a list of key=value, as libpq has them. What name leaves
// out comes from the PG* variables of the environment, the password file and
// pgx's defaults, which an empty name is made of entirely.
//
// Open does not connect, so that it neither takes time nor fails for a server
// that is not there: PingContext says whether it is. It returns an error for a
// name that pgx cannot parse, without the password that may be in it, and for
// a field of config that poolgate.OpenDB refuses.
func Open(name string, config poolgate.Config) (*poolgate.DB, error) {
	c, err := NewConnector(name)
	if err != nil {
		return nil, err
	}
	return poolgate.OpenDB(c, config)
}

func parse(name string) (*pgx.ConnConfig, error) {
	if err := dsn.CheckURL(name); err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(name)
	if err != nil {
		return nil, pgxlink.ParseError(err)
	}
	if err := pgxlink.Check(config); err != nil {
		return nil, err
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = DefaultConnectTimeout
	}
	return config, nil
}
