package conformance

import (
	"os"
	"testing"
)

// testConnector checks what a connector says about the server that a DSN names.
func testConnector(t *testing.T, d Driver) {
	for _, env := range []string{"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER"} {
		t.Setenv(env, "") // so that it is put back
		os.Unsetenv(env)
	}
	for _, test := range []struct {
		name, dsn string
		host      string
		port      int
		database  string
	}{
		{"a URL", "postgres://me:secret@db.example:6543/orders", "db.example", 6543, "orders"},
		{"a list of key=value", "host=db.example dbname=orders user=me", "db.example", 5432, "orders"},
		{"a Unix socket", "host=/run/postgresql port=5433 dbname=orders user=me", "/run/postgresql", 5433, "orders"},
		{"no database is that of the user's name", "postgres://me@db.example", "db.example", 5432, "me"},
		{"several hosts are none", "postgres://me@one.example,two.example/orders", "", 0, "orders"},
		{"one host of several ports is none", "postgres://me@one.example:1,one.example:2/orders", "", 0, "orders"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := d.Connector(test.dsn)
			if err != nil {
				t.Fatal(err)
			}
			if host, port := c.Server(); host != test.host || port != test.port {
				t.Errorf("Server() is %q, %d; want %q, %d", host, port, test.host, test.port)
			}
			if database := c.Database(); database != test.database {
				t.Errorf("Database() is %q, want %q", database, test.database)
			}
		})
	}
}
