package pgxgate

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/poolgate/poolgate/adapters/internal/socket"
	"github.com/poolgate/poolgate/poolgate"
)

// What follows goes by pgx's pipeline rather than by its SendBatch, which does
// not let the sender choose the formats of results. Those of database/sql are
// not pgx's: it wants text, but for a few types.

var errSimpleProtocol = fmt.Errorf("%w with default_query_exec_mode=simple_protocol", poolgate.ErrNoPipeline)

// CanPipeline returns nil, unless the connection uses the simple protocol.
func (c *Conn) CanPipeline() error {
	if c.connector.config.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return errSimpleProtocol
	}
	return nil
}

// described are the statements that SendPipeline has prepared on a connection.
type described struct {
	byQuery map[string]*pgconn.StatementDescription
	retired []string // names to close
}

// retire forgets all statements, which are closed with the next pipeline.
func (d *described) retire() {
	for query := range d.byQuery {
		d.forget(query)
	}
}

func (d *described) forget(query string) {
	if sd := d.byQuery[query]; sd != nil {
		delete(d.byQuery, query)
		if sd.Name != "" {
			d.retired = append(d.retired, sd.Name)
		}
	}
}

// SendPipeline sends all statements of p in one round trip, and one more for
// those that are new to the connection, see [poolgate.Pipeliner]. It prepares,
// describes or does neither, as the connection's default_query_exec_mode says.
// It encodes arguments and decodes results as pgx does for database/sql.
//
// A pipeline of more than a megabyte takes one round trip for each: the rest is
// encoded and sent when the results of what was sent are read, so no more than
// that is in memory. If the server's answers to one megabyte do not fit into the
// buffers on the way while it is being sent, pgx keeps them in memory.
func (c *Conn) SendPipeline(ctx context.Context, p poolgate.Pipeline) (poolgate.PipelineResults, error) {
	if err := c.CanPipeline(); err != nil {
		return nil, err
	}
	r := &pipelineResults{conn: c, ctx: ctx, call: c.begin(ctx), statements: p.Statements}
	if err := c.lead(ctx, &r.call, false); err != nil {
		return nil, c.result(ctx, r.call, err)
	}
	r.call.Harmless = p.Harmless
	r.pipeline = c.pg.StartPipeline(ctx)
	if err := r.prepare(); err != nil {
		return nil, r.fail(err)
	}
	if err := r.encode(); err != nil {
		return nil, r.fail(err)
	}
	if err := r.send(); err != nil {
		return nil, r.fail(err)
	}
	return r, nil
}

// window is how many bytes are sent until the answers to them are read, unless a
// single statement has more.
const window = 1 << 20

// pipelineResults are what a pipeline returns. One goroutine uses them.
type pipelineResults struct {
	conn       *Conn
	ctx        context.Context
	call       socket.Call
	pipeline   *pgconn.Pipeline
	statements []poolgate.PipelineStatement
	encoded    []pgx.ExtendedQueryBuilder // of the statements that are sent next
	sent       int                        // how many statements were sent
	synced     bool                       // and a Sync after the last
	next       int                        // the statement whose result is read next
	err        error                      // the first
	undo       bool                       // what was sent must not be committed
	closed     bool
}

// prepare has the server describe the statements that are new, and keeps them
// under a name where the mode is to cache statements. Each is followed by a
// Sync, so that one that is refused does no harm to the others.
func (r *pipelineResults) prepare() error {
	d := &r.conn.described
	mode := r.conn.connector.config.DefaultQueryExecMode
	if mode == pgx.QueryExecModeExec {
		return nil
	}
	if len(d.byQuery) > mostDescribed || mode == pgx.QueryExecModeDescribeExec {
		d.retire()
	}
	if d.byQuery == nil {
		d.byQuery = make(map[string]*pgconn.StatementDescription)
	}
	var fresh []int
	seen := make(map[string]bool)
	for i, s := range r.statements {
		if s.Control || d.byQuery[s.Query] != nil || seen[s.Query] {
			continue
		}
		seen[s.Query] = true
		fresh = append(fresh, i)
	}
	if len(fresh) == 0 {
		return nil
	}
	for _, name := range d.retired {
		r.pipeline.SendDeallocate(name)
	}
	retired := len(d.retired) > 0
	if retired {
		r.pipeline.SendPipelineSync() // which travels with what is sent next
	}
	d.retired = nil
	var refused error
	for len(fresh) > 0 {
		n := 1 // of them are a window
		for size := len(r.statements[fresh[0]].Query); n < len(fresh); n++ {
			if size += len(r.statements[fresh[n]].Query); size > window {
				break
			}
		}
		err := r.describe(fresh[:n], retired)
		retired = false
		if _, ok := errors.AsType[*poolgate.PipelineError](err); err != nil && !ok {
			return err
		}
		if refused == nil {
			refused = err
		}
		fresh = fresh[n:]
	}
	return refused
}

