package pgxgate

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

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
	named   int      // how many names were given
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
// The server's answers are read while statements are still being sent, if both
// are too much for the buffers on the way: pgx keeps them in memory then.
func (c *Conn) SendPipeline(ctx context.Context, p poolgate.Pipeline) (poolgate.PipelineResults, error) {
	if err := c.CanPipeline(); err != nil {
		return nil, err
	}
	r := &pipelineResults{conn: c, ctx: ctx, call: c.begin(), statements: p.Statements}
	r.call.Harmless = p.Harmless
	r.pipeline = c.pg.StartPipeline(ctx)
	if err := r.prepare(); err != nil {
		return nil, r.fail(err)
	}
	if err := r.send(); err != nil {
		return nil, r.fail(err)
	}
	return r, nil
}

// pipelineResults are what a pipeline returns. One goroutine uses them.
type pipelineResults struct {
	conn       *Conn
	ctx        context.Context
	call       socket.Call
	pipeline   *pgconn.Pipeline
	statements []poolgate.PipelineStatement
	next       int
	err        error // the first
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
	retired := d.retired
	d.retired = nil
	for _, name := range retired {
		r.pipeline.SendDeallocate(name)
	}
	if len(retired) > 0 {
		r.pipeline.SendPipelineSync()
	}
	names := make([]string, len(fresh))
	for n, i := range fresh {
		if mode == pgx.QueryExecModeCacheStatement {
			d.named++
			names[n] = "poolgate_pipeline_" + strconv.Itoa(d.named)
		}
		r.pipeline.SendPrepare(names[n], r.statements[i].Query, nil)
		r.pipeline.SendPipelineSync()
	}
	if err := r.pipeline.Flush(); err != nil {
		return err
	}
	if len(retired) > 0 {
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

// send sends the statements. It encodes all arguments before, so that nothing
// was sent if one cannot be encoded.
func (r *pipelineResults) send() error {
	types := r.conn.inner.Conn().TypeMap()
	builders := make([]pgx.ExtendedQueryBuilder, len(r.statements))
	for i, s := range r.statements {
		args := make([]any, len(s.Args))
		for n, arg := range s.Args {
			args[n] = arg.Value
		}
		if err := builders[i].Build(types, r.conn.described.byQuery[s.Query], args); err != nil {
			return &poolgate.PipelineError{Index: i, Err: err}
		}
	}
	for i, s := range r.statements {
		b := &builders[i]
		switch sd := r.conn.described.byQuery[s.Query]; {
		case sd == nil || s.Control:
			r.pipeline.SendQueryParams(s.Query, b.ParamValues, nil, b.ParamFormats, nil)
		case sd.Name == "":
			r.pipeline.SendQueryParams(s.Query, b.ParamValues, sd.ParamOIDs, b.ParamFormats, resultFormats(sd))
		default:
			r.pipeline.SendQueryStatement(sd, b.ParamValues, b.ParamFormats, resultFormats(sd))
		}
	}
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
		r.conn.described = described{named: r.conn.described.named} // the server has lost all of them
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
	r.closed = true
	err := r.pipeline.Close()
	r.conn.watcher.end()
	return r.note(err)
}

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

// pipelineRows are the rows of a statement in a pipeline, with the values that
// pgx has for database/sql.
type pipelineRows struct {
	results *pipelineResults
	reader  *pgconn.ResultReader
	fields  []pgconn.FieldDescription
	codecs  []pgtype.Codec
	ahead   bool // NextRow was called already, and returned more
	more    bool
	closed  bool
	err     error // of the server or the connection, once they are closed
}

func (r *pipelineRows) Columns() []string {
	names := make([]string, len(r.fields))
	for i, f := range r.fields {
		names[i] = f.Name
	}
	return names
}

// ColumnTypeDatabaseTypeName returns the name of the column's type, or its OID if
// pgx does not know it.
func (r *pipelineRows) ColumnTypeDatabaseTypeName(i int) string {
	oid := r.fields[i].DataTypeOID
	if t, ok := r.results.conn.inner.Conn().TypeMap().TypeForOID(oid); ok {
		return strings.ToUpper(t.Name)
	}
	return strconv.FormatUint(uint64(oid), 10)
}

func (r *pipelineRows) Next(dest []driver.Value) error {
	if err := r.advance(); err != nil {
		return err
	}
	for i := range r.fields {
		var err error
		if dest[i], err = r.value(i); err != nil {
			return fmt.Errorf("convert field %d failed: %w", i, err)
		}
	}
	return nil
}

// advance goes to the next row, or returns io.EOF.
func (r *pipelineRows) advance() error {
	if r.closed {
		return cmp.Or(r.err, io.EOF)
	}
	if !r.ahead {
		r.more = r.reader.NextRow()
	}
	r.ahead = false
	if !r.more {
		return cmp.Or(r.Close(), io.EOF)
	}
	return nil
}

// value returns what database/sql gets for a column of the row.
func (r *pipelineRows) value(i int) (driver.Value, error) {
	types := r.results.conn.inner.Conn().TypeMap()
	if r.codecs == nil {
		r.codecs = codecs(types, r.fields)
	}
	switch src := r.reader.Values()[i]; {
	case src == nil:
		return nil, nil
	case r.codecs[i] == nil:
		return string(src), nil
	default:
		return r.codecs[i].DecodeDatabaseSQLValue(types, r.fields[i].DataTypeOID, r.fields[i].Format, src)
	}
}

// codecs returns what decodes each column: nil where the text of the value is
// what database/sql gets.
func codecs(types *pgtype.Map, fields []pgconn.FieldDescription) []pgtype.Codec {
	all := make([]pgtype.Codec, len(fields))
	for i, f := range fields {
		switch f.DataTypeOID {
		case pgtype.BoolOID, pgtype.ByteaOID, pgtype.CIDOID, pgtype.DateOID, pgtype.Float4OID, pgtype.Float8OID,
			pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.XIDOID,
			pgtype.JSONOID, pgtype.JSONBOID, pgtype.XMLOID:
			if t, ok := types.TypeForOID(f.DataTypeOID); ok {
				all[i] = t.Codec
			}
		}
	}
	return all
}

// Close reads the rows that are left. It returns the error of the statement, if
// there was one, however often it is called.
func (r *pipelineRows) Close() error {
	if r.closed {
		return r.err
	}
	r.closed = true
	if _, err := r.reader.Close(); err != nil {
		r.err = r.results.note(err)
	}
	return r.err
}
