package pqgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/lib/pq"
)

// roles are the questions for what target_session_attrs asks for. lib/pq itself
// asks only when it connects.
var roles = map[pq.TargetSessionAttrs]string{
	pq.TargetSessionAttrsReadWrite: "select pg_catalog.current_setting('transaction_read_only') = 'off'",
	pq.TargetSessionAttrsReadOnly:  "select pg_catalog.current_setting('transaction_read_only') = 'on'",
	pq.TargetSessionAttrsPrimary:   "select not pg_catalog.pg_is_in_recovery()",
	pq.TargetSessionAttrsStandby:   "select pg_catalog.pg_is_in_recovery()",
}

var errRole = errors.New("pqgate: the server is not what target_session_attrs asks for")

// ask asks whether the server has the role that the DSN wants.
func (c *Conn) ask() error {
	now := time.Now()
	rows, err := c.inner.QueryContext(context.Background(), roles[c.connector.config.TargetSessionAttrs], nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	answer := make([]driver.Value, 1)
	if err := rows.Next(answer); err != nil {
		return err
	}
	if answer[0] != true {
		return errRole
	}
	c.asked = now
	return nil
}
