package poolgatetest_test

import (
	"database/sql"
	"os"
	"testing"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

// openStore is the function that the program opens its pool with.
func openStore(dsn string) (*poolgate.DB, error) {
	return pgxgate.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 8}})
}

// addOrder is the function under test.
func addOrder(db *sql.DB, item string) error {
	_, err := db.Exec("INSERT INTO orders (item) VALUES ($1)", item)
	return err
}

// The migrations of a program usually are an embed.FS. A tool such as goose is
// called in Config.Migrate.
func ExampleNew() {
	config := poolgatetest.Config{
		DSN:        os.Getenv("TEST_DATABASE_URL"),
		Open:       openStore,
		Migrations: os.DirFS("migrations"),
	}

	// In a _test.go file this is a test: func TestAddOrder(t *testing.T).
	_ = func(t *testing.T) {
		t.Parallel()
		db := poolgatetest.New(t, config)
		if err := addOrder(db.DB, "tea"); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRow("SELECT count(*) FROM orders").Scan(&n); err != nil || n != 1 {
			t.Errorf("%d orders, error %v", n, err)
		}
	}
}
