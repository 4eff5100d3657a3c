//go:build go1.27

package pgxgate

import "database/sql/driver"

// NextRow is Next for database/sql as of Go 1.27, which then scans the columns
// one by one.
func (r *rows) NextRow() error {
	return r.conn.explain(r.ctx, r.call, r.Rows.NextRow())
}

// ScanColumn scans a column of the row as pgx does.
func (r *rows) ScanColumn(ctx driver.ScanContext, i int, dest any) error {
	return r.conn.decoded(r.Rows.ScanColumn(ctx, i, dest))
}
