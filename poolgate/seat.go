package poolgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	"github.com/poolgate/poolgate/internal/activity"
	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A seat is a connection of the gated *sql.DB, which keeps it in its free list
// between uses. There a seat holds nothing. It takes a permit and then a
// connection of the driver when database/sql checks it out, and gives both back
// when database/sql releases it:
//
//   - Connect checks out a new seat, and ResetSession one from the free list,
//     each on the caller's goroutine with the caller's context.
//   - IsValid is the last thing that database/sql asks of a good connection.
//   - Close without IsValid since the checkout discards the connection.
//
// database/sql never uses a seat from two goroutines at once.
//
// A statement goes straight to the driver's connection, even where that is
// checked out of another *sql.DB as an *sql.Conn, which would convert arguments
// a second time and watch each context with a goroutine.
type seat struct {
	connector *connector
	permit    gate.Permit // zero if it holds none
	conn      *connection // nil if it holds none
	ctx       context.Context
	turn      uint64 // counts the checkouts

	// refused is why the checkout failed. The first call returns it, see
	// ResetSession.
	refused error

	// inTx is set between BeginTx and the end of that transaction, and spoiled
	// once the connection must not be used again.
	inTx, spoiled bool

	// began is when the call to the driver that is under way began, if the gate
	// wants to know how long it takes.
	began time.Time

	// exposed is set once somebody had the driver's connection itself, and alters
	// once an ALTER was executed.
	exposed, alters bool

	// skipped is the Query or Exec that the driver wants prepared: the next
	// statement is for that.
	skipped string

	// bound are the statements that belong to this checkout alone.
	bound []*stmt

	// activity is what the permit is used for, which the gate may ask at any
	// time. watch is for the observers; nil if there are none, and then spare is
	// for the next checkout that has some.
	activity     *activity.Activity
	watch, spare *watch

	// Room for the connection of an inner pool, and the function that puts it
	// there: made once, not for each checkout.
	ofInner   connection
	intoInner func(any) error
}

func newSeat(c *connector) *seat {
	s := &seat{connector: c, activity: new(activity.Activity)}
	s.intoInner = func(conn any) error {
		s.ofInner.driver = conn.(driver.Conn)
		return nil
	}
	return s
}

// checkOut takes the permit and the connection. It holds neither if it fails or
// if the driver panics.
func (s *seat) checkOut(ctx context.Context) error {
	s.turn++
	s.ctx = ctx
	s.watch = s.connector.db.observers.watch(ctx, s.spare)
	watch := s.watch
	err := s.take(ctx)
	if watch != nil {
		s.lease(watch, err)
	}
	switch {
	case err == nil && s.connector.readOnly:
		return s.beginReadOnly(ctx)
	case err != nil && watch != nil:
		watch.reset()
		s.watch, s.spare = nil, watch
	}
	return err
}

// lease has the observers look at the checkout. If one of them panics, the seat
// gives everything back.
func (s *seat) lease(w *watch, err error) {
	returned := false
	defer s.discardUnless(&returned)
	w.start(s.connector.classOf(w.checkout), err)
	returned = true
}

func (s *seat) take(ctx context.Context) error {
	c := s.connector
	permit, err := c.acquire(ctx, s.activity)
	if err != nil {
		return err
	}
	s.permit = permit
	s.watch.granted()
	defer func() {
		if s.conn == nil {
			s.giveBackPermit()
		}
	}()
	if s.conn, err = c.db.source.take(ctx, s, c.db.retries.wantsNew()); err != nil {
		if overloaded(err) {
			permit.Worked(0, true, true)
		}
		return err
	}
	return nil
}

