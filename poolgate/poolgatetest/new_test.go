package poolgatetest_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

func TestNew(t *testing.T) {
	onBoth(t, func(t *testing.T, config poolgatetest.Config) {
		t.Run("parallel tests do not see each other's data", func(t *testing.T) {
			t.Run("group", func(t *testing.T) {
				for i := range 6 {
					t.Run(fmt.Sprint(i), func(t *testing.T) {
						t.Parallel()
						db := poolgatetest.New(t, config)
						has(t, db)
						insert(t, db, fmt.Sprint(i))
						has(t, db, fmt.Sprint(i))
					})
				}
			})
			equal(t, databases(t, config, "test_%"), []string{})
		})

		t.Run("the database is dropped even if the test has closed the pool or leaks a connection", func(t *testing.T) {
			r := record(t, func(t testing.TB) { must(t, poolgatetest.New(t, config).Close()) })
			equal(t, r.failures, nil)
			var conn *sql.Conn
			poolgatetest.Impatient(t)
			failsWith(t, "not idle", func(tb testing.TB) {
				var err error
				conn, err = poolgatetest.New(tb, config).Conn(context.Background())
				must(t, err)
			})
			equal(t, databases(t, config, "test_%"), []string{})
			conn.Close()
		})

		t.Run("a test that failed keeps its database if asked to", func(t *testing.T) {
			fail := func(t testing.TB) {
				db := poolgatetest.New(t, config)
				insert(t, db, "evidence")
				t.Errorf("it failed in %s", database(t, db))
			}
			record(t, fail)
			equal(t, databases(t, config, "test_%"), []string{})
			t.Setenv(poolgatetest.EnvKeep, "1")
			record(t, func(t testing.TB) { poolgatetest.New(t, config) })
			equal(t, databases(t, config, "test_%"), []string{})
			r := record(t, fail)
			names := databases(t, config, "test_%")
			if len(names) != 1 || len(r.failures) != 1 || len(r.logs) != 1 || !strings.Contains(r.logs[0], names[0]) {
				t.Fatalf("databases %q, failures %q, logs %q", names, r.failures, r.logs)
			}
			dsn, err := connstring.WithDatabase(config.DSN, names[0])
			must(t, err)
			db, err := config.Open(dsn)
			must(t, err)
			has(t, db, "evidence")
			must(t, db.Close())
			drop(t, config, names[0])
		})

		t.Run("CreateDatabase leaves the pool to the test", func(t *testing.T) {
			var name string
			r := record(t, func(t testing.TB) {
				db, err := config.Open(poolgatetest.CreateDatabase(t, config))
				must(t, err)
				insert(t, db, "a")
				name = database(t, db)
				must(t, db.Close())
			})
			equal(t, r.failures, nil)
			equal(t, databases(t, config, "test_%"), []string{})
			if !strings.HasPrefix(name, "poolgatetest_test_") {
				t.Errorf("the test was on database %q", name)
			}
		})
	})
}

func TestOpenWithOnePermit(t *testing.T) {
	server := pgserver.ForTest(t)
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			insert(t, poolgatetest.New(t, poolgatetest.Config{DSN: server.DSN(), Open: open(driver, 1), Migrations: unique(migrations)}), "a")
		})
	}
}

func TestListDSN(t *testing.T) {
	onBoth(t, func(t *testing.T, config poolgatetest.Config) {
		list := listDSN(t, config.DSN)
		config.DSN = list
		insert(t, poolgatetest.New(t, config), "a")
	})
}

// The role of a test needs CREATEDB, and no more than that.
func TestRole(t *testing.T) {
	onBoth(t, func(t *testing.T, config poolgatetest.Config) {
		admin, err := config.Open(config.DSN)
		must(t, err)
		defer admin.Close()
		exec(t, admin, "DROP ROLE IF EXISTS poolgatetest_role")
		exec(t, admin, "CREATE ROLE poolgatetest_role LOGIN CREATEDB PASSWORD 'x'")
		defer exec(t, admin, "DROP ROLE poolgatetest_role")
		as := config
		as.DSN = withUser(t, config.DSN, "poolgatetest_role", "x")
		t.Run("with CREATEDB", func(t *testing.T) { insert(t, poolgatetest.New(t, as), "a") })
		exec(t, admin, "ALTER ROLE poolgatetest_role NOCREATEDB")
		failsWith(t, "permission denied to create database", func(t testing.TB) { poolgatetest.New(t, as) })
		for _, name := range databases(t, config, "%") {
			var owner string
			must(t, admin.QueryRow("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", name).Scan(&owner))
			if owner == "poolgatetest_role" {
				drop(t, config, name)
			}
		}
	})
}

