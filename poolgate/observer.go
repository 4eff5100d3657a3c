package poolgate

import (
	"context"
	"database/sql/driver"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// An Observer is told what happens at a DB and its views: for tracing, metrics
// and logs. What is said of gate.Observer holds for its functions too.
type Observer struct {
	// Gate is told what happens at the gate.
	Gate gate.Observer

	// Filter tells whether Lease and Call are to be called for a checkout, with
	// the context of the call that checks out. It is asked before that has its
	// permit. A checkout of which nobody wants to know costs nothing more, and
	// LeaseFromContext does not know it. Nil stands for all checkouts.
	Filter func(ctx context.Context) bool

	// Lease is called when a checkout has its permit and its connection, or
	// has failed to get either, with the context of the call that checks out.
	// The function that it returns, which may be nil, is called when the
	// connection is given back; it is not if there is none.
	Lease func(ctx context.Context, l LeaseStart) (end func(LeaseEnd))

	// Call is called after each call to the driver that goes to the server, with
	// the context that it was made with; for the end of a transaction that of
	// its beginning. Not seen are the executions of a prepared statement and the
	// reading of rows, which go to the driver directly.
	Call func(ctx context.Context, c Call)
}

// Call says what the driver was called for, and what became of it. It has the
// statement and its arguments as they are: whoever writes them down should have
// been asked to. Args must not be changed, nor kept.
type Call struct {
	Lease LeaseStart
	Kind  string // "exec", "query", "prepare", "begin", "commit", "rollback" or "ping"
	Query string // as it was given, with its literals; "" if the kind has none
	Args  []driver.NamedValue
	Took  time.Duration
	Err   error
}

// LeaseStart says how a checkout began.
type LeaseStart struct {
	ID         uint64        // no other checkout of the process has it
	Class      string        // gate.OutOfBandClass for DB.OutOfBand
	Waited     time.Duration // for the permit
	Connecting time.Duration // for a connection of the inner pool, after that
	Err        error         // why there is none
}

// LeaseEnd says how a checkout was used.
type LeaseEnd struct {
	Held      time.Duration // from the permit to its release
	Busy      time.Duration // of this, within calls to the driver; not in Rows.Next
	Calls     int           // to the driver
	Discarded bool          // the connection was bad, and was closed
}

// Observe has o told of what happens from now on, beside other observers, until
// stop is called. What is checked out already is not observed. A checkout that
// anybody wants to hear of takes 0.4 µs and 3 allocations more, see
// BenchmarkCheckout, and others take nothing.
func (db *DB) Observe(o Observer) (stop func()) {
	stopGate := db.gate.Observe(o.Gate)
	db.observers.add(&o)
	return func() {
		stopGate()
		db.observers.remove(&o)
	}
}

type leaseKey struct{}

// LeaseFromContext returns how the checkout began under which a driver is
// called, for drivers and wrappers of drivers behind the gate: a DB says so in the
// contexts that it hands on, of checkouts that some observer wants to hear of.
func LeaseFromContext(ctx context.Context) (LeaseStart, bool) {
	w, ok := ctx.Value(leaseKey{}).(*watch)
	if !ok {
		return LeaseStart{}, false
	}
	return w.started, true
}

// observers are those of a DB.
type observers struct {
	mu  sync.Mutex // serializes changes
	all atomic.Pointer[[]*Observer]
}

func (o *observers) add(one *Observer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := append(slices.Clone(o.get()), one)
	o.all.Store(&all)
}

func (o *observers) remove(one *Observer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(o.get()), func(p *Observer) bool { return p == one })
	o.all.Store(&all)
}

func (o *observers) get() []*Observer {
	if all := o.all.Load(); all != nil {
		return *all
	}
	return nil
}

// leases counts the checkouts that were observed.
var leases atomic.Uint64

// watch begins to watch a checkout, if anybody wants to know.
func (o *observers) watch(ctx context.Context) *watch {
	all := o.get()
	for i, one := range all {
		if one.wants(ctx) {
			continue
		}
		some := slices.Clone(all[:i])
		for _, one := range all[i+1:] {
			if one.wants(ctx) {
				some = append(some, one)
			}
		}
		all = some
		break
	}
	if len(all) == 0 {
		return nil
	}
	return &watch{observers: all, at: time.Now()}
}

func (o *Observer) wants(ctx context.Context) bool { return o.Filter == nil || o.Filter(ctx) }

// watch is a checkout that is observed. Its methods do nothing on nil. It is
// used by one goroutine at a time, like the lease.
type watch struct {
	observers []*Observer
	at        time.Time // of the last event
	calling   bool      // a call to the driver is under way since then
	permitted time.Time
	started   LeaseStart
	ended     LeaseEnd
	ends      []func(LeaseEnd)
}

// granted is called when there is a permit.
func (w *watch) granted() {
	if w == nil {
		return
	}
	w.permitted = time.Now()
	w.started.Waited = w.permitted.Sub(w.at)
}

// start is called when the checkout has its connection, or has failed.
func (w *watch) start(ctx context.Context, c *connector, err error) {
	if w == nil {
		return
	}
	w.started.ID = leases.Add(1)
	w.started.Class = c.classOf(ctx)
	w.started.Err = err
	if w.permitted.IsZero() {
		w.started.Waited = time.Since(w.at)
	} else {
		w.started.Connecting = time.Since(w.permitted)
	}
	for _, o := range w.observers {
		if o.Lease == nil {
			continue
		}
		if end := o.Lease(ctx, w.started); end != nil && err == nil {
			w.ends = append(w.ends, end)
		}
	}
}

// begin and end are called around each call to the driver.
func (w *watch) begin(ctx context.Context) context.Context {
	w.at, w.calling = time.Now(), true
	w.ended.Calls++
	return context.WithValue(ctx, leaseKey{}, w)
}

func (w *watch) end() {
	if w != nil && w.calling { // and not only to check an argument
		w.calling = false
		w.ended.Busy += time.Since(w.at)
	}
}

// called is called after a call to the driver that was not ended by a panic.
func (w *watch) called(ctx context.Context, kind, query string, args []driver.NamedValue, err error) {
	if w == nil || err == driver.ErrSkip { // it will be called in another way
		return
	}
	took := time.Since(w.at)
	for _, o := range w.observers {
		if o.Call != nil {
			o.Call(ctx, Call{Lease: w.started, Kind: kind, Query: query, Args: args, Took: took, Err: err})
		}
	}
}

func (w *watch) discarded() {
	if w != nil {
		w.ended.Discarded = true
	}
}

// finish is called when the permit was given back.
func (w *watch) finish() {
	if w == nil || w.ends == nil {
		return
	}
	w.ended.Held = time.Since(w.permitted)
	for _, end := range w.ends {
		end(w.ended)
	}
	w.ends = nil
}