// ResetSession checks out a seat from the free list. database/sql ignores every
// error of it but driver.ErrBadConn, upon which it tries again, with a new seat
// at the third time. So a refusal is kept for the call that follows the
// checkout, which returns it as it is. DB.Conn makes no such call: there the
// refusal takes the way by the new seat, whose Connect returns it.
func (s *seat) ResetSession(ctx context.Context) error {
	c := s.connector
	c.undoSettings()
	if c.db.retries.isRefused() {
		return driver.ErrBadConn
	}
	err := s.checkOut(ctx)
	switch {
	case err == nil:
	case errors.Is(err, driver.ErrBadConn): // of connecting, for instance: it is tried again
		return driver.ErrBadConn
	case calledBy("database/sql.(*DB).Conn"):
		c.db.retries.refuse(ctx, err)
		return driver.ErrBadConn
	default:
		s.refused = err
	}
	return nil
}

// IsValid releases the seat: the connection goes back, then the permit. It
// reports whether the seat can be checked out again.
func (s *seat) IsValid() bool {
	switch {
	case s.refused != nil:
		s.refused, s.ctx = nil, nil
		return true
	case s.conn == nil: // given back after a panic
		return false
	}
	returned := false
	defer s.discardUnless(&returned)
	s.closeBound()
	s.conn.statements.trim()
	var panicked any
	switch {
	case s.spoiled:
		panicked = s.discard()
	case s.connector.readOnly && s.wantsReset():
		panicked = s.endBy(commit, resetSession)
	case s.connector.readOnly:
		panicked = s.endBy(commit)
	case s.wantsReset():
		panicked = s.endBy(resetSession)
	case s.connector.db.source.giveBack(s.conn):
		s.conn = nil
		s.giveBackPermit()
		s.reset()
	default:
		panicked = s.discard()
	}
	returned = true
	if panicked != nil {
		panic(panicked)
	}
	return true
}

// Close discards the connection if the seat still has one.
func (s *seat) Close() error {
	if s.conn != nil {
		if v := s.discard(); v != nil {
			panic(v)
		}
	}
	return nil
}

// reset forgets what was of one checkout.
func (s *seat) reset() {
	if s.alters {
		s.alters = false
		s.connector.db.altered.Add(1)
	}
	s.ctx, s.skipped, s.inTx, s.spoiled, s.exposed = nil, "", false, false, false
}

// held is what a seat holds, once it is no longer the seat that does.
type held struct {
	source source
	permit gate.Permit
	conn   connection
	watch  *watch
}

// detach takes from the seat what it holds.
func (s *seat) detach() *held {
	h := &held{s.connector.db.source, s.permit, *s.conn, s.watch}
	s.permit, s.conn, s.watch, s.spare, s.bound = gate.Permit{}, nil, nil, nil, nil
	s.activity = new(activity.Activity) // the other one describes the permit until it is released
	s.reset()
	return h
}

// letGo has end give back what the seat holds. That can take a while, so it has a
// goroutine of its own, for which the caller waits until ctx ends, and a moment
// longer. It returns the value of a panic.
func (s *seat) letGo(ctx context.Context, end func(*held) (panicked any)) (panicked any) {
	h := s.detach()
	done := make(chan any, 1)
	go func() {
		h.permit.SetOwner() // no longer the caller, who may wait for another permit
		done <- end(h)
	}()
	select {
	case panicked = <-done:
		return panicked
	case <-ctx.Done():
	}
	patience := time.NewTimer(discardPatience)
	defer patience.Stop()
	select {
	case panicked = <-done:
	case <-patience.C:
	}
	return panicked
}

// discardPatience is how long a caller waits for its bad connection to be
// closed. Most are at once, and then the permit is there for another try.
const discardPatience = 50 * time.Millisecond

// discard closes the connection, and then gives the permit back: what the limit
// protects is the server, which may go on until the connection is closed.
func (s *seat) discard() (panicked any) {
	s.watch.discarded()
	return s.letGo(canceled, (*held).discard)
}

