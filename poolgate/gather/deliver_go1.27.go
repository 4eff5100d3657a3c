//go:build go1.27

package gather

import (
	"database/sql/driver"
	"io"
)

// delivered returns rows as database/sql gets them.
func delivered(rows *turnRows) driver.Rows {
	if scanner, ok := rows.Rows.(driver.RowsColumnScanner); ok {
		return scannerRows{rows, scanner}
	}
	return rows
}

// scannerRows are turnRows of a driver that scans columns itself.
type scannerRows struct {
	*turnRows
	scanner driver.RowsColumnScanner
}

func (r scannerRows) NextRow() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return io.EOF
	case r.ctx.Err() != nil:
		return r.ctx.Err()
	}
	return r.scanner.NextRow()
}

func (r scannerRows) ScanColumn(ctx driver.ScanContext, i int, dest any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return io.ErrUnexpectedEOF
	}
	return r.scanner.ScanColumn(ctx, i, dest)
}
