//go:build !go1.27

package rows

import "reflect"

// assignUUID does nothing: there is no uuid.UUID before Go 1.27.
func assignUUID(reflect.Value, any) (ok bool, err error) { return false, nil }
