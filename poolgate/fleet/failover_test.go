package fleet_test

import (
	"net/url"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A fleet goes on when a standby takes over from the server that has its store.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts two servers")
	}
	ctx := t.Context()
	primary := pgserver.OwnForTest(t)
	standby := primary.StandbyForTest(t)
	both, err := url.Parse(primary.DSN())
	if err != nil {
		t.Fatal(err)
	}
	second, err := url.Parse(standby.DSN())
	if err != nil {
		t.Fatal(err)
	}
	both.Host += "," + second.Host
	dsn := both.String() + "&target_session_attrs=read-write"

	const budget = 6
	var dbs []*poolgate.DB
	var fleets []*fleet.Fleet
	for i, driver := range bothdrivers.All { // a fleet with a member of each driver
		db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 10}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if i == 0 {
			learnt(t, db.DB)
		}
		f, err := fleet.Join(ctx, db, fleet.Config{Name: "f", Budget: budget, Min: 2})
		if err != nil {
			t.Fatal(err)
		}
		dbs, fleets = append(dbs, db), append(fleets, f)
	}
	shared := func() bool {
		sum := 0
		for _, f := range fleets {
			n := f.Stats().Permits
			if n == 0 {
				return false
			}
			sum += n
		}
		return sum <= budget
	}
	eventually(t, "every member has a share", shared)
	var heartbeats, failures []int64
	for _, f := range fleets {
		heartbeats = append(heartbeats, int64(f.Stats().Heartbeats))
		failures = append(failures, int64(f.Stats().Failures))
	}
	if err := primary.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every member notices", func() bool {
		for i, f := range fleets {
			if int64(f.Stats().Failures) == failures[i] {
				return false
			}
		}
		return true
	})
	for i, f := range fleets {
		heartbeats[i] = int64(f.Stats().Heartbeats)
	}
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the heartbeats of every member go on, and the shares are within the budget", func() bool {
		for i, f := range fleets {
			if s := f.Stats(); int64(s.Heartbeats) < heartbeats[i]+2 || s.Members != len(fleets) {
				return false
			}
		}
		return shared()
	})

	// The standby could have missed members that are alive, so nobody gets anything new.
	late, err := bothdrivers.All[0].Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	f, err := fleet.Join(ctx, late, fleet.Config{Name: "f", Budget: budget, Min: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a heartbeat of a member that has joined is answered", func() bool { return f.Stats().Heartbeats > 0 })
	n, learning := f.Stats().Permits, false
	if err := late.Ungated().QueryRowContext(ctx, "SELECT tick < learn_until FROM poolgate_fleet.fleet_v1").Scan(&learning); err != nil {
		t.Fatal(err)
	}
	if n > 0 && learning {
		t.Errorf("a member that has joined after the failover has %d connections", n)
	}
	t.Logf("after the failover: %+v, learning: %t", f.Stats(), learning)
	for i, db := range dbs {
		if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
			t.Errorf("member %d: %v", i, err)
		}
		if err := fleets[i].Leave(ctx); err != nil {
			t.Errorf("member %d leaves: %v", i, err)
		}
	}
}
