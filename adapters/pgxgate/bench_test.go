package pgxgate

import (
	"context"
	"database/sql/driver"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// BenchmarkQuery is a query on one connection: pgx's own, and ours around it.
func BenchmarkQuery(b *testing.B) {
	dsn := pgserver.ForTest(b).DSN()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		b.Fatal(err)
	}
	ours, err := NewConnector(dsn)
	if err != nil {
		b.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		connector driver.Connector
	}{
		{"conn=pgx", stdlib.GetConnector(*config)},
		{"conn=pgxgate", ours},
	} {
		b.Run(test.name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			conn, err := test.connector.Connect(ctx)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			row := make([]driver.Value, 1)
			b.ReportAllocs()
			for b.Loop() {
				rows, err := conn.(driver.QueryerContext).QueryContext(ctx, "select 1", nil)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					err = rows.Next(row)
				}
				if err != io.EOF || rows.Close() != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
