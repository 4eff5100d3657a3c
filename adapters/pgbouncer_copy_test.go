//go:build unix

package adapters_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/poolgate"
)

// COPY goes through PgBouncer in either driver's way.
func TestPgBouncerCopy(t *testing.T) {
	const rows = 500
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			b := through(t, w, 2)
			_, err := b.direct.Exec("CREATE TABLE copied (n bigint, text text)")
			must(t, err)
			if w.driver.Name == "pq" {
				must(t, b.copyByStatement(t.Context(), rows))
			} else {
				must(t, b.copyByConn(t.Context(), rows))
			}
			var n, sum int
			must(t, b.QueryRow("SELECT count(*), sum(n) FROM copied WHERE text = $1", "x").Scan(&n, &sum))
			if n != rows || sum != rows*(rows-1)/2 {
				t.Errorf("%d rows with the sum %d", n, sum)
			}
		})
	}
}

func (b *bounced) copyByStatement(ctx context.Context, rows int) error {
	tx, err := b.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	stmt, err := tx.PrepareContext(ctx, "-- as a comment may be before it\nCOPY copied (n, text) FROM STDIN")
	if err != nil {
		return err
	}
	for n := range rows {
		if _, err := stmt.ExecContext(ctx, n, "x"); err != nil {
			return err
		}
	}
	if _, err := stmt.ExecContext(ctx); err != nil {
		return err
	}
	return tx.Commit()
}

func (b *bounced) copyByConn(ctx context.Context, rows int) error {
	conn, err := b.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return poolgate.Raw(conn, func(c *stdlib.Conn) error {
		from := pgx.CopyFromSlice(rows, func(n int) ([]any, error) { return []any{n, "x"}, nil })
		_, err := c.Conn().CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"n", "text"}, from)
		return err
	})
}
