package poolgatetest_test

import (
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

// BenchmarkNew is what a test costs that inserts one row: a database made, a
// pool opened, and both given up.
func BenchmarkNew(b *testing.B) {
	server := pgserver.ForTest(b)
	for _, driver := range bothdrivers.All {
		b.Run("driver="+driver.Name, func(b *testing.B) {
			config := poolgatetest.Config{DSN: server.DSN(), Open: open(driver, 8), Migrations: migrations}
			one := func() {
				r := &recorder{TB: b}
				insert(b, poolgatetest.New(r, config), "a")
				for i := len(r.cleanups) - 1; i >= 0; i-- {
					r.cleanups[i]()
				}
				if len(r.failures) > 0 {
					b.Fatal(r.failures)
				}
			}
			one() // makes the template
			for b.Loop() {
				one()
			}
		})
	}
}
