package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"

	"github.com/poolgate/poolgate/internal/sqlstate"
)

// DefaultSchema is the schema of the tables of [NewPostgreSQL].
const DefaultSchema = "poolgate_fleet"

// version is that of the tables and the function. Members of different versions
// do not see one another, so it changes only with the meaning of a row.
const version = "1"

// A PostgreSQL is a Store in a PostgreSQL database, usually the one whose
// connections are the budget.
type PostgreSQL struct {
	db     *sql.DB
	fleet  string
	schema string
}

// ErrSetup is the error of [NewPostgreSQL] where the tables do not exist and
// cannot be created. Its text has the statements that somebody who may create a
// schema has to execute.
var ErrSetup = errors.New("fleet: the store's schema is missing")

// NewPostgreSQL returns the store of the fleet of that name in a schema, which is
// DefaultSchema if it is empty. If the schema has not what the store needs, it
// creates that: a table with a row for each fleet, one with a row for each member,
// and a function. That takes the right to create a schema in the database, or an
// owner's in an empty schema; afterwards USAGE on the schema and EXECUTE on the
// function are enough, since the function has its owner's rights.
//
// The store uses one connection of db at a time, without prepared statements or
// settings of the session, so db may go through PgBouncer in transaction mode. It
// does not close db.
//
// A Write takes an advisory lock of a transaction, whose key is made of the
// schema's and the fleet's name.
func NewPostgreSQL(ctx context.Context, db *sql.DB, fleet, schema string) (*PostgreSQL, error) {
	if schema == "" {
		schema = DefaultSchema
	}
	if !identifier.MatchString(schema) {
		return nil, fmt.Errorf("fleet: the schema must consist of lower-case letters, digits and underscores, got %q", schema)
	}
	if fleet == "" {
		return nil, errors.New("fleet: the name of the fleet must not be empty")
	}
	s := &PostgreSQL{db, fleet, schema}
	if _, err := s.Read(ctx); err == nil {
		return s, nil
	} else if state := sqlstate.Of(err); state != "3F000" && state != "42P01" && state != "42883" {
		return nil, fmt.Errorf("fleet: reading the store: %w", err)
	}
	if err := s.create(ctx); err != nil {
		return nil, fmt.Errorf("%w, and creating it failed: have it created by\n%s\n%w", ErrSetup, Setup(schema), err)
	}
	if _, err := s.Read(ctx); err != nil {
		return nil, fmt.Errorf("fleet: reading the store that was created: %w", err)
	}
	return s, nil
}

