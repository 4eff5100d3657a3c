package snippets

// The snippets import these, and so the module has to require them.
import (
	_ "entgo.io/ent/dialect/sql"
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/uptrace/bun/dialect/pgdialect"
	_ "gorm.io/driver/postgres"
	_ "modernc.org/sqlite"

	_ "github.com/poolgate/poolgate/promgate"
)