// describe prepares the statements of these indices, in one round trip. If
// something else was sent before them, it reads the answer to that too.
func (r *pipelineResults) describe(fresh []int, more bool) error {
	d := &r.conn.described
	names := make([]string, len(fresh))
	for n, i := range fresh {
		if r.conn.connector.config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
			names[n] = nameFor(r.statements[i].Query)
		}
		r.pipeline.SendPrepare(names[n], r.statements[i].Query, nil)
		r.pipeline.SendPipelineSync()
	}
	if err := r.pipeline.Flush(); err != nil {
		return err
	}
	if more {
		if err := r.skip(); err != nil {
			return err
		}
	}
	var refused error
	for n, i := range fresh {
		result, err := r.pipeline.GetResults()
		switch sd, ok := result.(*pgconn.StatementDescription); {
		case ok:
			sd.Name, sd.SQL = names[n], r.statements[i].Query
			d.byQuery[sd.SQL] = sd
		case err == nil:
			return fmt.Errorf("pgxgate: the pipeline returned %T for a statement to prepare", result)
		case !isServers(err):
			return err
		case refused == nil:
			refused = &poolgate.PipelineError{Index: i, Err: err}
		}
		if err := r.skip(); err != nil {
			return err
		}
	}
	return refused
}

// nameFor returns the name under which query is prepared. It follows from the text,
// so that a PgBouncer that mixes up the connections of the server cannot have it
// stand for another statement.
func nameFor(query string) string {
	sum := sha256.Sum256([]byte(query))
	return "poolgate_" + hex.EncodeToString(sum[:16])
}

// mostDescribed is how many statements a connection keeps until it forgets all of
// them. It is pgx's own limit.
const mostDescribed = 512

// skip reads up to the next Sync.
func (r *pipelineResults) skip() error {
	for {
		result, err := r.pipeline.GetResults()
		if err != nil && !isServers(err) {
			return err
		}
		if _, ok := result.(*pgconn.PipelineSync); ok {
			return nil
		}
		if result == nil && err == nil {
			return errors.New("pgxgate: the pipeline ended early")
		}
	}
}

func isServers(err error) bool {
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok
}

// encode encodes all arguments, so that nothing is sent if one cannot be
// encoded. It keeps what the first window has room for.
func (r *pipelineResults) encode() error {
	r.encoded = make([]pgx.ExtendedQueryBuilder, 0, len(r.statements))
	size := 0
	for i := range r.statements {
		b, err := r.build(i)
		if err != nil {
			return &poolgate.PipelineError{Index: i, Err: err}
		}
		if size += r.size(i, &b); size <= window {
			r.encoded = append(r.encoded, b)
		}
	}
	return nil
}

// build encodes the arguments of statement i.
func (r *pipelineResults) build(i int) (b pgx.ExtendedQueryBuilder, err error) {
	s := &r.statements[i]
	args := make([]any, len(s.Args))
	for n, arg := range s.Args {
		args[n] = arg.Value
	}
	err = b.Build(r.conn.inner.Conn().TypeMap(), r.conn.described.byQuery[s.Query], args)
	return b, err
}

// size returns about how many bytes are sent for statement i.
func (r *pipelineResults) size(i int, b *pgx.ExtendedQueryBuilder) int {
	n := 64
	if sd := r.conn.described.byQuery[r.statements[i].Query]; sd == nil || sd.Name == "" {
		n += len(r.statements[i].Query)
	}
	for _, v := range b.ParamValues {
		n += len(v)
	}
	return n
}

