package dsn

import (
	"strings"
	"sync/atomic"
)

// ClientCheckSetting is the server's setting for how often it looks, while it
// executes a statement, whether the client is still there. PostgreSQL has it as
// of version 14. Some poolers refuse it, and so do servers on systems that
// cannot look.
const ClientCheckSetting = "client_connection_check_interval"

// A ClientCheck knows whether to ask for ClientCheckSetting. It is safe for
// concurrent use.
type ClientCheck struct {
	off atomic.Bool
}

// Off has it not asked for, since the DSN decides.
func (c *ClientCheck) Off() { c.off.Store(true) }

// Wanted reports whether to ask for it.
func (c *ClientCheck) Wanted() bool { return !c.off.Load() }

// Refused reports whether err, of an attempt to connect that asked for it, is
// because of that. Then it is not asked for again.
func (c *ClientCheck) Refused(err error) bool {
	if err == nil || !strings.Contains(err.Error(), ClientCheckSetting) {
		return false
	}
	c.off.Store(true)
	return true
}
