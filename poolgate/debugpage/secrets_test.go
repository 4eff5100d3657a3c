package debugpage_test

import (
	"context"
	"database/sql"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// What must not be on the page, wherever it comes from. The number is one too.
var secrets = []string{"hunter2", "48151623"}

func TestSecrets(t *testing.T) {
	server := pgserver.ForTest(t)
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := withPassword(t, server.CreateDatabase(t))
			leaks := goleak.IgnoreCurrent()
			db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 20, LeakAfter: 1, StackEvery: 1}})
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h := debugpage.New(map[string]*gate.Gate{"orders": db.Gate()})
			exec := func(tx *sql.Tx, query string, args ...any) {
				t.Helper()
				if _, err := tx.ExecContext(ctx, query, args...); err != nil {
					t.Errorf("%s: %v", query, err)
				}
			}
			var held []*sql.Tx
			for i, run := range []func(tx *sql.Tx){
				func(tx *sql.Tx) { exec(tx, "SELECT 'hunter2', 48151623") },
				func(tx *sql.Tx) { exec(tx, "SELECT 'it''s hunter2 it is'") },
				func(tx *sql.Tx) { exec(tx, `SELECT E'it\'s hunter2', e'\\', 'hunter2'`) },
				func(tx *sql.Tx) { exec(tx, "SELECT $$hunter2$$, $q$it's hunter2$q$") },
				func(tx *sql.Tx) { exec(tx, "SELECT 1 /* hunter2 /* nested */ hunter2 */ -- hunter2") },
				func(tx *sql.Tx) { exec(tx, "SELECT 48151623.5e3, .48151623, -48151623") },
				func(tx *sql.Tx) { exec(tx, "SELECT $1::text, $2::int", "hunter2", 48151623) },
				func(tx *sql.Tx) { exec(tx, "SET LOCAL application_name = 'hunter2'") },
				func(tx *sql.Tx) { // fails, and its error has all of it
					if _, err := tx.ExecContext(ctx, "SELECT 'hunter2"); err == nil {
						t.Error("no error")
					}
				},
				func(tx *sql.Tx) {
					if _, err := tx.PrepareContext(ctx, "SELECT 'hunter2', $1::int"); err != nil {
						t.Error(err)
					}
				},
				func(tx *sql.Tx) { exec(tx, "SELECT '"+strings.Repeat("x", 1000)+"hunter2'") },
			} {
				tx, err := db.BeginTx(ctx, nil)
				must(t, err)
				held = append(held, tx)
				run(tx)
				if n := len(db.Gate().Holders()); n != i+1 {
					t.Errorf("%d holders", n)
				}
			}
			for _, target := range []string{"/", "/?format=json", "/?goroutines=show", "/?goroutines=show&format=json"} {
				body := get(t, h, target)
				if n := strings.Count(body, "SELECT "); n < len(held)-1 {
					t.Errorf("%s: %d statements are shown", target, n)
				}
				for _, secret := range secrets {
					if i := strings.Index(body, secret); i >= 0 {
						t.Errorf("%s shows %q: %s", target, secret, body[max(0, i-100):i+50])
					}
				}
			}
			for _, tx := range held {
				tx.Rollback() // the one whose statement failed says so
			}
			nothingHeld(t, db.Gate())
			if n := db.Stats().InUse; n != 0 {
				t.Errorf("%d connections in use", n)
			}
			must(t, db.Close())
			goleak.VerifyNone(t, leaks)
		})
	}
}

// withPassword returns dsn with a secret for its password where it has none,
// which a server that trusts everybody does not look at.
func withPassword(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	if u.User == nil {
		return dsn
	}
	if _, ok := u.User.Password(); !ok {
		u.User = url.UserPassword(u.User.Username(), secrets[0])
	}
	return u.String()
}
