package tracing

import (
	"database/sql/driver"
	"fmt"
	"net"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/poolgate/poolgate/poolgate"
)

// A Connector is what pgxgate.NewConnector and pqgate.NewConnector return.
type Connector interface {
	driver.Connector

	// Server returns the host's name or address, or the folder of its Unix
	// socket, and the port; "" where the data source name has several.
	Server() (host string, port int)

	// Database returns the name of the database.
	Database() string
}

// Open opens a DB whose statements are traced and measured too, with otelsql inside
// and the gate outside.
//
//	db, err := tracing.Open(pgxgate.NewConnector, dsn, config, tracing.WithGlobalProviders())
//
// All spans and the measurements of statements carry what the data source name
// says about the server: db.system.name, db.namespace, server.address and
// server.port. Closing the DB ends the metrics, too.
//
// It returns the errors of connect, of poolgate.OpenDB and of [Instrument], and
// does not connect. [database/sql.ColumnType.ScanType] says any on such a DB,
// since otelsql does not pass it on.
func Open[C Connector](connect func(dsn string) (C, error), dsn string, config poolgate.Config, opts ...Option) (*poolgate.DB, error) {
	connector, err := connect(dsn)
	if err != nil {
		return nil, err
	}
	s, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	s.server = serverAttributes(connector)
	if s.pool == "" {
		s.pool = poolName(connector)
	}
	closing := &closingConnector{Connector: connector}
	traced, err := newTraced(closing, s)
	if err != nil {
		return nil, err
	}
	db, err := poolgate.OpenDB(traced, config)
	if err != nil {
		return nil, err
	}
	if closing.onClose, err = instrument(db, s); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// closingConnector calls onClose when the pool is closed.
type closingConnector struct {
	driver.Connector
	onClose func()
}

func (c *closingConnector) Close() error {
	if c.onClose != nil {
		c.onClose()
	}
	return nil
}

// behindPgBouncer has c open connections for a PgBouncer.
func (c *closingConnector) behindPgBouncer() error {
	b, ok := c.Connector.(interface {
		BehindPgBouncer() (driver.Connector, error)
	})
	if !ok {
		return fmt.Errorf("tracing: Config.PgBouncer is for the connectors of pgxgate and pqgate, and a %T is none", c.Connector)
	}
	inner, err := b.BehindPgBouncer()
	if err == nil {
		c.Connector = inner
	}
	return err
}

func serverAttributes(c Connector) []attribute.KeyValue {
	attributes := []attribute.KeyValue{semconv.DBSystemNamePostgreSQL}
	if name := c.Database(); name != "" {
		attributes = append(attributes, semconv.DBNamespace(name))
	}
	if host, port := c.Server(); host != "" {
		attributes = append(attributes, semconv.ServerAddress(host))
		if !isSocket(host) {
			attributes = append(attributes, semconv.ServerPort(port))
		}
	}
	return attributes
}

// poolName returns the name that the conventions propose for a pool without one.
func poolName(c Connector) string {
	host, port := c.Server()
	if host == "" {
		host = "postgresql"
	}
	if port != 0 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return fmt.Sprintf("%s/%s", host, c.Database())
}

// isSocket reports whether host is the folder of a Unix socket, or an abstract one.
func isSocket(host string) bool { return host[0] == '/' || host[0] == '@' }
