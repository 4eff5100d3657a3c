package socket

import (
	"sync/atomic"
	"time"
)

// A Role knows which connections of a pool may lead to a server that is no
// longer what target_session_attrs asks for, as when a primary has become read
// only and a standby was promoted. Such a connection is in doubt: its server is
// asked again before the connection is used again. A Role is safe for concurrent
// use.
type Role struct {
	// Wanted says that target_session_attrs asks for something. Otherwise no
	// connection is ever in doubt. It must not be changed once the Role is used.
	Wanted bool

	doubted atomic.Int64 // in nanoseconds since the epoch; those asked until then are in doubt
	server  atomic.Pointer[string]
}

// Said notes the SQLSTATE of an error. If that can come of a server that is read
// only, all connections are in doubt: most of them lead to the same server.
func (r *Role) Said(state string) {
	switch state {
	case "25006", // read_only_sql_transaction
		"55000", // object_not_in_prerequisite_state: recovery is in progress
		"0A000": // feature_not_supported: READ WRITE and SERIALIZABLE, during recovery
		r.doubt(time.Now())
	}
}

// Opened notes the server of a new connection, which was asked at the given
// time. If it is another than that of the connection before, all that were opened
// earlier are in doubt. It is for roles that one server has at a time.
func (r *Role) Opened(c *Conn, asked time.Time) {
	if last := r.server.Swap(&c.address); last != nil && *last != c.address {
		r.doubt(asked.Add(-1))
	}
}

func (r *Role) doubt(t time.Time) {
	if r.Wanted {
		raise(&r.doubted, t.UnixNano())
	}
}

// IsDoubted reports whether a connection is in doubt whose server was asked last
// at the given time.
func (r *Role) IsDoubted(asked time.Time) bool { return asked.UnixNano() <= r.doubted.Load() }
