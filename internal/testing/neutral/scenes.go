package neutral

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A scene is played on a bare pool and on gated ones. What is said must be the
// same.
type scene struct {
	name string
	play func(s *script)
}

var scenes = []scene{
	{"values", (*script).values},
	{"arguments", (*script).arguments},
	{"errors", (*script).errors},
	{"results", (*script).results},
	{"statements", (*script).statements},
	{"transactions", (*script).transactions},
	{"isolation", (*script).isolation},
	{"contexts", (*script).contexts},
	{"connections", (*script).connections},
	{"closing", (*script).closing},
}

// A script is a scene on one pool.
type script struct {
	t    *testing.T
	d    Database
	db   *sql.DB
	ctx  context.Context
	said []string
}

func (s *script) say(format string, args ...any) {
	s.said = append(s.said, accidents.ReplaceAllString(fmt.Sprintf(format, args...), "…"))
}

// accidents match what differs from run to run: addresses, and the names of empty
// databases and schemas.
var accidents = regexp.MustCompile(`0x[0-9a-f]{6,}|\b(test|empty)_[0-9]+`)

// compare plays the scene on every kind of pool.
func (d Database) compare(t *testing.T, scene scene) {
	play := func(t *testing.T, db *sql.DB) []string {
		s := &script{t: t, d: d, db: db, ctx: t.Context()}
		scene.play(s)
		return s.said
	}
	bare := sql.OpenDB(d.Open(t))
	defer bare.Close()
	if d.Single {
		bare.SetMaxOpenConns(1)
	}
	want := play(t, bare)
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			got := play(t, d.open(t, w, gate.Config{Limit: 4}).DB)
			for i := range max(len(got), len(want)) {
				line := func(said []string) string {
					if i < len(said) {
						return said[i]
					}
					return "(nothing)"
				}
				if line(got) != line(want) {
					t.Errorf("line %d:\ngated: %s\n bare: %s", i, line(got), line(want))
				}
			}
		})
	}
}

// fault describes an error, with the types of its chain.
func fault(err error) string {
	if err == nil {
		return "no error"
	}
	var types []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		types = append(types, fmt.Sprintf("%T", e))
	}
	return fmt.Sprintf("%s: %v", strings.Join(types, " around "), err)
}

// exec executes a statement and says what came of it.
func (s *script) exec(query string, args ...any) {
	res, err := s.db.ExecContext(s.ctx, s.d.sql(query), args...)
	s.result(query, res, err)
}

func (s *script) result(query string, res sql.Result, err error) {
	if err != nil {
		s.say("%s: %s", query, fault(err))
		return
	}
	id, idErr := res.LastInsertId()
	n, nErr := res.RowsAffected()
	s.say("%s: id %d (%s), %d rows (%s)", query, id, fault(idErr), n, fault(nErr))
}

// must executes a statement that has to succeed.
func (s *script) must(query string) {
	if _, err := s.db.ExecContext(s.ctx, query); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
}

// query says all that a query returns.
func (s *script) query(query string, args ...any) {
	rows, err := s.db.QueryContext(s.ctx, s.d.sql(query), args...)
	s.rows(query, rows, err)
}

func (s *script) rows(query string, rows *sql.Rows, err error) {
	if err != nil {
		s.say("%s: %s", query, fault(err))
		return
	}
	defer rows.Close()
	for set := 0; ; set++ {
		types, err := rows.ColumnTypes()
		s.say("%s: result %d: %d columns, %s", query, set, len(types), fault(err))
		dest := make([]any, len(types))
		for i, c := range types {
			length, hasLength := c.Length()
			precision, scale, hasScale := c.DecimalSize()
			nullable, knows := c.Nullable()
			s.say("%s: %s: %s, %v, length %d %v, size %d %d %v, nullable %v %v", query, c.Name(), c.DatabaseTypeName(), c.ScanType(),
				length, hasLength, precision, scale, hasScale, nullable, knows)
			dest[i] = new(any)
		}
		for rows.Next() {
			if err := rows.Scan(dest...); err != nil {
				s.say("%s: scan: %s", query, fault(err))
				break
			}
			for i, d := range dest {
				s.say("%s: column %d: %#v", query, i, *d.(*any))
			}
		}
		s.say("%s: end: %s", query, fault(rows.Err()))
		if !rows.NextResultSet() {
			break
		}
	}
	s.say("%s: %s, %s", query, fault(rows.Err()), fault(rows.Close()))
}

func (s *script) createValues() {
	s.must(fmt.Sprintf("CREATE TABLE v (id %s, i BIGINT, d %s, s VARCHAR(200), b %s, t %s, f %s)",
		s.d.Key, s.d.Double, s.d.Bytes, s.d.Time, s.d.Bool))
}

