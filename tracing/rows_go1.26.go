//go:build !go1.27

package tracing

import "database/sql/driver"

func newPlainRows(rows driver.Rows) driver.Rows { return plainRows{rows} }
