package poolgate

import "errors"

// ErrOutcomeUnknown is the error of a statement, or of a COMMIT, whose
// connection was lost after at least a part of it had been sent: the server may
// have executed it or not. It is not sent again, neither by poolgate nor by
// database/sql. The caller can look whether it took effect, or repeat it if it
// may take effect twice.
//
// The connections of adapters/pgxgate and adapters/pqgate return it, around the
// error that the connection died of. If the context had ended, the error
// matches the context's error too. Of a statement in a transaction that was not
// committed, the outcome is known all the same: the server undoes it.
//
// Where an adapter returns driver.ErrBadConn instead, nothing was sent since
// the connection was taken from the pool, and database/sql tries another.
var ErrOutcomeUnknown = errors.New("poolgate: the connection was lost after the statement was sent, so its outcome is unknown")
