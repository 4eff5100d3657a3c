package pgxgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolgate/poolgate/adapters/internal/socket"
	"github.com/poolgate/poolgate/internal/operation"
)

// Deferred statements are a unit's BEGIN, SAVEPOINT and RELEASE. They travel with
// the statement that follows, and so cost no round trip. pgx does not know of
// them: they are put into the buffer that it sends next, and what the server says
// to them is kept from it.
//
// There is no Sync between them and the statement, so the server skips the
// statement if one of them fails, and pgx gets their error as that of the
// statement. That is not so in the simple protocol, where they are sent before.
type deferred struct {
	queries []string
	queued  bool // they are in pgx's buffer
}

// defers reports whether a statement under ctx is kept until the next one.
func (c *Conn) defers(ctx context.Context, statement string) bool {
	return c.answers != nil && operation.IsDeferred(ctx, statement) && c.connector.config.DefaultQueryExecMode != pgx.QueryExecModeSimpleProtocol &&
		!c.deferred.queued && !c.pg.IsClosed()
}

// lead has the deferred statements go before the call that follows: together
// with it if that uses the extended protocol, and otherwise now. The caller calls
// led afterwards.
func (c *Conn) lead(ctx context.Context, call *socket.Call, extended bool) error {
	if c.pg.IsBusy() { // pgx itself refuses the call too, but not before it has lost the rows that are open
		return errBusy
	}
	if err := c.late.failed(); err != nil {
		return err
	}
	d := &c.deferred
	if len(d.queries) == 0 {
		return nil
	}
	if c.late != nil && !c.late.sent {
		call.Harmless = true // it is not committed
	}
	frontend := c.pg.Frontend()
	switch {
	case ctx.Err() != nil: // pgx sends nothing
		return ctx.Err()
	case d.queued && extended: // the call before has sent nothing
		return nil
	case !extended, frontend.ReadBufferLen() > 0: // where there may be half of a message
		return c.settle(ctx)
	}
	for _, query := range d.queries {
		frontend.SendParse(&pgproto3.Parse{Query: query})
		frontend.SendBind(&pgproto3.Bind{})
		frontend.SendExecute(&pgproto3.Execute{})
	}
	d.queued = true
	c.answers.skip = len(d.queries)
	return nil
}

// led notes whether the call has sent the deferred statements.
func (c *Conn) led(call socket.Call) {
	if c.deferred.queued && c.socket.Sent() > call.Start {
		c.forget()
	}
}

// forget notes that the deferred statements were sent.
func (c *Conn) forget() {
	c.deferred = deferred{}
	if c.late != nil {
		c.late.sent = true
	}
}

// settle sends the deferred statements alone.
func (c *Conn) settle(ctx context.Context) error {
	before := c.socket.Sent()
	p := c.pg.StartPipeline(ctx)
	if !c.deferred.queued {
		for _, query := range c.deferred.queries {
			p.SendQueryParams(query, nil, nil, nil, nil)
		}
	}
	err := p.Sync()
	for err == nil {
		var result any
		if result, err = p.GetResults(); err != nil || result == nil {
			break
		}
		if _, ended := result.(*pgconn.PipelineSync); ended {
			break
		}
	}
	if closed := p.Close(); err == nil {
		err = closed
	}
	if c.socket.Sent() > before {
		c.forget()
	}
	return err
}

// usesExtended reports whether pgx uses the extended protocol for a statement
// with these arguments.
func (c *Conn) usesExtended(query string, args []driver.NamedValue, exec bool) bool {
	switch {
	case query == "", exec && len(args) == 0, c.connector.config.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol:
		return false
	case len(args) == 0:
		return true
	}
	switch args[0].Value.(type) {
	case pgx.QueryExecMode, pgx.QueryRewriter, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		return false // or who knows
	}
	return true
}

