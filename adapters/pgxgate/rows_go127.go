//go:build go1.27

package pgxgate

// NextRow is Next for database/sql as of Go 1.27, which then scans the columns
// one by one.
func (r *rows) NextRow() error {
	return r.conn.explain(r.ctx, r.call, r.Rows.NextRow())
}
