package poolgate

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/poolgate/poolgate/internal/sqlstate"
)

// For database/sql a driver.Stmt belongs to its connection, which is a seat. In
// fact it belongs to the driver's connection, and a seat has another one at each
// checkout. So the statement of a seat is a stmt, which finds the driver's
// statement on whatever connection the seat has now, or prepares it there.

// statements are those that are prepared on a connection of the driver, by their
// text. The one that was used last is at the front.
type statements struct {
	most    int // that are kept between checkouts
	byQuery map[string]*list.Element
	order   list.List // of *prepared
	turn    uint64    // counts the checkouts
	altered uint64    // what DB.altered was when they were prepared
	lastUse uint64    // for innerPool
}

type prepared struct {
	query string
	stmt  driver.Stmt
	stale bool   // it was closed, or the server has lost it or its plan
	turn  uint64 // of the checkout that used it last
	users int    // of that checkout that have not closed it
}

// get returns the statement for query, or nil if there is none that can be
// executed.
func (s *statements) get(query string) *prepared {
	e := s.byQuery[query]
	if e == nil {
		return nil
	}
	p := e.Value.(*prepared)
	if p.stale {
		return nil
	}
	s.order.MoveToFront(e)
	if p.turn != s.turn {
		p.turn, p.users = s.turn, 0
	}
	return p
}

// add adds a statement, and closes another that nobody has used since the
// checkout if there are too many. Those that were used may have rows open.
func (s *statements) add(query string, stmt driver.Stmt) *prepared {
	if s.byQuery == nil {
		s.byQuery = make(map[string]*list.Element)
	}
	p := &prepared{query: query, stmt: stmt, turn: s.turn}
	s.byQuery[query] = s.order.PushFront(p)
	if e := s.order.Back(); s.isFull() && e.Value.(*prepared).turn != s.turn {
		s.remove(e)
	}
	return p
}

func (s *statements) isFull() bool { return s.order.Len() > max(0, s.most) }

func (s *statements) remove(e *list.Element) {
	p := s.order.Remove(e).(*prepared)
	p.stale = true
	delete(s.byQuery, p.query)
	_ = p.stmt.Close() // an error of the connection shows at the next call
}

// forget closes the statement for query, which is stale, if there is one.
func (s *statements) forget(query string) {
	if e := s.byQuery[query]; e != nil {
		s.remove(e)
	}
}

// closed is called when a user of p has closed it. It is kept unless there are
// too many. Other users may have rows open.
func (s *statements) closed(p *prepared) {
	p.users--
	if e := s.byQuery[p.query]; p.users == 0 && s.isFull() && e != nil && e.Value == p {
		s.remove(e)
	}
}

// trim ends a checkout. It does nothing on nil.
func (s *statements) trim() {
	if s == nil {
		return
	}
	for s.isFull() {
		s.remove(s.order.Back())
	}
	s.turn++
}

// lost notes that the server has forgotten all statements, or that they are out
// of date.
func (s *statements) lost() {
	if s == nil {
		return
	}
	for e := s.order.Front(); e != nil; e = e.Next() {
		e.Value.(*prepared).stale = true
	}
}

// statements returns those of the seat's connection.
func (s *seat) statements() *statements {
	if s.conn.statements == nil {
		s.conn.statements = s.connector.db.source.prepared(s.conn)
	}
	all := s.conn.statements
	if now := s.connector.db.altered.Load(); all.altered != now {
		all.altered = now
		all.lost()
	}
	return all
}

// A stmt is a statement of a seat. Without the seat's connection it holds
// nothing: database/sql closes it at any time.
type stmt struct {
	seat   *seat
	query  string
	inputs int  // what NumInput of the driver's statement returned
	checks bool // the driver's statement has a say in its arguments
	once   bool // it is for one Query or Exec, and is not kept

	// What it is in one checkout, which is the seat's turn.
	turn   uint64
	own    driver.Stmt // of this checkout alone; nil if there is none
	shared *prepared   // among those of the connection; nil if there is none

	failed error // of an attempt to prepare it that could not return it
}

// convertingStmt is the stmt for a driver's statement that converts columns.
type convertingStmt struct{ *stmt }

func (st convertingStmt) ColumnConverter(i int) driver.ValueConverter {
	if d, err := st.drivers(st.seat.ctx); err == nil {
		//lint:ignore SA1019 old drivers have nothing else
		if c, ok := d.(driver.ColumnConverter); ok {
			return c.ColumnConverter(i)
		}
	}
	return driver.DefaultParameterConverter
}

// Prepare is there because driver.Conn wants it; database/sql calls
// PrepareContext.
func (s *seat) Prepare(query string) (driver.Stmt, error) {
	return s.PrepareContext(context.Background(), query)
}

