package pgxgate

import (
	"database/sql/driver"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// A Connector opens the connections of a pool, as [Open] does it, for whoever
// wraps it before he hands it to sql.OpenDB. It is safe for concurrent use.
type Connector struct {
	driver.Connector
	config *pgx.ConnConfig
}

// NewConnector returns the connector for a data source name, or the error that
// Open would return for it.
func NewConnector(name string) (*Connector, error) {
	config, err := parse(name)
	if err != nil {
		return nil, fmt.Errorf("pgxgate: %w", err)
	}
	return &Connector{stdlib.GetConnector(*config, stdlib.OptionShouldPing(shouldPing)), config}, nil
}

// Server returns the host's name or address, or the folder of its Unix socket,
// and the port. Where the name has several, which are tried in turn, it returns
// "" and 0.
func (c *Connector) Server() (host string, port int) {
	for _, fallback := range c.config.Fallbacks {
		if fallback.Host != c.config.Host || fallback.Port != c.config.Port {
			return "", 0
		}
	}
	return c.config.Host, int(c.config.Port)
}

// Database returns the name of the database, as the server gets it.
func (c *Connector) Database() string {
	if c.config.Database == "" {
		return c.config.User // so the server has it
	}
	return c.config.Database
}
