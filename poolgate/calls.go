package poolgate

import (
	"context"
	"database/sql/driver"
	"errors"
)

// The calls of a lease that go on to the driver. Where the driver lacks the
// newer form of a call, each does as database/sql itself would.

// CheckNamedValue lets the driver check and convert an argument, and leaves it
// to database/sql where the driver has no say in it.
func (l *lease) CheckNamedValue(v *driver.NamedValue) error {
	// It is no call to the server, so begin is not called.
	checker, ok := l.conn.(driver.NamedValueChecker)
	if !ok {
		return driver.ErrSkip
	}
	returned := false
	defer l.guard(&returned)
	err := checker.CheckNamedValue(v)
	returned = true
	return err
}

// Prepare is there because driver.Conn wants it; database/sql calls
// PrepareContext.
func (l *lease) Prepare(query string) (driver.Stmt, error) {
	return l.PrepareContext(context.Background(), query)
}

func (l *lease) PrepareContext(ctx context.Context, query string) (stmt driver.Stmt, err error) {
	if err := l.alive(); err != nil {
		return nil, err
	}
	ctx = l.begin(ctx, query)
	returned := false
	defer l.guard(&returned)
	for tries := 0; ; {
		stmt, err = prepareOn(ctx, l.conn, query)
		if !l.swap(ctx, &err, &tries) {
			returned = true
			l.watch.called(ctx, "prepare", query, nil, err)
			return stmt, err
		}
	}
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

func (l *lease) exec(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	if err := l.alive(); err != nil {
		return nil, err
	}
	ctx = l.begin(ctx, query)
	returned := false
	defer l.guard(&returned)
	for tries := 0; ; {
		res, err = execOn(ctx, l.conn, query, args)
		if !l.swap(ctx, &err, &tries) {
			returned = true
			l.watch.called(ctx, "exec", query, args, err)
			return res, err
		}
	}
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

func (l *lease) query(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	if err := l.alive(); err != nil {
		return nil, err
	}
	ctx = l.begin(ctx, query)
	returned := false
	defer l.guard(&returned)
	for tries := 0; ; {
		rows, err = queryOn(ctx, l.conn, query, args)
		if !l.swap(ctx, &err, &tries) {
			returned = true
			l.watch.called(ctx, "query", query, args, err)
			return rows, err
		}
	}
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

// Begin is there because driver.Conn wants it; database/sql calls BeginTx.
func (l *lease) Begin() (driver.Tx, error) {
	return l.BeginTx(context.Background(), driver.TxOptions{})
}

func (l *lease) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := l.alive(); err != nil {
		return nil, err
	}
	if l.connector.outOfBand {
		return nil, ErrOutOfBand
	}
	ctx = l.begin(ctx, "BEGIN")
	returned := false
	defer l.guard(&returned)
	for tries := 0; ; {
		inner, err := beginOn(ctx, l.conn, opts)
		if !l.swap(ctx, &err, &tries) {
			returned = true
			l.watch.called(ctx, "begin", "", nil, err)
			if err != nil {
				return nil, err
			}
			return &tx{lease: l, inner: inner, ctx: ctx}, nil
		}
	}
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

// A tx is the driver's transaction under the guard of its lease: database/sql
// loses the connection of a transaction whose end panics. driver.Tx has no
// optional interfaces that a wrapper could hide.
type tx struct {
	lease *lease
	inner driver.Tx
	ctx   context.Context // of its BEGIN, for its values: whose transaction it is
}

func (t *tx) Commit() error {
	t.lease.begin(t.ctx, "COMMIT")
	returned := false
	defer t.lease.guard(&returned)
	err := t.inner.Commit()
	returned = true
	t.lease.watch.called(t.ctx, "commit", "", nil, err)
	return err
}

func (t *tx) Rollback() error {
	t.lease.begin(t.ctx, "ROLLBACK")
	returned := false
	defer t.lease.guard(&returned)
	err := t.inner.Rollback()
	returned = true
	t.lease.watch.called(t.ctx, "rollback", "", nil, err)
	return err
}
