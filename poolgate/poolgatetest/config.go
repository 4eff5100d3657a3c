package poolgatetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/poolgate/poolgate/poolgate"
)

// A Config describes the databases that [New] makes. Tests that share their
// migrations share a Config, usually a package variable; it is only read.
type Config struct {
	// DSN names the server and an existing database on it, such as postgres.
	// New connects to that database to create others, and does not change it.
	// The DSN is a postgres:// URL or a list of key=value. An empty DSN leaves
	// everything to the environment (PGHOST, PGUSER, …), which pgx and lib/pq
	// both read.
	DSN string

	// Open opens a gated pool, as the program under test does in production.
	// It is required. New calls it with the DSN of the test's database for the
	// pool it returns, and with Config.DSN and the template's DSN for its own
	// work, so Open must neither write to the database nor depend on its
	// tables.
	Open func(dsn string) (*poolgate.DB, error)

	// Migrations holds the files that define the schema, for example an
	// embed.FS. Unless Migrate is set, all files in it whose names end in .sql
	// are executed in the order of their paths.
	//
	// The names and contents of all files, .sql or not, identify the template:
	// if one changes, the template is made again. Nil means an empty database,
	// or whatever Migrate makes.
	Migrations fs.FS

	// Migrate, if not nil, creates the schema in an empty database instead.
	// It is for migration tools and for Go code:
	//
	//	func(ctx context.Context, db *poolgate.DB) error { return goose.UpContext(ctx, db.DB, "migrations") }
	//
	// If Migrations is set, its files alone identify the template, so a change
	// of Migrate alone goes unnoticed. If Migrations is nil, the test binary
	// identifies it: Migrate runs again whenever the binary changes, once for
	// each tested package.
	Migrate func(ctx context.Context, db *poolgate.DB) error
}

func (c Config) validate() error {
	if c.Open == nil {
		return errors.New("Config.Open is nil; it opens a pool, for example with pgxgate.Open")
	}
	return nil
}

// open calls Open and does not trust it.
func (c Config) open(dsn string) (*poolgate.DB, error) {
	db, err := c.Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("Config.Open: %w", err)
	}
	if db == nil {
		return nil, errors.New("Config.Open returned neither a DB nor an error")
	}
	return db, nil
}
