package pgxgate

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

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
		if f.Format == pgtype.BinaryFormatCode { // also where the type is another than when it was described
			if t, ok := types.TypeForOID(f.DataTypeOID); ok {
				all[i] = t.Codec
			}
			continue
		}
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