func (s *script) values() {
	s.createValues()
	const insert = "INSERT INTO v (i, d, s, b, t, f) VALUES (?, ?, ?, ?, ?, ?)"
	moment := time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC)
	for _, row := range [][]any{
		{1, 1.5, "text", []byte{0, 1, 255}, moment, true},
		{nil, nil, nil, nil, nil, nil},
		{math.MaxInt64, math.MaxFloat64, "Žluťoučký 馬 🐘", []byte{}, moment.Add(time.Hour), false},
		{math.MinInt64, -0.1, "", []byte("x"), moment, new(true)},
		{sql.NullInt64{Int64: 7, Valid: true}, sql.NullFloat64{}, new("pointer"), sql.RawBytes("raw"), sql.NullTime{}, sql.NullBool{}},
	} {
		s.exec(insert, row...)
	}
	s.query("SELECT * FROM v ORDER BY id")
	s.query("SELECT s, i FROM v WHERE i = ?", 1)
	s.query("SELECT i FROM v WHERE i > ? AND s = ?", 0, "none")
	for id := 1; id <= 2; id++ {
		var (
			i    sql.NullInt64
			f    sql.NullFloat64
			text sql.NullString
			b    []byte
			at   sql.NullTime
			flag sql.NullBool
		)
		err := s.db.QueryRowContext(s.ctx, s.d.sql("SELECT i, d, s, b, t, f FROM v WHERE id = ?"), id).Scan(&i, &f, &text, &b, &at, &flag)
		s.say("typed %d: %v %v %v %v %v %v %s", id, i, f, text, b, at, flag, fault(err))
	}
	s.exec("UPDATE v SET i = ? WHERE id <= 3", 5)
	s.exec("DELETE FROM v WHERE id = ?", 2)
}

// A valuer is a value of a type of its own.
type valuer struct{ err error }

func (v valuer) Value() (driver.Value, error) { return "valued", v.err }

type weekday int

func (s *script) arguments() {
	s.must("CREATE TABLE a (n BIGINT, s VARCHAR(200))")
	for i, arg := range []any{
		1, int8(-1), uint8(2), uint64(math.MaxUint64), float32(0.5), math.Inf(1), math.NaN(), true, "text", []byte("bytes"), nil,
		(*string)(nil), new("pointer"), time.Date(2024, 2, 29, 1, 2, 3, 0, time.UTC), weekday(3), valuer{}, valuer{errors.New("no value")}, (*valuer)(nil),
		struct{}{}, []int{1}, map[string]int{}, sql.Named("x", 1), sql.Out{Dest: new(int)}, func() {},
	} {
		if _, ok := arg.(func()); ok {
			s.exec("INSERT INTO a VALUES (1, ?)", arg)
			continue // its address would be said
		}
		for _, query := range []string{"INSERT INTO a VALUES (?, 'x')", "INSERT INTO a VALUES (1, ?)"} {
			s.say("argument %d", i)
			s.exec(query, arg)
			stmt, err := s.db.PrepareContext(s.ctx, s.d.sql(query))
			if err != nil {
				s.say("prepare: %s", fault(err))
				continue
			}
			res, err := stmt.ExecContext(s.ctx, arg)
			s.result("prepared "+query, res, err)
			stmt.Close()
		}
	}
	s.query("SELECT n, s FROM a")
	for _, args := range [][]any{{}, {1}, {1, "2", 3}} {
		s.say("%d arguments", len(args))
		s.exec("INSERT INTO a VALUES (?, ?)", args...)
		s.query("SELECT n FROM a WHERE n = ? AND s = ?", args...)
	}
}

func (s *script) errors() {
	s.must("CREATE TABLE e (id BIGINT PRIMARY KEY, s VARCHAR(3) NOT NULL)")
	for _, query := range []string{
		"nonsense", "SELECT nothing FROM e", "SELECT 1 FROM nowhere", "INSERT INTO e VALUES (1, 'a')",
		"INSERT INTO e VALUES (1, 'b')", "INSERT INTO e VALUES (2, NULL)", "INSERT INTO e VALUES (3, 'long text')", "CREATE TABLE e (id BIGINT)",
	} {
		s.exec(query)
		s.query(query)
		_, err := s.db.PrepareContext(s.ctx, query)
		s.say("prepare %s: %s", query, fault(err))
	}
	var n int
	s.say("no row: %s", fault(s.db.QueryRowContext(s.ctx, "SELECT id FROM e WHERE id = 99").Scan(&n)))
	s.say("no number: %s", fault(s.db.QueryRowContext(s.ctx, "SELECT s FROM e WHERE id = 1").Scan(&n)))
	s.say("too few: %s", fault(s.db.QueryRowContext(s.ctx, "SELECT id, s FROM e WHERE id = 1").Scan(&n)))
	s.say("null: %s", fault(s.db.QueryRowContext(s.ctx, "SELECT NULL").Scan(&n)))
}

