package pqgate

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/poolgate/poolgate/adapters/internal/socket"
)

// pqRows is what lib/pq's rows can do.
type pqRows interface {
	driver.Rows
	driver.RowsNextResultSet
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
	Result() driver.Result
	Tag() string
}

// rows are lib/pq's, but for their errors.
type rows struct {
	pqRows
	conn *Conn
	ctx  context.Context
	call socket.Call
}

// rows returns what a query returns, where lib/pq has returned inner and err.
func (c *Conn) rows(ctx context.Context, call socket.Call, inner driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, c.result(ctx, call, err)
	}
	all, ok := inner.(pqRows)
	if !ok {
		inner.Close()
		return nil, fmt.Errorf("pqgate: this version of lib/pq is not supported: %T lacks a method", inner)
	}
	return &rows{all, c, ctx, call}, nil
}

func (r *rows) Next(dest []driver.Value) error {
	return r.conn.result(r.ctx, r.call, r.pqRows.Next(dest))
}

func (r *rows) Close() error {
	return r.conn.result(r.ctx, r.call, r.pqRows.Close())
}