// beginQuery returns what pgx sends to begin such a transaction, or "" if it does
// not know its level.
func beginQuery(opts driver.TxOptions) string {
	query := "begin"
	switch sql.IsolationLevel(opts.Isolation) {
	case sql.LevelDefault:
	case sql.LevelReadUncommitted:
		query += " isolation level read uncommitted"
	case sql.LevelReadCommitted:
		query += " isolation level read committed"
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		query += " isolation level repeatable read"
	case sql.LevelSerializable:
		query += " isolation level serializable"
	default:
		return ""
	}
	if opts.ReadOnly {
		query += " read only"
	}
	return query
}

// A deferredTx is a transaction whose BEGIN was deferred. Of COMMIT and ROLLBACK
// it makes what pgx makes of them.
type deferredTx struct {
	conn  *Conn
	ctx   context.Context
	sent  bool // BEGIN was
	begun bool
}

var errNotBegun = errors.New("pgxgate: the transaction could not be begun")

// failed returns an error if BEGIN has failed. Otherwise a statement after that
// would be one by itself. It returns nil on nil.
func (t *deferredTx) failed() error {
	if t != nil && t.sent && !t.begun && !t.conn.pg.IsClosed() {
		if t.conn.pg.TxStatus() == 'I' {
			return errNotBegun
		}
		t.begun = true
	}
	return nil
}

// end prepares for the end of the transaction: it drops what need not be sent
// before, and reports whether there is anything to end.
func (t *deferredTx) end(ctx context.Context) (open bool, err error) {
	c := t.conn
	if c.deferred.queued {
		err = c.settle(ctx)
	}
	c.deferred, c.late = deferred{}, nil
	return t.sent, err
}

func (t *deferredTx) Commit() error {
	if err := t.failed(); err != nil {
		t.conn.late = nil
		return err
	}
	if open, err := t.end(t.ctx); !open || err != nil {
		return err
	}
	conn := t.conn.inner.Conn()
	tag, err := conn.Exec(t.ctx, "commit")
	switch {
	case err != nil && t.conn.pg.TxStatus() != 'I':
		conn.Close(t.ctx)
	case err == nil && tag.String() == "ROLLBACK":
		return pgx.ErrTxCommitRollback
	}
	return err
}

func (t *deferredTx) Rollback() error { return t.rollback(t.ctx) }

func (t *deferredTx) rollback(ctx context.Context) error {
	failed := t.failed() != nil
	if open, err := t.end(ctx); !open || failed || err != nil {
		return err
	}
	_, err := t.conn.inner.Conn().Exec(ctx, "rollback")
	return err
}

// answers are what the server says, without what it says to deferred statements.
type answers struct {
	from io.Reader
	skip int    // how many of those are to come
	read []byte // but not handed on
	pass int    // how much at its start is to be handed on as it is
}

// build is what pgx calls to build its end of the protocol.
func (a *answers) build(r io.Reader, w io.Writer) *pgproto3.Frontend {
	*a = answers{from: r}
	return pgproto3.NewFrontend(a, w)
}

func (a *answers) Read(b []byte) (int, error) {
	for a.skip > 0 || len(a.read) > 0 {
		if a.look(); a.pass > 0 && len(a.read) > 0 {
			n := copy(b, a.read[:min(a.pass, len(a.read))])
			a.read, a.pass = a.read[n:], a.pass-n
			return n, nil
		}
		more := make([]byte, 4<<10)
		n, err := a.from.Read(more)
		if a.read = append(a.read, more[:n]...); n == 0 && err != nil {
			return 0, err
		}
	}
	return a.from.Read(b)
}

// look drops the answers to deferred statements at the start of what was read,
// and says how much after them is to be handed on.
func (a *answers) look() {
	for a.pass == 0 && a.skip > 0 {
		if len(a.read) < 5 {
			return
		}
		size := 1 + int(binary.BigEndian.Uint32(a.read[1:]))
		switch a.read[0] {
		case 'E': // the server skips what follows
			a.skip = 0
		case '1', '2', 'C': // ParseComplete, BindComplete, CommandComplete
			if len(a.read) < size {
				return
			}
			if a.read[0] == 'C' {
				a.skip--
			}
			a.read = a.read[size:]
		default: // a notice
			a.pass = size
		}
	}
	if a.skip == 0 {
		a.pass = len(a.read)
	}
}