// PrepareContext prepares query on the present connection, unless it is
// prepared there already.
func (s *seat) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	st := &stmt{seat: s, query: query, once: s.skipped == query}
	s.skipped = ""
	d, err := st.drivers(ctx)
	if err != nil {
		return nil, err
	}
	st.inputs = d.NumInput()
	_, st.checks = d.(driver.NamedValueChecker)
	//lint:ignore SA1019 old drivers have nothing else
	if _, ok := d.(driver.ColumnConverter); ok {
		return convertingStmt{st}, nil
	}
	return st, nil
}

// drivers returns the driver's statement on the seat's connection, which the
// seat has to have. It prepares the statement if it must.
func (st *stmt) drivers(ctx context.Context) (driver.Stmt, error) {
	d, _, err := st.find(ctx)
	return d, err
}

// find is drivers, and returns the statement among those of the connection if
// it was prepared before.
func (st *stmt) find(ctx context.Context) (d driver.Stmt, before *prepared, err error) {
	s := st.seat
	if st.turn != s.turn {
		st.turn, st.own, st.shared = s.turn, nil, nil
	}
	if st.own != nil {
		return st.own, nil, nil
	}
	reuses := !st.once && s.reuses(st.query)
	if reuses {
		all := s.statements()
		if p := st.shared; p != nil && !p.stale {
			return p.stmt, p, nil
		}
		if p := all.get(st.query); p != nil {
			st.share(p)
			return p.stmt, p, nil
		}
	}
	ctx = s.begin(ctx, st.query)
	returned := false
	defer s.guard(&returned)
	if reuses {
		s.statements().forget(st.query)
	}
	d, err = prepareOn(ctx, s.conn.driver, st.query)
	if err == nil {
		if reuses && isOrdinary(d) {
			st.share(s.statements().add(st.query, d))
		} else {
			st.own = d
			s.bound = append(s.bound, st)
		}
	}
	s.called(ctx, "prepare", st.query, nil, err)
	returned = true
	return d, nil, err
}

// share makes st a user of p.
func (st *stmt) share(p *prepared) {
	st.shared = p
	p.users++
}

// reuses reports whether a statement for query can be used again, after others
// and in other checkouts. A COPY of lib/pq is a statement that is used up. A
// driver whose statements are all prepared would have ours prepared for each
// Query and Exec, and never closed.
func (s *seat) reuses(query string) bool {
	shape := s.shape()
	return shape.execs && shape.queries && s.connector.db.config.StatementsPerConn >= 0 && !beginsWith(query, "copy")
}

// isOrdinary reports whether d has the calls that every statement of a present
// driver has, and that of a COPY has not.
func isOrdinary(d driver.Stmt) bool {
	_, execs := d.(driver.StmtExecContext)
	_, queries := d.(driver.StmtQueryContext)
	return execs && queries
}

func prepareOn(ctx context.Context, conn driver.Conn, query string) (driver.Stmt, error) {
	if p, ok := conn.(driver.ConnPrepareContext); ok {
		return p.PrepareContext(ctx, query)
	}
	stmt, err := conn.Prepare(query)
	if err == nil && ctx.Err() != nil {
		stmt.Close()
		return nil, ctx.Err()
	}
	return stmt, err
}

// Close closes the driver's statement if it is that of this checkout alone.
// Otherwise it stays with its connection.
func (st *stmt) Close() (err error) {
	s, own, shared := st.seat, st.own, st.shared
	if s.conn == nil || st.turn != s.turn {
		return nil
	}
	st.own, st.shared = nil, nil
	returned := false
	defer s.discardUnless(&returned)
	switch {
	case own != nil:
		err = own.Close()
	case shared != nil:
		s.conn.statements.closed(shared)
	}
	returned = true
	return err
}

// closeBound closes the statements of this checkout that nobody has closed.
func (s *seat) closeBound() {
	for _, st := range s.bound {
		if st.own != nil && st.turn == s.turn {
			_ = st.own.Close() // an error of the connection shows at its next call
			st.own = nil
		}
	}
	s.bound = s.bound[:0]
}

// NumInput returns how many arguments the statement takes, or -1 if database/sql
// is not to count them.
func (st *stmt) NumInput() int {
	if st.seat.ready() != nil {
		return -1 // whatever the arguments are, the call fails for that reason
	}
	return st.inputs
}

// CheckNamedValue has the driver check and convert an argument.
func (st *stmt) CheckNamedValue(v *driver.NamedValue) error {
	s := st.seat
	if !st.checks || s.ready() != nil {
		return s.CheckNamedValue(v)
	}
	d, err := st.drivers(s.ctx)
	if err != nil {
		st.failed = err
		return nil
	}
	checker, ok := d.(driver.NamedValueChecker)
	if !ok {
		return driver.ErrSkip
	}
	returned := false
	defer s.discardUnless(&returned)
	err = checker.CheckNamedValue(v)
	returned = true
	return err
}

