package poolgate_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestSetMaxOpenConnsLowersTheLimit(t *testing.T) {
	for _, test := range []struct {
		limit, lane, n, want int
	}{
		{10, 0, 100, 10}, // it never raises it
		{10, 0, 12, 10},
		{10, 0, 11, 9}, // and a lane of 2
		{10, 0, 1, 1},
		{10, 0, 0, 10},
		{10, 4, 8, 4},
		{10, gate.NoOutOfBand, 8, 8},
		{math.MaxInt, 0, 10, 8},
		{math.MaxInt, gate.NoOutOfBand, math.MaxInt, math.MaxInt},
	} {
		t.Run(fmt.Sprintf("limit=%d,lane=%d,n=%d", test.limit, test.lane, test.n), func(t *testing.T) {
			db, err := poolgate.OpenDB(nullConnector{}, poolgate.Config{Gate: gate.Config{Limit: test.limit, OutOfBand: test.lane}})
			must(t, err)
			defer db.Close()
			db.SetMaxOpenConns(test.n)
			if got := db.Gate().Limit(); got != test.want {
				t.Errorf("the limit is %d, want %d", got, test.want)
			}
		})
	}
	t.Run("of an adaptive gate that is Max", func(t *testing.T) {
		db, err := poolgate.OpenDB(nullConnector{}, adaptive(gate.Adaptive{Max: 100}))
		must(t, err)
		defer db.Close()
		db.SetMaxOpenConns(25)
		if got := db.Gate().Stats().Adaptive.Max; got != 20 {
			t.Errorf("the limit may be %d, want the 20 that leave the lane 5", got)
		}
	})
}