var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,40}$`)

// create is done by one member at a time.
func (s *PostgreSQL) create(ctx context.Context) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('"+s.schema+"', 4711))"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, Setup(s.schema)); err != nil {
		return err
	}
	return tx.Commit()
}

// Setup returns the statements that create what [NewPostgreSQL] needs. They may
// be executed again.
//
// The tables are logged: PostgreSQL empties an unlogged table when any backend
// crashes. The function is volatile, so that each of its statements sees what was
// committed before it, and not only what was committed before the call. It has the
// server write a heartbeat to disk before it answers, also where synchronous_commit is
// off: a crash would take back what a member was granted, and give it to another.
func Setup(schema string) string {
	return fmt.Sprintf(setup, schema, version)
}

const setup = `CREATE SCHEMA IF NOT EXISTS %[1]s;
CREATE TABLE IF NOT EXISTS %[1]s.fleet_v%[2]s (
	fleet       text PRIMARY KEY,
	tick        double precision NOT NULL,
	last        timestamptz NOT NULL,
	learn_until double precision NOT NULL,
	timeline    text NOT NULL
);
CREATE TABLE IF NOT EXISTS %[1]s.member_v%[2]s (
	fleet   text NOT NULL,
	key     uuid NOT NULL,
	seq     bigint NOT NULL,
	token   bigint NOT NULL,
	demand  double precision NOT NULL,
	granted integer NOT NULL,
	minimum integer NOT NULL,
	weight  double precision NOT NULL,
	budget  integer NOT NULL,
	expiry  double precision NOT NULL,
	PRIMARY KEY (fleet, key)
) WITH (fillfactor = 50);
CREATE OR REPLACE FUNCTION %[1]s.view_v%[2]s(f text)
RETURNS TABLE (tick double precision, key text, seq bigint, demand double precision, granted integer,
	minimum integer, weight double precision, budget integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = %[1]s, pg_temp AS $$
	SELECT coalesce(f.tick, 0), m.key::text, m.seq, m.demand, m.granted, m.minimum, m.weight, m.budget
	FROM (SELECT (SELECT tick FROM fleet_v%[2]s WHERE fleet = $1) AS tick) f
	LEFT JOIN member_v%[2]s m ON m.fleet = $1 AND m.expiry >= coalesce(f.tick, 0)
$$;
CREATE OR REPLACE FUNCTION %[1]s.leave_v%[2]s(f text, k text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = %[1]s, pg_temp AS $$
	DELETE FROM member_v%[2]s WHERE fleet = $1 AND key = $2::uuid
$$;
CREATE OR REPLACE FUNCTION %[1]s.heartbeat_v%[2]s(f text, k text, s bigint, t bigint, known text, l integer,
	used integer, target integer, wanted double precision, minimum integer, w double precision, b integer,
	seconds double precision, OUT status integer, OUT lim integer, OUT granted integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = %[1]s, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
	now_is   timestamptz;
	here     text := left(pg_walfile_name(pg_current_wal_lsn()), 8);
	clock    fleet_v%[2]s;
	me       member_v%[2]s;
	others   bigint;
	lowest   integer;
BEGIN
	IF current_setting('synchronous_commit') = 'off' THEN
		PERFORM set_config('synchronous_commit', 'local', true);
	END IF;
	PERFORM pg_advisory_xact_lock(hashtextextended('%[1]s.' || f, 4712));
	now_is := clock_timestamp();
	SELECT * INTO clock FROM fleet_v%[2]s WHERE fleet = f;
	IF NOT FOUND THEN
		clock := ROW(f, 0, now_is, 30, here);
		INSERT INTO fleet_v%[2]s SELECT clock.*;
	ELSE
		clock.tick := clock.tick + least(greatest(extract(epoch FROM now_is - clock.last), 0), 1.5);
		IF clock.timeline <> here THEN
			clock.learn_until := clock.tick + 30;
		END IF;
		UPDATE fleet_v%[2]s SET tick = clock.tick, last = now_is, learn_until = clock.learn_until, timeline = here
		WHERE fleet = f;
	END IF;
	DELETE FROM member_v%[2]s m WHERE m.fleet = f AND m.expiry < clock.tick;
	SELECT * INTO me FROM member_v%[2]s m WHERE m.fleet = f AND m.key = k::uuid;
	IF FOUND AND NOT me.token::text = ANY (string_to_array(known, ',')) THEN
		status := 1; lim := 0; granted := 0; RETURN;
	ELSIF me.seq >= s THEN
		status := 2; lim := 0; granted := 0; RETURN;
	END IF;
	SELECT coalesce(sum(m.granted), 0), least(b, min(m.budget)) INTO others, lowest
	FROM member_v%[2]s m WHERE m.fleet = f AND m.key <> k::uuid;
	IF clock.tick < clock.learn_until THEN
		lim := l;
	ELSE
		lim := greatest(CASE WHEN me.key IS NULL THEN 0 ELSE l END, least(target, lowest - others), 0);
	END IF;
	status := 0; granted := greatest(lim, used);
	INSERT INTO member_v%[2]s VALUES (f, k::uuid, s, t, wanted, granted, minimum, w, b, clock.tick + seconds)
	ON CONFLICT (fleet, key) DO UPDATE SET seq = s, token = t, demand = wanted, granted = excluded.granted,
		minimum = excluded.minimum, weight = w, budget = b, expiry = excluded.expiry;
END
$$;`

// Read returns the fleet as it is now.
func (s *PostgreSQL) Read(ctx context.Context) (View, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT tick, key, seq, demand, granted, minimum, weight, budget FROM "+
		s.schema+".view_v"+version+"("+literal(s.fleet)+")")
	if err != nil {
		return View{}, err
	}
	defer rows.Close()
	var v View
	for rows.Next() {
		var (
			key                     sql.Null[string]
			seq, grant, min, budget sql.Null[int64]
			demand, weight          sql.Null[float64]
		)
		if err := rows.Scan(&v.Tick, &key, &seq, &demand, &grant, &min, &weight, &budget); err != nil {
			return View{}, err
		}
		if !key.Valid { // there is no member
			continue
		}
		m := Member{key.V, seq.V, demand.V, int(grant.V), int(min.V), weight.V, int(budget.V)}
		v.Members = append(v.Members, m)
		if v.Budget == 0 || m.Budget < v.Budget {
			v.Budget = m.Budget
		}
	}
	return v, rows.Err()
}

// Write does a heartbeat, in one round trip where the driver prepares nothing by
// itself, as that of DB.Ungated.
func (s *PostgreSQL) Write(ctx context.Context, h Heartbeat) (Reply, error) {
	var r Reply
	err := s.db.QueryRowContext(ctx, fmt.Sprintf("SELECT status, lim, granted FROM %s.heartbeat_v%s(%s, %s, %d, %d, '%s', %d, %d, %d, %g, %d, %g, %d, %g)",
		s.schema, version, literal(s.fleet), literal(h.Key), h.Seq, h.Token, tokens(h.Tokens), h.Limit, h.InUse, h.Target,
		h.Demand, h.Min, h.Weight, h.Budget, h.Seconds)).Scan(&r.Status, &r.Limit, &r.Grant)
	return r, err
}

// Leave deletes the row of a member.
func (s *PostgreSQL) Leave(ctx context.Context, key string) error {
	_, err := s.db.ExecContext(ctx, "SELECT "+s.schema+".leave_v"+version+"("+literal(s.fleet)+", "+literal(key)+")")
	return err
}

// literal quotes a text. The statements have no parameters, so that they take one
// round trip and no prepared statement with any driver.
func literal(s string) string {
	return "U&'" + quoter.ReplaceAllString(s, `$0$0`) + "'"
}

var quoter = regexp.MustCompile(`['\\]`)

func tokens(all []int64) string {
	text := ""
	for i, t := range all {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprint(t)
	}
	return text
}
