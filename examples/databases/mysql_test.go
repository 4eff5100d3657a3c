//go:build unix

package databases

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/poolgate/poolgate/internal/testing/neutral"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/session"
)

func connector(t testing.TB, config *mysql.Config) driver.Connector {
	t.Helper()
	c, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMySQL(t *testing.T) {
	for name, set := range map[string]func(*mysql.Config){
		"as it is":            func(*mysql.Config) {},
		"many statements":     func(c *mysql.Config) { c.MultiStatements = true },
		"interpolated values": func(c *mysql.Config) { c.InterpolateParams = true },
	} {
		t.Run(name, func(t *testing.T) {
			neutral.Run(t, neutral.Database{
				Open: func(t testing.TB) driver.Connector {
					config := mariaDB(t)
					set(config)
					return connector(t, config)
				},
				Key:    "BIGINT PRIMARY KEY AUTO_INCREMENT",
				Double: "DOUBLE",
				Bytes:  "BLOB",
				Time:   "DATETIME",
				Bool:   "BOOLEAN",
			})
		})
	}
}

// open opens a gated pool of an empty database with a table of two rows.
func open(t *testing.T) *poolgate.DB {
	t.Helper()
	db, err := poolgate.OpenDB(connector(t, mariaDB(t)), poolgate.Config{Gate: gate.Config{Limit: 4}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, s := range []string{"CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 0), (2, 0)"} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// A unit that MySQL has aborted for a deadlock is repeated.
func TestMySQLDeadlock(t *testing.T) {
	db := open(t)
	var met, all sync.WaitGroup
	met.Add(2)
	var attempts [2]int
	for i, order := range [][]int{{1, 2}, {2, 1}} {
		all.Go(func() {
			err := session.Config{Attempts: 10}.Run(t.Context(), func(ctx context.Context) error {
				attempts[i]++
				for step, id := range order {
					if _, err := session.DB(ctx, db.DB).ExecContext(ctx, "UPDATE t SET n = n + 1 WHERE id = ?", id); err != nil {
						return err
					}
					if step == 0 && attempts[i] == 1 {
						met.Done()
						met.Wait()
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if attempts[0]+attempts[1] < 3 {
		t.Errorf("%v attempts: there was no deadlock", attempts)
	}
	var sum int
	if err := db.QueryRow("SELECT sum(n) FROM t").Scan(&sum); err != nil || sum != 4 {
		t.Errorf("the sum is %d, %v", sum, err)
	}
}

// The outcome of a COMMIT whose connection is lost is not known.
func TestMySQLLostCommit(t *testing.T) {
	db := open(t)
	err := session.Run(t.Context(), func(ctx context.Context) error {
		var id int
		if err := session.DB(ctx, db.DB).QueryRowContext(ctx, "SELECT connection_id()").Scan(&id); err != nil {
			return err
		}
		if _, err := session.DB(ctx, db.DB).ExecContext(ctx, "UPDATE t SET n = 7"); err != nil {
			return err
		}
		_, err := db.OutOfBand().Exec("KILL ?", id)
		return err
	})
	failed, ok := errors.AsType[*session.CommitError](err)
	if !ok || failed.Outcomes[0].State != session.Unknown {
		t.Errorf("got %v", err)
	}
	var n int
	if err := db.QueryRow("SELECT max(n) FROM t").Scan(&n); err != nil || n != 0 {
		t.Errorf("the number is %d, %v", n, err)
	}
}

// Connections that the server has closed are found, as with the driver alone.
func TestMySQLKilledConnections(t *testing.T) {
	db := open(t)
	admin := sql.OpenDB(connector(t, mariadb.config))
	defer admin.Close()
	for range 3 {
		var conns []*sql.Conn
		for range 4 {
			c, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		var ids []int
		for _, c := range conns {
			var id int
			if err := c.QueryRowContext(t.Context(), "SELECT connection_id()").Scan(&id); err != nil {
				t.Fatal(err)
			}
			c.Close()
			ids = append(ids, id)
		}
		for _, id := range ids {
			if _, err := admin.Exec("KILL ?", id); err != nil {
				t.Fatal(err)
			}
			for n := 1; n > 0; {
				err := admin.QueryRow("SELECT count(*) FROM information_schema.processlist WHERE id = ?", id).Scan(&n)
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 8 {
			if _, err := db.Exec("UPDATE t SET n = n + 1"); err != nil {
				t.Error(err)
			}
		}
	}
	if s := db.Gate().Stats(); s.InFlight != 0 || db.Stats().InUse != 0 {
		t.Errorf("left behind: %+v", s)
	}
}
