package pgxgate

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/adapters/internal/conformance"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
)

func TestMain(m *testing.M) { pgserver.MainWithExamples(m) }

func TestConformance(t *testing.T) { conformance.Run(t, suite{}) }

func TestTorture(t *testing.T) { conformance.Torture(t, suite{}) }

// suite is pgx as the conformance suite wants to know it.
type suite struct{}

func (suite) Name() string { return "pgx" }

func (suite) Open(dsn string, config poolgate.Config) (*poolgate.DB, error) {
	return Open(dsn, config)
}

func (suite) Connector(dsn string) (conformance.Connector, error) { return NewConnector(dsn) }

var types = pgtype.NewMap()

func (suite) Array(dest any) any { return types.SQLScanner(dest) }

// Copy goes by pgx's own connection: its stdlib has no COPY.
func (suite) Copy(ctx context.Context, db *poolgate.DB, table string, columns []string, rows [][]any) (n int64, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	err = poolgate.Raw(conn, func(c *stdlib.Conn) error {
		n, err = c.Conn().CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
		return err
	})
	return n, err
}

func (suite) Raw(conn *sql.Conn, f func(pid int) error) error {
	return poolgate.Raw(conn, func(c *stdlib.Conn) error {
		return f(int(c.Conn().PgConn().PID()))
	})
}
