package pqgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	"github.com/lib/pq"

	"github.com/poolgate/poolgate/adapters/internal/conformance"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
)

func TestMain(m *testing.M) { pgserver.MainWithExamples(m) }

func TestConformance(t *testing.T) { conformance.Run(t, suite{}) }

func TestTorture(t *testing.T) { conformance.Torture(t, suite{}) }

// suite is lib/pq as the conformance suite wants to know it.
type suite struct{}

func (suite) Name() string { return "pq" }

func (suite) Open(dsn string, config poolgate.Config) (*poolgate.DB, error) {
	return Open(dsn, config)
}

func (suite) Connector(dsn string) (conformance.Connector, error) { return NewConnector(dsn) }

func (suite) Array(dest any) any { return pq.Array(dest) }

// Copy goes by a prepared COPY in a transaction, as lib/pq wants it.
func (suite) Copy(ctx context.Context, db *poolgate.DB, table string, columns []string, rows [][]any) (int64, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	stmt, err := tx.PrepareContext(ctx, fmt.Sprintf("COPY %s (%s) FROM STDIN", table, strings.Join(columns, ", ")))
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	for _, row := range rows {
		if _, err := stmt.ExecContext(ctx, row...); err != nil {
			return 0, err
		}
	}
	res, err := stmt.ExecContext(ctx) // without arguments: the end of the data
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, err
	}
	return n, tx.Commit()
}

func (suite) Raw(conn *sql.Conn, f func(pid int) error) error {
	return poolgate.Raw(conn, func(c *Conn) error {
		rows, err := c.Raw().(driver.QueryerContext).QueryContext(context.Background(), "select pg_backend_pid()", nil)
		if err != nil {
			return err
		}
		row := make([]driver.Value, 1)
		if err := rows.Next(row); err != nil {
			return err
		}
		if err := rows.Close(); err != nil {
			return err
		}
		pid, ok := row[0].(int64)
		if !ok {
			return fmt.Errorf("the process is a %T", row[0])
		}
		return f(int(pid))
	})
}
