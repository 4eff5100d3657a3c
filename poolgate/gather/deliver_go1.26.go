//go:build !go1.27

package gather

import "database/sql/driver"

// delivered returns rows as database/sql gets them.
func delivered(rows *turnRows) driver.Rows { return rows }