// canceled is a context that has ended.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// discard returns the value of a panic, of which there may be several: of the
// driver, and of observers.
func (h *held) discard() (panicked any) {
	recovers := func() {
		if v := recover(); v != nil {
			panicked = v
		}
	}
	defer recovers()
	defer h.watch.finish()
	defer h.permit.Release()
	defer recovers()
	h.source.discard(h.conn)
	return nil
}

// giveBack returns the value of a panic too. If the driver panics, the connection
// is closed for it.
func (h *held) giveBack() (panicked any) {
	if !h.isKept() {
		return h.discard()
	}
	defer func() { panicked = recover() }()
	defer h.watch.finish()
	h.permit.Release()
	return nil
}

// isKept gives the connection back, and reports whether it was taken.
func (h *held) isKept() (kept bool) {
	defer func() {
		if recover() != nil {
			kept = false
		}
	}()
	return h.source.giveBack(&h.conn)
}

func (s *seat) giveBackPermit() {
	permit := s.permit
	s.permit = gate.Permit{}
	permit.Release()
	if s.watch != nil {
		s.watch.finish()
		s.watch, s.spare = nil, s.watch
	}
}

// ready returns an error if there is no connection to call: the checkout was
// refused, or the connection was given back after a panic.
func (s *seat) ready() error {
	switch {
	case s.refused != nil:
		return s.refused
	case s.conn == nil:
		return driver.ErrBadConn
	}
	return nil
}

// begin is called before every call into the driver, with the statement if it
// has one, and returns the context for it. The goroutine that calls is the
// permit's owner.
func (s *seat) begin(ctx context.Context, query string) context.Context {
	s.permit.SetOwner()
	if query != "" {
		s.activity.Begin(query)
	}
	if s.connector.db.gate.IsAdaptive() {
		s.began = time.Now()
	}
	if s.watch == nil {
		return ctx
	}
	return s.watch.begin(ctx)
}

// guard, deferred around every call into the driver after begin, gives everything
// back if the driver, an observer or a Finder panics or ends the goroutine.
// database/sql itself does so for Exec, but not for Query and BeginTx, where
// connection and permit would be lost. The panic goes on to the caller.
func (s *seat) guard(returned *bool) {
	s.activity.End()
	s.watch.end()
	s.discardUnless(returned)
}

// discardUnless is guard for a call that does not go to the server, or not on
// behalf of the caller.
func (s *seat) discardUnless(returned *bool) {
	if !*returned && s.conn != nil {
		s.discard()
	}
}

// called is called after a call to the driver that returned.
func (s *seat) called(ctx context.Context, kind, query string, args []driver.NamedValue, err error) {
	if errors.Is(err, driver.ErrBadConn) {
		s.connector.db.retries.wasBad()
	}
	if err == driver.ErrSkip {
		s.skipped = query
	}
	s.watch.called(ctx, kind, query, args, err)
	s.worked(err)
}

// worked tells a gate whose limit is adaptive how long the call took.
func (s *seat) worked(err error) {
	if !s.began.IsZero() && err != driver.ErrSkip { // the driver wants to be called in another way
		s.permit.Worked(time.Since(s.began), err != nil, overloaded(err))
		s.began = time.Time{}
	}
}

// overloaded reports whether the server said that it has too much to do: class
// 53 of PostgreSQL's error codes is insufficient resources, such as too many
// connections.
func overloaded(err error) bool { return err != nil && strings.HasPrefix(sqlstate.Of(err), "53") }

// Raw returns the driver's own connection, below all wrappers. It is nil if the
// seat has none.
func (s *seat) Raw() driver.Conn {
	conn := s.expose()
	for {
		wrapper, ok := conn.(interface{ Raw() driver.Conn })
		if !ok {
			return conn
		}
		conn = wrapper.Raw()
	}
}

// expose returns the driver's connection, which can be a wrapper too, to
// somebody who may do anything with it.
func (s *seat) expose() driver.Conn {
	if s.conn == nil {
		return nil
	}
	s.permit.SetOwner()
	s.exposed = true
	return s.conn.driver
}
