package poolgatetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// templateLife is how long a template is kept. It is made again when it is
// needed, so a short life costs little, and migrations that change leave no
// long trail.
const templateLife = 7 * 24 * time.Hour

// swept has the DSNs of the servers that this process has swept.
var swept sync.Map

// sweepOnce drops what test binaries have left on the server, the first time
// that this process is there.
func (a *admin) sweepOnce(ctx context.Context) error {
	if _, done := swept.LoadOrStore(a.config.DSN, true); done {
		return nil
	}
	return a.sweep(ctx, time.Now())
}

// idle lists the databases of this role that are made by this package, whose
// advisory lock nobody holds, and to which nobody is connected. pg_locks shows
// the key of a lock in two halves, and the locks of all databases.
const idle = `
	SELECT d.datname, coalesce(shobj_description(d.oid, 'pg_database'), '')
	FROM pg_database d
	WHERE d.datname ~ '^poolgatetest_(test|new|template)_[0-9a-f]{16}$'
	AND pg_get_userbyid(d.datdba) = current_user
	AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)
	AND NOT EXISTS (
		SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
		AND lpad(to_hex(l.classid::bigint), 8, '0') || lpad(to_hex(l.objid::bigint), 8, '0') = right(d.datname, 16))
	ORDER BY d.datname`

// sweep drops the databases of test binaries that were killed, and templates
// that are old.
func (a *admin) sweep(ctx context.Context, now time.Time) error {
	rows, err := a.conn.QueryContext(ctx, idle)
	if err != nil {
		return err
	}
	defer rows.Close()
	var stale []string
	for rows.Next() {
		var name, comment string
		if err := rows.Scan(&name, &comment); err != nil {
			return err
		}
		if isStale(name, comment, now) {
			stale = append(stale, name)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	var errs []error
	for _, name := range stale {
		errs = append(errs, a.dropIdle(ctx, name))
	}
	return errors.Join(errs...)
}

// isStale reports whether a database that nobody uses is to be dropped.
func isStale(name, comment string, now time.Time) bool {
	if strings.HasPrefix(comment, keptComment) {
		return false
	}
	if !strings.HasPrefix(name, templatePrefix) {
		return true
	}
	made, err := time.Parse(time.RFC3339, strings.TrimPrefix(comment, madeComment))
	return err != nil || now.Sub(made) > templateLife
}

// dropIdle drops a database unless somebody has taken its lock in the meantime,
// to use it or to drop it.
func (a *admin) dropIdle(ctx context.Context, name string) error {
	id := name[len(name)-idLength:]
	var locked bool
	if err := a.conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", key(id)).Scan(&locked); err != nil || !locked {
		return err
	}
	defer a.unlock(id)
	return a.exec(ctx, "DROP DATABASE IF EXISTS "+name)
}