func TestMigrations(t *testing.T) {
	onBoth(t, func(t *testing.T, config poolgatetest.Config) {
		t.Run("Migrate runs once for many tests", func(t *testing.T) {
			var runs atomic.Int64
			config := config
			config.Migrations = unique(nil)
			config.Migrate = func(ctx context.Context, db *poolgate.DB) error {
				runs.Add(1)
				_, err := db.ExecContext(ctx, "CREATE TABLE texts (text text)")
				return err
			}
			t.Run("group", func(t *testing.T) {
				for i := range 6 {
					t.Run(fmt.Sprint(i), func(t *testing.T) {
						t.Parallel()
						has(t, poolgatetest.New(t, config))
					})
				}
			})
			equal(t, runs.Load(), 1)
		})

		t.Run("Migrate without files runs once for a test binary", func(t *testing.T) {
			config := config
			config.Migrations = nil
			var runs int
			config.Migrate = func(ctx context.Context, db *poolgate.DB) error {
				runs++
				_, err := db.ExecContext(ctx, "CREATE TABLE texts (text text)")
				return err
			}
			for range 2 {
				t.Run("test", func(t *testing.T) { has(t, poolgatetest.New(t, config)) })
			}
			if runs > 1 { // 0 if the other driver came first
				t.Errorf("Migrate ran %d times", runs)
			}
		})

		t.Run("a file that changes makes another template", func(t *testing.T) {
			for _, column := range []string{"a", "b"} {
				t.Run(column, func(t *testing.T) {
					config := config
					config.Migrations = fstest.MapFS{"1.sql": {Data: []byte("CREATE TABLE t (" + column + " int)")}}
					exec(t, poolgatetest.New(t, config), "SELECT "+column+" FROM t")
				})
			}
		})

		t.Run("without migrations the database is empty", func(t *testing.T) {
			config := config
			config.Migrations = nil
			var n int
			must(t, poolgatetest.New(t, config).QueryRow("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").Scan(&n))
			equal(t, n, 0)
		})

		t.Run("a template that disappears is made again", func(t *testing.T) {
			config := config
			config.Migrations = unique(migrations)
			before := databases(t, config, "template_%")
			t.Run("first", func(t *testing.T) { poolgatetest.New(t, config) })
			for _, name := range databases(t, config, "template_%") {
				if !strings.Contains(strings.Join(before, " "), name) {
					drop(t, config, name)
				}
			}
			insert(t, poolgatetest.New(t, config), "a")
		})

		t.Run("a connection that Migrate leaves open fails the test", func(t *testing.T) {
			config := config
			config.Migrations = unique(nil)
			poolgatetest.Impatient(t)
			var left *sql.Conn
			config.Migrate = func(ctx context.Context, db *poolgate.DB) (err error) {
				left, err = db.Conn(context.Background())
				return err
			}
			failsWith(t, "Config.Migrate has returned, but its DB is not idle", func(t testing.TB) { poolgatetest.New(t, config) })
			left.Close()
		})

		for _, test := range []struct {
			name, want string
			change     func(*poolgatetest.Config)
		}{
			{"SQL that fails", `migrations/1.sql: `, func(c *poolgatetest.Config) {
				c.Migrations = fstest.MapFS{"migrations/1.sql": {Data: []byte("CREATE TABLE t (a nonsense)")}}
			}},
			{"Migrate fails", "Config.Migrate: no migration", func(c *poolgatetest.Config) {
				c.Migrate = func(context.Context, *poolgate.DB) error { return errors.New("no migration") }
			}},
			{"no SQL at all", "no .sql file", func(c *poolgatetest.Config) { c.Migrations = fstest.MapFS{"a.txt": {}} }},
			{"files of goose", "call the tool in Config.Migrate", func(c *poolgatetest.Config) {
				c.Migrations = fstest.MapFS{"1.sql": {Data: []byte("-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE t;")}}
			}},
			{"files of dbmate", "call the tool in Config.Migrate", func(c *poolgatetest.Config) {
				c.Migrations = fstest.MapFS{"1.sql": {Data: []byte("-- migrate:up\nCREATE TABLE t (a int);\n-- migrate:down\nDROP TABLE t;")}}
			}},
			{"files of golang-migrate", "1.down.sql is for a migration tool", func(c *poolgatetest.Config) {
				c.Migrations = fstest.MapFS{"1.up.sql": {Data: []byte("CREATE TABLE t (a int)")}, "1.down.sql": {Data: []byte("DROP TABLE t")}}
			}},
			{"no Open", "Config.Open is nil", func(c *poolgatetest.Config) { c.Open = nil }},
			{"Open fails", "Config.Open: no pool", func(c *poolgatetest.Config) {
				c.Open = func(string) (*poolgate.DB, error) { return nil, errors.New("no pool") }
			}},
			{"Open returns nil", "neither a DB nor an error", func(c *poolgatetest.Config) {
				c.Open = func(string) (*poolgate.DB, error) { return nil, nil }
			}},
			{"no server", "connecting to Config.DSN", func(c *poolgatetest.Config) {
				c.DSN = "postgres://me@127.0.0.1:1/x?sslmode=disable"
			}},
		} {
			t.Run(test.name, func(t *testing.T) {
				config := config
				test.change(&config)
				failsWith(t, test.want, func(t testing.TB) { poolgatetest.New(t, config) })
			})
		}
		equal(t, databases(t, config, "new_%"), []string{})
		equal(t, databases(t, config, "test_%"), []string{})
	})
}

// unique returns files with one more, so that no other test has their template.
func unique(files fstest.MapFS) fstest.MapFS {
	all := fstest.MapFS{"0.sql": {Data: []byte("SELECT '" + rand.Text() + "'")}}
	for name, file := range files {
		all[name] = file
	}
	return all
}

// drop drops a database.
func drop(t testing.TB, config poolgatetest.Config, name string) {
	t.Helper()
	db, err := config.Open(config.DSN)
	must(t, err)
	defer db.Close()
	exec(t, db, "DROP DATABASE "+name+" WITH (FORCE)")
}
