package pqgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"

	"github.com/lib/pq"

	"github.com/poolgate/poolgate/adapters/internal/socket"
)

// pqConn is what lib/pq's connections can do, but for the forms of Exec and
// Query without a context, which nothing calls where there are those with one.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// A Conn is a connection of a pool of [Open]: lib/pq's own, but that it does not
// go back to the pool inside a transaction, does not come out of it after the
// server has closed it, and can roll back in the middle of a COPY.
// [poolgate.Raw] finds it by its type, for what wants lib/pq's:
//
//	poolgate.Raw(conn, func(c *pqgate.Conn) error {
//		pq.SetNoticeHandler(c.Raw(), handler)
//		return nil
//	})
type Conn struct {
	pqConn
	socket net.Conn
	copy   driver.Stmt // the COPY of the transaction, finished or not; or nil
}

// Raw returns lib/pq's own connection, which is what pq.SetNoticeHandler and
// pq.SetNotificationHandler want. It is valid as long as the Conn is.
func (c *Conn) Raw() driver.Conn { return c.pqConn }

// ResetSession returns driver.ErrBadConn if the connection cannot be used
// again, for database/sql, which asks before it takes an idle one.
func (c *Conn) ResetSession(ctx context.Context) error {
	if err := c.pqConn.ResetSession(ctx); err != nil {
		return err
	}
	if socket.Unread(c.socket) {
		return c.Ping(ctx)
	}
	return nil
}

// IsValid reports whether the connection may go back to the pool, for
// database/sql, which closes it otherwise. That ends a transaction that
// somebody has opened by a BEGIN of their own and has left open: lib/pq would
// hand it on, and what the next borrower writes would vanish with it.
func (c *Conn) IsValid() bool {
	return c.pqConn.IsValid() && !c.inTransaction()
}

// inTransaction finds out what lib/pq knows and does not tell: it refuses COPY
// outside a transaction before it sends anything, by an error of its own. Inside
// one it asks the server, which cannot make sense of a bare COPY and says so.
func (c *Conn) inTransaction() bool {
	_, err := c.Prepare("COPY")
	_, asked := errors.AsType[*pq.Error](err)
	return asked || !c.pqConn.IsValid()
}

// PrepareContext prepares a statement. For lib/pq a COPY … FROM STDIN is one
// too, whose rows are then written by Exec.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.pqConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if _, ordinary := stmt.(driver.StmtExecContext); !ordinary {
		c.copy = stmt
	}
	return stmt, nil
}

// BeginTx begins a transaction.
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	inner, err := c.pqConn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.copy = nil
	return &tx{inner, c}, nil
}

type tx struct {
	driver.Tx
	conn *Conn
}

// Rollback ends the transaction's COPY first. As long as that is under way,
// lib/pq reads from the connection in a goroutine, and the answer to ROLLBACK
// would be read by either; and database/sql rolls back when a context ends,
// wherever the transaction is.
func (t *tx) Rollback() error {
	if t.conn.copy != nil {
		t.conn.copy.Close() // its rows are rolled back, and its error with them
	}
	return t.Tx.Rollback()
}
