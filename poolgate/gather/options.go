package gather

import "fmt"

// DefaultLimit is the maximum number of statements of a gather that run at once
// if [Options.Limit] is zero. PostgreSQL gains little from more, and a gather that
// asked for thousands of permits at once would fill the gate's queue.
const DefaultLimit = 32

// DefaultBatch is the maximum number of statements that a [Pipelined] gather
// sends at once if [Options.Limit] is zero. It bounds the goroutines that wait for
// their results. What is sent at once is bounded by the driver: pgxgate sends no
// more than a megabyte, if one statement does not have more.
const DefaultBatch = 256

// Consistency says what the statements of a gather see of one another and of
// concurrent writes.
type Consistency int

const (
	// Independent runs each statement by itself, as autocommit does, on any
	// connection. Some statements may see the database before another
	// transaction and some after it, so sums over them can be wrong. What a
	// statement writes stays, even if others fail.
	Independent Consistency = iota

	// Snapshot runs all statements side by side on one snapshot of the
	// database, as if at one moment. They can only read: the server refuses a
	// write. It needs PostgreSQL.
	//
	// One connection exports its snapshot, and works. Further connections join
	// as permits become free; each costs two round trips. One permit is enough,
	// so gathers cannot wait for one another. If the gate or the server refuses
	// a connection, the others do its work, and the gate does not count the
	// refusal.
	Snapshot

	// Serial runs all statements in order, in one transaction at REPEATABLE
	// READ on one connection. It commits if none fails, and rolls back
	// otherwise. It needs PostgreSQL. As always at this level, a write to a row
	// that another transaction has changed meanwhile fails with SQLSTATE 40001.
	Serial

	// Pipelined sends all statements in one round trip on one connection under
	// one permit, in one transaction at REPEATABLE READ: READ ONLY, unless
	// [Options.ReadWrite] is set. It needs a driver that can, which pgx can and
	// lib/pq cannot, see [Options.OrSerial].
	//
	// The server executes the statements in order, and the results are read in
	// that order. Most of them arrive when the last statement was executed.
	//
	// A function runs up to its first statement, and waits until all others
	// have come as far; only then the gather takes its permit. It gets its result
	// when the statements before it have ended. Its next statement goes with the
	// next round trip. It cannot prepare statements, nor have two under way at once.
	//
	// Since the statements are sent together, one that is new to its connection
	// cannot refer to a table that one before it creates; and if the context of
	// one ends, all of them are cancelled.
	Pipelined
)

// String returns "independent", "snapshot", "serial" or "pipelined".
func (c Consistency) String() string {
	switch c {
	case Independent:
		return "independent"
	case Snapshot:
		return "snapshot"
	case Serial:
		return "serial"
	case Pipelined:
		return "pipelined"
	}
	return fmt.Sprintf("Consistency(%d)", int(c))
}

// Options say how to gather statements. The zero Options run them independently,
// up to [DefaultLimit] at once, until one fails.
type Options struct {
	// Consistency is Independent by default.
	Consistency Consistency

	// Limit is the maximum number of statements that run at once. Each needs a
	// permit, so the gate may allow fewer. Zero means DefaultLimit. Serial
	// ignores it. For Pipelined it is the maximum number of statements that are
	// sent at once, and zero means DefaultBatch.
	Limit int

	// Chunked runs the statements in waves of Limit: the next wave begins when
	// the last statement of this one has ended. Otherwise the next statement
	// begins as soon as any has ended, which is right for nearly everything.
	Chunked bool

	// AllErrors runs every statement, even if some fail, and returns all
	// errors, in the order of the statements. Otherwise the first error
	// cancels those that are running, and the others do not begin.
	//
	// With Snapshot and Serial it costs one more round trip for each statement,
	// for a savepoint. With Pipelined it costs a savepoint for each statement
	// but no round trip, and one round trip for each statement that fails.
	AllErrors bool

	// ReadWrite lets the statements of a Pipelined gather write. All is
	// committed if none fails, and rolled back otherwise. The COMMIT waits until
	// all results are read, which is one more round trip.
	ReadWrite bool

	// OrSerial lets a Pipelined gather run like a Serial one, which is still
	// READ ONLY without ReadWrite, if the driver has no pipeline. Otherwise it
	// fails with an error that matches poolgate.ErrNoPipeline.
	OrSerial bool
}

func (o Options) check() error {
	switch {
	case o.Consistency < Independent || o.Consistency > Pipelined:
		return fmt.Errorf("gather: Options.Consistency is %d; it must be Independent, Snapshot, Serial or Pipelined", int(o.Consistency))
	case o.Limit < 0:
		return fmt.Errorf("gather: Options.Limit is %d; it must not be negative", o.Limit)
	case o.ReadWrite && o.Consistency != Pipelined:
		return fmt.Errorf("gather: Options.ReadWrite is for Pipelined, and Options.Consistency is %v", o.Consistency)
	case o.OrSerial && o.Consistency != Pipelined:
		return fmt.Errorf("gather: Options.OrSerial is for Pipelined, and Options.Consistency is %v", o.Consistency)
	}
	return nil
}

// workers returns how many of n statements run at once at most.
func (o Options) workers(n int) int {
	switch {
	case o.Consistency == Serial:
		return 1
	case o.Consistency == Pipelined && o.Limit == 0:
		return min(n, DefaultBatch)
	case o.Limit == 0:
		return min(n, DefaultLimit)
	}
	return min(n, o.Limit)
}