func (s *script) results() {
	s.exec("CREATE TABLE r (i BIGINT); INSERT INTO r VALUES (1); INSERT INTO r VALUES (2)")
	s.query("SELECT 1 AS a; SELECT 2 AS b")
	s.exec("DROP TABLE IF EXISTS r")
	s.must("CREATE TABLE r (i BIGINT)")
	for i := range 300 {
		s.must(fmt.Sprintf("INSERT INTO r VALUES (%d)", i))
	}
	rows, err := s.db.QueryContext(s.ctx, "SELECT i FROM r ORDER BY i")
	if err != nil {
		s.t.Fatal(err)
	}
	for range 3 {
		rows.Next()
	}
	s.say("closed early: %s", fault(rows.Close()))
	s.say("next: %v, %s", rows.Next(), fault(rows.Err()))
	var n int
	s.say("scan of closed rows: %s", fault(rows.Scan(&n)))
	_, err = rows.Columns()
	s.say("columns of closed rows: %s", fault(err))
	s.query("SELECT count(*), sum(i), max(i) FROM r")
	s.say("ping: %s", fault(s.db.PingContext(s.ctx)))
}

func (s *script) statements() {
	s.must("CREATE TABLE s (id BIGINT, v VARCHAR(20))")
	insert, err := s.db.PrepareContext(s.ctx, s.d.sql("INSERT INTO s VALUES (?, ?)"))
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := s.db.PrepareContext(s.ctx, "SELECT * FROM s")
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range 3 {
		res, err := insert.ExecContext(s.ctx, i, fmt.Sprint("row ", i))
		s.result("insert", res, err)
		rows, err := all.QueryContext(s.ctx)
		s.rows("all", rows, err)
	}
	for _, args := range [][]any{{}, {1}, {1, "a", 2}} {
		_, err := insert.ExecContext(s.ctx, args...)
		s.say("%d arguments: %s", len(args), fault(err))
	}
	tx, err := s.db.BeginTx(s.ctx, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := tx.StmtContext(s.ctx, insert).ExecContext(s.ctx, 10, "in a transaction")
	s.result("insert in a transaction", res, err)
	own, err := tx.PrepareContext(s.ctx, s.d.sql("SELECT v FROM s WHERE id = ?"))
	s.say("prepare in a transaction: %s", fault(err))
	if err == nil {
		rows, err := own.QueryContext(s.ctx, 10)
		s.rows("own", rows, err)
	}
	s.say("commit: %s", fault(tx.Commit()))
	if own != nil {
		_, err = own.ExecContext(s.ctx, 10)
		s.say("after its transaction: %s", fault(err))
	}
	s.must("DROP TABLE s")
	_, err = insert.ExecContext(s.ctx, 1, "a")
	s.say("without its table it fails: %v", err != nil) // to a gate, which prepares it again, the server may say so in another way
	s.must("CREATE TABLE s (id BIGINT, v VARCHAR(20))")
	res, err = insert.ExecContext(s.ctx, 1, "a")
	s.result("with a table again", res, err)
	s.say("close: %s, %s", fault(insert.Close()), fault(insert.Close()))
	_, err = insert.ExecContext(s.ctx, 1, "a")
	s.say("closed: %s", fault(err))
	all.Close()
}

func (s *script) transactions() {
	s.must("CREATE TABLE x (id BIGINT PRIMARY KEY)")
	begin := func() *sql.Tx {
		tx, err := s.db.BeginTx(s.ctx, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		return tx
	}
	tx := begin()
	_, err := tx.ExecContext(s.ctx, "INSERT INTO x VALUES (1)")
	s.say("insert: %s; commit: %s; again: %s; rollback: %s", fault(err), fault(tx.Commit()), fault(tx.Commit()), fault(tx.Rollback()))
	tx = begin()
	_, err = tx.ExecContext(s.ctx, "INSERT INTO x VALUES (2)")
	s.say("insert: %s; rollback: %s; again: %s", fault(err), fault(tx.Rollback()), fault(tx.Rollback()))
	tx = begin()
	_, err = tx.ExecContext(s.ctx, "INSERT INTO x VALUES (3)")
	s.say("insert: %s", fault(err))
	_, err = tx.ExecContext(s.ctx, "INSERT INTO x VALUES (3)")
	s.say("twice: %s", fault(err))
	_, err = tx.ExecContext(s.ctx, "INSERT INTO x VALUES (4)")
	s.say("another: %s; commit: %s", fault(err), fault(tx.Commit()))
	s.query("SELECT id FROM x ORDER BY id")
	tx = begin()
	for _, query := range []string{
		"INSERT INTO x VALUES (10)", "SAVEPOINT a", "INSERT INTO x VALUES (11)", "ROLLBACK TO SAVEPOINT a", "RELEASE SAVEPOINT a", "INSERT INTO x VALUES (12)",
	} {
		_, err := tx.ExecContext(s.ctx, query)
		s.say("%s: %s", query, fault(err))
	}
	rows, err := tx.QueryContext(s.ctx, "SELECT id FROM x ORDER BY id")
	s.rows("inside", rows, err)
	s.say("commit: %s", fault(tx.Commit()))
	s.query("SELECT id FROM x ORDER BY id")
}

func (s *script) isolation() {
	s.must("CREATE TABLE x (id BIGINT)")
	for level := sql.LevelDefault; level <= sql.LevelLinearizable; level++ {
		for _, readOnly := range []bool{false, true} {
			tx, err := s.db.BeginTx(s.ctx, &sql.TxOptions{Isolation: level, ReadOnly: readOnly})
			s.say("%v, read only %v: %s", level, readOnly, fault(err))
			if err != nil {
				continue
			}
			_, err = tx.ExecContext(s.ctx, "INSERT INTO x VALUES (1)")
			s.say("insert: %s; rollback: %s", fault(err), fault(tx.Rollback()))
		}
	}
	s.query("SELECT count(*) FROM x")
}

func (s *script) contexts() {
	s.must("CREATE TABLE c (id BIGINT)")
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := s.db.ExecContext(ended, "INSERT INTO c VALUES (1)")
	s.say("exec: %s", fault(err))
	_, err = s.db.QueryContext(ended, "SELECT 1")
	s.say("query: %s", fault(err))
	_, err = s.db.PrepareContext(ended, "SELECT 1")
	s.say("prepare: %s", fault(err))
	_, err = s.db.BeginTx(ended, nil)
	s.say("begin: %s", fault(err))
	_, err = s.db.Conn(ended)
	s.say("conn: %s", fault(err))
	s.say("ping: %s", fault(s.db.PingContext(ended)))

	ctx, cancel := context.WithCancel(s.ctx)
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO c VALUES (2)")
	s.say("insert: %s", fault(err))
	cancel()
	s.say("commit fails: %v", tx.Commit() != nil)
	eventually(s.t, "the transaction is rolled back", func() bool {
		_, err := tx.ExecContext(s.ctx, "SELECT 1")
		return errors.Is(err, sql.ErrTxDone)
	})
	s.query("SELECT count(*) FROM c")
}

func (s *script) connections() {
	conn, err := s.db.Conn(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = conn.ExecContext(s.ctx, "CREATE TEMPORARY TABLE mine (i BIGINT)")
	s.say("create: %s", fault(err))
	_, err = conn.ExecContext(s.ctx, "INSERT INTO mine VALUES (1)")
	s.say("insert: %s", fault(err))
	rows, err := conn.QueryContext(s.ctx, "SELECT * FROM mine")
	s.rows("select", rows, err)
	tx, err := conn.BeginTx(s.ctx, nil)
	s.say("begin: %s", fault(err))
	if err == nil {
		_, err = tx.ExecContext(s.ctx, "INSERT INTO mine VALUES (2)")
		s.say("insert: %s; rollback: %s", fault(err), fault(tx.Rollback()))
	}
	s.say("raw: %s", fault(poolgate.Raw(conn, func(dc driver.Conn) error {
		s.say("it is a %T", dc)
		return nil
	})))
	s.say("an error of raw: %s", fault(conn.Raw(func(any) error { return sql.ErrNoRows })))
	_, err = conn.ExecContext(s.ctx, "DROP TABLE mine")
	s.say("drop: %s", fault(err))
	s.say("close: %s, %s", fault(conn.Close()), fault(conn.Close()))
	_, err = conn.ExecContext(s.ctx, "SELECT 1")
	s.say("closed: %s", fault(err))
}

func (s *script) closing() {
	s.must("CREATE TABLE z (i BIGINT)")
	s.say("driver: %T", s.db.Driver())
	s.say("close: %s, %s", fault(s.db.Close()), fault(s.db.Close()))
	_, err := s.db.ExecContext(s.ctx, "SELECT 1")
	s.say("exec: %s", fault(err))
	_, err = s.db.BeginTx(s.ctx, nil)
	s.say("begin: %s; ping: %s", fault(err), fault(s.db.PingContext(s.ctx)))
}
