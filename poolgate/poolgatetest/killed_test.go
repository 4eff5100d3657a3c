package poolgatetest_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

// Another process of this test binary makes a database on the server that
// envProcess names, with a migration that has envMigration in it.
const (
	envProcess   = "POOLGATETEST_PROCESS"
	envMigration = "POOLGATETEST_MIGRATION"
)

// TestProcess makes a database, prints its name, and waits for its standard
// input to end.
func TestProcess(t *testing.T) {
	dsn := os.Getenv(envProcess)
	if dsn == "" {
		t.Skip("this is run by other tests")
	}
	config := processConfig(dsn, os.Getenv(envMigration))
	config.Migrate = func(ctx context.Context, db *poolgate.DB) error {
		fmt.Println("migrating")
		_, err := db.ExecContext(ctx, "CREATE TABLE texts (text text)")
		return err
	}
	db := poolgatetest.New(t, config)
	fmt.Println("database", database(t, db))
	db.SetMaxIdleConns(0)
	bufio.NewReader(os.Stdin).ReadString('\n')
}

func processConfig(dsn, migration string) poolgatetest.Config {
	return poolgatetest.Config{DSN: dsn, Open: open(bothdrivers.All[0], 2), Migrations: fstest.MapFS{migration: {}}}
}

// A child is another process that runs TestProcess.
type child struct {
	*osexec.Cmd
	database string // it has made
	migrated bool   // by it
	end      func() // lets it end
	stdout   io.Reader
}

// start starts a process. await waits until it has its database.
func start(t *testing.T, dsn, migration string) *child {
	t.Helper()
	cmd := osexec.Command(os.Args[0], "-test.run", "^TestProcess$", "-test.count", "1")
	cmd.Env = append(os.Environ(), envProcess+"="+dsn, envMigration+"="+migration)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &child{Cmd: cmd, stdout: stdout, end: func() { stdin.Close() }}
}

func (c *child) await(t *testing.T) {
	t.Helper()
	var all strings.Builder
	for lines := bufio.NewScanner(c.stdout); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		switch {
		case lines.Text() == "migrating":
			c.migrated = true
		case strings.HasPrefix(lines.Text(), "database "):
			c.database = strings.TrimPrefix(lines.Text(), "database ")
			return
		}
	}
	t.Fatalf("the other process has made no database:\n%s", &all)
}

func TestProcesses(t *testing.T) {
	server := pgserver.ForTest(t)
	migration := rand.Text()
	config := processConfig(server.DSN(), migration)
	config.Migrate = func(context.Context, *poolgate.DB) error { return nil }

	// sweep makes a database in this process by a DSN that it has not used, so
	// that it sweeps.
	sweep := func(t *testing.T) {
		again := config
		var err error
		again.DSN, err = connstring.With(config.DSN, map[string]string{"application_name": rand.Text()})
		must(t, err)
		again.Migrations, again.Migrate = nil, nil
		equal(t, record(t, func(t testing.TB) { poolgatetest.New(t, again) }).failures, nil)
	}

	t.Run("several at once make one template", func(t *testing.T) {
		var all []*child
		for range 3 {
			all = append(all, start(t, server.DSN(), migration))
		}
		migrated := 0
		for _, c := range all {
			c.await(t)
			if c.migrated {
				migrated++
			}
		}
		equal(t, migrated, 1)
		equal(t, len(databases(t, config, "test_%")), 3)
		for _, c := range all {
			c.end()
			must(t, c.Wait())
		}
		equal(t, databases(t, config, "test_%"), []string{})
	})

	t.Run("the next drops the database of one that was killed, and of no other", func(t *testing.T) {
		killed, alive := start(t, server.DSN(), migration), start(t, server.DSN(), migration)
		killed.await(t)
		alive.await(t)
		must(t, killed.Process.Kill())
		killed.Wait()
		awaitUnused(t, config, killed.database)
		sweep(t)
		equal(t, databases(t, config, "test_%"), []string{alive.database})
		alive.end()
		must(t, alive.Wait())
	})

	t.Run("a database that is kept is not dropped", func(t *testing.T) {
		t.Setenv(poolgatetest.EnvKeep, "1")
		var kept string
		record(t, func(t testing.TB) {
			kept = database(t, poolgatetest.New(t, config))
			t.Errorf("it failed")
		})
		awaitUnused(t, config, kept)
		sweep(t)
		equal(t, databases(t, config, "test_%"), []string{kept})
		drop(t, config, kept)
	})

	t.Run("an old template is dropped, and a template that was never finished too", func(t *testing.T) {
		db, err := config.Open(config.DSN)
		must(t, err)
		defer db.Close()
		for name, comment := range map[string]string{
			"poolgatetest_template_00000000000000a1": "poolgatetest: made 2020-01-02T03:04:05Z",
			"poolgatetest_template_00000000000000a2": "poolgatetest: made 2999-01-02T03:04:05Z",
			"poolgatetest_template_00000000000000a3": "another comment",
			"poolgatetest_new_00000000000000a4":      "",
			"poolgatetest_new_00000000000000a5":      "",
			"poolgatetest_mine":                      "",
		} {
			exec(t, db, "CREATE DATABASE "+name)
			exec(t, db, "COMMENT ON DATABASE "+name+" IS '"+comment+"'")
		}
		making, err := db.Conn(t.Context())
		must(t, err)
		defer making.Close()
		exec(t, making, "SELECT pg_advisory_lock($1)", 0xa5) // as who makes it does
		sweep(t)
		for name, want := range map[string]int{
			"template_00000000000000a1": 0, "template_00000000000000a2": 1, "template_00000000000000a3": 0,
			"new_00000000000000a4": 0, "new_00000000000000a5": 1, "mine": 1,
		} {
			if got := databases(t, config, name); len(got) != want {
				t.Errorf("databases %s: %q, want %d", name, got, want)
			}
			exec(t, db, "DROP DATABASE IF EXISTS poolgatetest_"+name)
		}
	})
}

// awaitUnused waits until nobody is connected to the database, and the session
// that has marked it as in use is gone.
func awaitUnused(t *testing.T, config poolgatetest.Config, name string) {
	t.Helper()
	db, err := config.Open(config.DSN)
	must(t, err)
	defer db.Close()
	for n := 1; n > 0; {
		must(t, db.QueryRow(`SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = $1)
			+ (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
				AND to_hex(objid::bigint) = ltrim(right($2, 8), '0'))`, name, name).Scan(&n))
	}
}
