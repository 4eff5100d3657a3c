//go:build go1.27

package rows

import (
	"database/sql"
	"database/sql/driver"
	"reflect"
	"uuid"
)

// isUUID reports whether typ is an array that database/sql knows.
func isUUID(typ reflect.Type) bool { return typ == reflect.TypeFor[uuid.UUID]() }

// assignUUID sets dest as sql.Rows.Scan does, if it is a uuid.UUID.
func assignUUID(dest reflect.Value, src any) (ok bool, err error) {
	id, ok := dest.Addr().Interface().(*uuid.UUID)
	if !ok || src == nil {
		return false, nil
	}
	return true, sql.ConvertAssign(driver.ScanContext{}, id, src)
}
