package gather_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gather"
)

// A COMMIT that waits in the server is cut off some seconds after the deadline,
// with the deadline as its error.
func TestStalledCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes five seconds for each driver")
	}
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		run("by its deadline", func(t *testing.T, db *fixture) {
			exec(t, db.watch, `CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
				CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON numbers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep()`)
			defer exec(t, db.watch, "DROP TRIGGER sleep ON numbers; DROP FUNCTION sleep")
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			err := gather.Run(ctx, db, gather.Options{Consistency: gather.Serial}, gather.Exec(nil, "INSERT INTO numbers VALUES (1)"))
			is(t, err, context.DeadlineExceeded)
			if errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	})
}
