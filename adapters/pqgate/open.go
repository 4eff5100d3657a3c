package pqgate

import (
	"errors"
	"maps"
	"net/url"
	"time"

	"github.com/lib/pq"

	"github.com/poolgate/poolgate/adapters/internal/dsn"
	"github.com/poolgate/poolgate/poolgate"
)

// DefaultConnectTimeout bounds each attempt to connect where the DSN and the
// environment have no connect_timeout. A connection is opened under a permit,
// which a host that never answers would keep.
const DefaultConnectTimeout = 30 * time.Second

// Open returns a gated pool of lib/pq connections to the server that name says:
// a postgres:// URL or a list of key=value, as libpq has them. What name leaves
// out comes from the PG* variables of the environment, the password file and
// lib/pq's defaults, which an empty name is made of entirely.
//
// Open does not connect, so that it neither takes time nor fails for a server
// that is not there: PingContext says whether it is. It returns an error for a
// name that lib/pq cannot parse, without the password that may be in it, and
// for a field of config that poolgate.Wrap refuses.
//
// The pool belongs to the DB, whatever config.CloseInner says: Close closes
// its connections.
func Open(name string, config poolgate.Config) (*poolgate.DB, error) {
	c, err := NewConnector(name)
	if err != nil {
		return nil, err
	}
	return poolgate.OpenDB(c, config)
}

func parse(name string) (pq.Config, error) {
	if err := dsn.CheckURL(name); err != nil {
		return pq.Config{}, err
	}
	config, err := pq.NewConfig(dsn.ListPorts(name))
	if err != nil {
		if wrong, ok := errors.AsType[*url.Error](err); ok {
			err = wrong.Err // without the URL
		}
		return config, dsn.ParseError(err)
	}
	if err := dsn.CheckSettings(maps.Keys(config.Runtime)); err != nil {
		return config, err
	}
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = DefaultConnectTimeout
	}
	return config, nil
}
