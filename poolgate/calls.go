package poolgate

import (
	"context"
	"database/sql/driver"
	"errors"
)

// The calls of a seat that go on to the driver. Where the driver lacks the newer
// form of a call, each does what database/sql itself would do.

// CheckNamedValue lets the driver check and convert an argument, and leaves it
// to database/sql if the driver has no say in it.
func (s *seat) CheckNamedValue(v *driver.NamedValue) error {
	if s.ready() != nil {
		return nil // whatever the argument is, the call fails for that reason
	}
	checker, ok := s.conn.driver.(driver.NamedValueChecker)
	if !ok {
		return driver.ErrSkip
	}
	returned := false
	defer s.discardUnless(&returned)
	err := checker.CheckNamedValue(v)
	returned = true
	return err
}

func (s *seat) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, _, err := s.run(ctx, "exec", query, args)
	return res, err
}

func (s *seat) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	_, rows, err := s.run(ctx, "query", query, args)
	return rows, err
}

func (s *seat) run(ctx context.Context, kind, query string, args []driver.NamedValue) (driver.Result, driver.Rows, error) {
	if err := s.ready(); err != nil {
		return nil, nil, err
	}
	if st, err := s.direct(ctx, query, args); err != nil {
		return nil, nil, err
	} else if st != nil {
		return st.run(ctx, kind, args)
	}
	return s.call(ctx, kind, query, args, nil)
}

// call executes query, by the driver's statement d if that is not nil.
func (s *seat) call(ctx context.Context, kind, query string, args []driver.NamedValue, d driver.Stmt) (res driver.Result, rows driver.Rows, err error) {
	ctx = s.begin(ctx, query)
	returned := false
	defer s.guard(&returned)
	switch {
	case kind == "exec" && d == nil:
		res, err = execOn(ctx, s.conn.driver, query, args)
	case kind == "exec":
		res, err = execBy(ctx, d, args)
	case d == nil:
		rows, err = queryOn(ctx, s.conn.driver, query, args)
	default:
		rows, err = queryBy(ctx, d, args)
	}
	s.noteLost(query)
	s.called(ctx, kind, query, args, err)
	returned = true
	return res, rows, err
}

func execOn(ctx context.Context, conn driver.Conn, query string, args []driver.NamedValue) (driver.Result, error) {
	switch conn := conn.(type) {
	case driver.ExecerContext:
		return conn.ExecContext(ctx, query, args)
	//lint:ignore SA1019 old drivers have nothing else
	case driver.Execer:
		values, err := positional(ctx, args)
		if err != nil {
			return nil, err
		}
		return conn.Exec(query, values)
	}
	return nil, driver.ErrSkip
}

func queryOn(ctx context.Context, conn driver.Conn, query string, args []driver.NamedValue) (driver.Rows, error) {
	switch conn := conn.(type) {
	case driver.QueryerContext:
		return conn.QueryContext(ctx, query, args)
	//lint:ignore SA1019 old drivers have nothing else
	case driver.Queryer:
		values, err := positional(ctx, args)
		if err != nil {
			return nil, err
		}
		return conn.Query(query, values)
	}
	return nil, driver.ErrSkip
}

func execBy(ctx context.Context, d driver.Stmt, args []driver.NamedValue) (driver.Result, error) {
	if d, ok := d.(driver.StmtExecContext); ok {
		return d.ExecContext(ctx, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 old drivers have nothing else
	return d.Exec(values)
}

func queryBy(ctx context.Context, d driver.Stmt, args []driver.NamedValue) (driver.Rows, error) {
	if d, ok := d.(driver.StmtQueryContext); ok {
		return d.QueryContext(ctx, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 old drivers have nothing else
	return d.Query(values)
}

// positional turns arguments into what the calls without a context take.
func positional(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, arg := range args {
		if arg.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = arg.Value
	}
	return values, ctx.Err()
}

// Ping asks the connection that the seat has, if the driver can.
func (s *seat) Ping(ctx context.Context) error {
	if err := s.ready(); err != nil {
		return err
	}
	pinger, ok := s.conn.driver.(driver.Pinger)
	if !ok {
		return nil
	}
	ctx = s.begin(ctx, "")
	returned := false
	defer s.guard(&returned)
	err := pinger.Ping(ctx)
	s.watch.called(ctx, "ping", "", nil, err)
	returned = true
	return err
}

// Begin is there because driver.Conn wants it; database/sql calls BeginTx.
func (s *seat) Begin() (driver.Tx, error) {
	return s.BeginTx(context.Background(), driver.TxOptions{})
}

func (s *seat) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	if s.connector.outOfBand {
		return nil, ErrOutOfBand
	}
	called := s.begin(ctx, "BEGIN")
	returned := false
	defer s.guard(&returned)
	inner, err := beginOn(called, s.conn.driver, opts)
	s.called(called, "begin", "", nil, err)
	returned = true
	if err != nil {
		return nil, err
	}
	s.inTx = true
	return &tx{seat: s, turn: s.turn, inner: inner, ctx: called}, nil
}

func beginOn(ctx context.Context, conn driver.Conn, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := conn.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if opts.Isolation != 0 {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	//lint:ignore SA1019 old drivers have nothing else
	inner, err := conn.Begin()
	if err == nil && ctx.Err() != nil {
		inner.Rollback()
		return nil, ctx.Err()
	}
	return inner, err
}

// A tx is the driver's transaction under the guard of its seat: database/sql
// loses the connection of a transaction whose end panics. driver.Tx has no
// optional interfaces that a wrapper could hide.
type tx struct {
	seat  *seat
	turn  uint64 // of the seat
	inner driver.Tx
	ctx   context.Context // of its BEGIN, for its values: whose transaction it is
}

func (t *tx) Commit() error { return t.end("commit", "COMMIT", t.inner.Commit) }

// Rollback rolls back. If the transaction's context has ended, database/sql
// discards the connection of a driver that cannot both reset and validate it. A
// seat can, so it does that itself.
func (t *tx) Rollback() error {
	s := t.seat
	if s.conn != nil && t.ctx.Err() != nil {
		_, resets := s.conn.driver.(driver.SessionResetter)
		_, validates := s.conn.driver.(driver.Validator)
		s.spoiled = !resets || !validates
	}
	return t.end("rollback", "ROLLBACK", t.inner.Rollback)
}

func (t *tx) end(kind, query string, end func() error) error {
	s := t.seat
	if s.conn == nil || s.turn != t.turn { // it was discarded after a panic, and may be being closed just now
		return driver.ErrBadConn
	}
	s.begin(t.ctx, query)
	returned := false
	defer s.guard(&returned)
	err := end()
	s.inTx = false
	s.watch.called(t.ctx, kind, "", nil, err)
	s.worked(err)
	returned = true
	return err
}