// send sends as many statements as a window has room for, and at least one.
func (r *pipelineResults) send() error {
	if r.sent > 0 && r.ctx.Err() != nil {
		r.undo = true
		return r.ctx.Err()
	}
	for size := 0; r.sent < len(r.statements); r.sent++ {
		if len(r.encoded) == 0 {
			b, err := r.build(r.sent)
			if err != nil { // it could be encoded before
				r.undo = true
				return err
			}
			r.encoded = append(r.encoded, b)
		}
		b := &r.encoded[0]
		n := r.size(r.sent, b)
		if size > 0 && size+n > window {
			r.pipeline.SendFlushRequest()
			return r.pipeline.Flush()
		}
		size += n
		s := &r.statements[r.sent]
		switch sd := r.conn.described.byQuery[s.Query]; {
		case sd == nil || s.Control:
			r.pipeline.SendQueryParams(s.Query, b.ParamValues, nil, b.ParamFormats, nil)
		case sd.Name == "":
			r.pipeline.SendQueryParams(s.Query, b.ParamValues, sd.ParamOIDs, b.ParamFormats, resultFormats(sd))
		default:
			r.pipeline.SendQueryStatement(sd, b.ParamValues, b.ParamFormats, resultFormats(sd))
		}
		*b = pgx.ExtendedQueryBuilder{} // for the garbage collector
		r.encoded = r.encoded[1:]
	}
	r.synced = true
	return r.pipeline.Sync()
}

// resultFormats returns binary for the types that database/sql has a type for,
// as pgx does for it, and text for all others.
func resultFormats(sd *pgconn.StatementDescription) []int16 {
	formats := make([]int16, len(sd.Fields))
	for i, f := range sd.Fields {
		switch f.DataTypeOID {
		case pgtype.BoolOID, pgtype.ByteaOID, pgtype.CIDOID, pgtype.DateOID, pgtype.Float4OID, pgtype.Float8OID,
			pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.XIDOID:
			formats[i] = pgtype.BinaryFormatCode
		}
	}
	return formats
}

// result returns the reader of the next statement's result.
func (r *pipelineResults) result() (*pgconn.ResultReader, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.closed || r.next == len(r.statements):
		return nil, errors.New("pgxgate: the pipeline has no more results")
	}
	if r.next == r.sent {
		if err := r.send(); err != nil {
			return nil, r.note(err)
		}
	}
	r.next++
	result, err := r.pipeline.GetResults()
	if err != nil {
		return nil, r.note(err)
	}
	reader, ok := result.(*pgconn.ResultReader)
	if !ok {
		return nil, r.note(fmt.Errorf("pgxgate: the pipeline returned %T for a result", result))
	}
	return reader, nil
}

// note keeps the first error, and forgets the statement that it may come from.
func (r *pipelineResults) note(err error) error {
	if err == nil || r.err != nil {
		return r.err
	}
	r.err = r.conn.explain(r.ctx, r.call, err)
	if r.next > 0 {
		r.conn.described.forget(r.statements[r.next-1].Query)
	}
	if said, ok := errors.AsType[*pgconn.PgError](err); ok && said.Code == "26000" {
		r.conn.described.retire() // the server has lost all of them, or another server never had them
	}
	return r.err
}

// Exec returns how many rows the next statement has affected.
func (r *pipelineResults) Exec() (driver.Result, error) {
	reader, err := r.result()
	if err != nil {
		return nil, err
	}
	tag, err := reader.Close()
	if err != nil {
		return nil, r.note(err)
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

// Query returns the rows of the next statement.
func (r *pipelineResults) Query() (driver.Rows, error) {
	reader, err := r.result()
	if err != nil {
		return nil, err
	}
	rows := &pipelineRows{results: r, reader: reader, fields: slices.Clone(reader.FieldDescriptions())}
	if rows.more = reader.NextRow(); !rows.more { // it may have failed, as one by database/sql does
		if _, err := reader.Close(); err != nil {
			return nil, r.note(err)
		}
	}
	rows.ahead = true
	return rows, nil
}

// Close reads what is left and gives the connection back.
func (r *pipelineResults) Close() error {
	if r.closed {
		return r.err
	}
	for r.err == nil && !r.synced {
		r.Exec()
	}
	r.closed = true
	var err error
	if !r.synced && !r.conn.pg.IsClosed() {
		if r.undo {
			r.pipeline.SendQueryParams(failing, nil, nil, nil, nil)
		}
		err = r.pipeline.Sync()
	}
	if closed := r.pipeline.Close(); err == nil {
		err = closed
	}
	r.conn.watcher.end()
	return r.note(err)
}

// failing is a statement that fails, so that those before it are undone.
const failing = "ROLLBACK TO SAVEPOINT poolgate_given_up"

// fail ends a pipeline of which nothing was executed.
func (r *pipelineResults) fail(err error) error {
	refused, ok := errors.AsType[*poolgate.PipelineError](err)
	if ok {
		err = refused.Err
	}
	r.closed = true
	r.pipeline.Close()
	err = r.conn.result(r.ctx, r.call, err)
	if ok && !r.conn.pg.IsClosed() {
		return &poolgate.PipelineError{Index: refused.Index, Err: err}
	}
	return err
}