// Exec and Query are there because driver.Stmt wants them; database/sql calls
// ExecContext and QueryContext.

func (st *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errors.ErrUnsupported }
func (st *stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errors.ErrUnsupported }

func (st *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	res, _, err := st.run(ctx, "exec", args)
	return res, err
}

func (st *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	_, rows, err := st.run(ctx, "query", args)
	return rows, err
}

// run executes the driver's statement. If the server turns out to have lost it,
// or its plan, before it has executed anything, run prepares it again and
// executes it a second time, but not within a transaction, which has failed with
// it. If a statement has begun that, of which a seat does not know, run finds
// out.
func (st *stmt) run(ctx context.Context, kind string, args []driver.NamedValue) (driver.Result, driver.Rows, error) {
	s := st.seat
	if err := s.ready(); err != nil {
		return nil, nil, err
	}
	if failed := st.failed; failed != nil {
		st.failed = nil
		return nil, nil, failed
	}
	for first := error(nil); ; {
		d, before, err := st.find(ctx)
		if err != nil {
			if first != nil && sqlstate.Of(err) == "25P02" { // a statement has begun a transaction
				err = first
			}
			return nil, nil, err
		}
		res, rows, err := s.call(ctx, kind, st.query, args, d)
		if err == nil || before == nil || s.conn == nil || !before.outdated(err, s.conn) || s.inTx || first != nil {
			return res, rows, err
		}
		first = err
	}
}

// outdated reports whether err says that the server could not begin to execute p
// as it was prepared, so that p can be prepared and executed again. If only the
// first is certain, or if it could be that the server knows p's arguments by types
// that they no longer have, the next call prepares p again.
func (p *prepared) outdated(err error, c *connection) bool {
	state := sqlstate.Of(err)
	switch {
	case state == "26000": // no such prepared statement: after DISCARD ALL, for instance
		c.statements.lost()
		return true
	case state == "0A000": // among others: the plan must not change its result type
		p.stale = true
		return field(err, "Routine") == "RevalidateCachedQuery"
	case strings.HasPrefix(state, "42"): // a name or an operator that does not exist, and the like
		p.stale = true
		return field(err, "Position") != "" && field(err, "Where") == "" // in p itself, and not in a function
	case strings.HasPrefix(state, "22"), state == "":
		p.stale = true
	}
	return false
}

// field returns a field of an error of the server, which the types of lib/pq and
// pgx call by the same names; "" if there is none or if it is zero.
func field(err error, name string) string {
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			continue
		}
		if f := v.FieldByName(name); f.IsValid() && f.CanInterface() && !f.IsZero() {
			return fmt.Sprint(f.Interface())
		}
	}
	return ""
}

// direct returns the statement by which a Query or an Exec with arguments is
// executed, where Config.PrepareQueries says so and the driver's statements
// check their arguments as its connections do; otherwise nil.
func (s *seat) direct(ctx context.Context, query string, args []driver.NamedValue) (*stmt, error) {
	if !s.connector.db.config.PrepareQueries || len(args) == 0 || !s.reuses(query) {
		return nil, nil
	}
	st := &stmt{seat: s, query: query}
	d, err := st.drivers(ctx)
	if err != nil {
		return nil, err
	}
	_, checks := d.(driver.NamedValueChecker)
	//lint:ignore SA1019 old drivers have nothing else
	_, converts := d.(driver.ColumnConverter)
	if checks || converts {
		return nil, nil
	}
	if n := d.NumInput(); n >= 0 && n != len(args) {
		return nil, fmt.Errorf("sql: expected %d arguments, got %d", n, len(args))
	}
	return st, nil
}

// noteLost looks out for statements upon which the server forgets what it has
// prepared, and those that could change the types of arguments. A statement that
// was prepared before such a change takes its arguments by the old types, and
// the server converts them. The seat's own may still be in its transaction, so
// that others are to look again after its release.
func (s *seat) noteLost(query string) {
	switch {
	case beginsWith(query, "alter"):
		s.alters = true
		s.connector.db.altered.Add(1)
	case beginsWith(query, "discard"), beginsWith(query, "deallocate"):
		s.conn.statements.lost()
	}
}

// beginsWith reports whether query begins with word, which is in lower case.
func beginsWith(query, word string) bool {
	i := 0
	for i < len(query) && (query[i] == ' ' || query[i] == '\n' || query[i] == '\t' || query[i] == '\r') {
		i++
	}
	return len(query)-i >= len(word) && strings.EqualFold(query[i:i+len(word)], word)
}
