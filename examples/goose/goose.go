// Package goose shows goose's migrations on a gated pool. The other examples of
// libraries work on the schema that they create.
package goose

import (
	"database/sql"
	"embed"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// NewProvider returns a provider of the migrations, which at most one process
// runs at a time.
func NewProvider(db *sql.DB, options ...goose.ProviderOption) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	options = append(options, goose.WithSessionLocker(locker))
	return goose.NewProvider(goose.DialectPostgres, db, files, options...)
}
