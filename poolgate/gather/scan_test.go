package gather_test

import (
	"testing"

	"github.com/poolgate/poolgate/poolgate/gather"
)

// A panicking destination is one whose Scan method panics.
type panicking struct{}

func (*panicking) Scan(any) error { panic("mine") }

// TestScanPanics has a panic out of the Scan method of a destination reach the
// caller. Inside of sql.Rows.Scan it would leave the rows locked for good.
func TestScanPanics(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		each("One and Query", func(t *testing.T, db *fixture, o gather.Options) {
			for _, statement := range []gather.Statement{
				gather.One(new(panicking), "SELECT 1"),
				gather.One(new(struct{ N *panicking }), "SELECT 1 AS n"),
				gather.Query(new([]panicking), "SELECT generate_series(1, 1000)"),
			} {
				func() {
					defer func() {
						if p, ok := recover().(*gather.PanicError); !ok || p.Value != "mine" {
							t.Errorf("recovered %v", p)
						}
						eventually(t, "everything is given back", func() bool { return db.Gate().Stats().InFlight == 0 })
					}()
					gather.Run(patiently(t), db, o, gather.Discard("SELECT 1"), statement)
					t.Error("Run returned")
				}()
			}
		})
	})
}
