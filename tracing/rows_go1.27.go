//go:build go1.27

package tracing

import "database/sql/driver"

// scannerRows are plainRows of a driver that scans columns itself.
type scannerRows struct {
	plainRows
	driver.RowsColumnScanner
}

func newPlainRows(rows driver.Rows) driver.Rows {
	if scanner, ok := rows.(driver.RowsColumnScanner); ok {
		return scannerRows{plainRows{rows}, scanner}
	}
	return plainRows{rows}
}

// Close, Columns and Next are methods of both.

func (r scannerRows) Close() error                   { return r.Rows.Close() }
func (r scannerRows) Columns() []string              { return r.Rows.Columns() }
func (r scannerRows) Next(dest []driver.Value) error { return r.Rows.Next(dest) }
