package session_test

import (
	"context"
	"database/sql/driver"
	"errors"
)

// unreachable is a driver whose connections cannot be opened.
type unreachable struct{ err error }

func (u unreachable) Connect(context.Context) (driver.Conn, error) { return nil, u.err }
func (u unreachable) Driver() driver.Driver                        { return nil }

func sqlState(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// A scripted driver does in BEGIN and COMMIT what a test wants.
type scripted struct {
	begin, commit func(ctx context.Context) error
	ended         *string // how the transaction ended
}

func (s scripted) Connect(context.Context) (driver.Conn, error) {
	return &scriptedConn{scripted: s}, nil
}
func (s scripted) Driver() driver.Driver { return nil }

type scriptedConn struct {
	scripted
	ctx context.Context // BEGIN's, which pgx uses for COMMIT and ROLLBACK too
}

func (c *scriptedConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c *scriptedConn) Close() error                        { return nil }
func (c *scriptedConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }

func (c *scriptedConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	c.ctx = ctx
	return c, c.begin(ctx)
}

func (c *scriptedConn) Commit() error {
	err := c.commit(c.ctx)
	*c.ended = "committed"
	if err != nil {
		*c.ended = "broken"
	}
	return err
}

func (c *scriptedConn) Rollback() error {
	*c.ended = "rolled back"
	return nil
}

func (c *scriptedConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, nil
}
