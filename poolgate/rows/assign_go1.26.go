//go:build !go1.27

package rows

import "reflect"

// There is no uuid.UUID before Go 1.27.

func isUUID(reflect.Type) bool { return false }

func assignUUID(reflect.Value, any) (ok bool, err error) { return false, nil }
