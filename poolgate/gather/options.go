package gather

import "fmt"

// DefaultLimit is how many statements of a gather run at once where
// [Options.Limit] is zero. PostgreSQL gains little from more, and a gather
// that asked for thousands of permits at once would fill the gate's queue.
const DefaultLimit = 32

// Consistency says what the statements of a gather see of one another and of
// what others write meanwhile.
type Consistency int

const (
	// Independent runs each statement by itself, as autocommit does, on any
	// connection. Statements that run side by side may see the database before
	// and after somebody else's transaction: sums over them can be wrong. What
	// a statement writes stays, whatever becomes of the others.
	Independent Consistency = iota

	// Snapshot runs all statements side by side on one snapshot of the
	// database, as if at one moment. They can only read: the server refuses a
	// write. It is for PostgreSQL.
	//
	// One connection exports its snapshot, and works; more join in as there
	// are permits for them, which each costs two round trips. One permit is
	// enough, so gathers cannot wait for one another. Where one cannot join in,
	// as the gate or the server refuses it, the others do its work.
	Snapshot

	// Serial runs the statements one after another, in order, in one
	// transaction at REPEATABLE READ: it is committed if none fails, and rolled
	// back otherwise. As at any time on this level, writing what somebody else
	// has changed meanwhile fails with SQLSTATE 40001.
	Serial
)

// String returns "independent", "snapshot" or "serial".
func (c Consistency) String() string {
	switch c {
	case Independent:
		return "independent"
	case Snapshot:
		return "snapshot"
	case Serial:
		return "serial"
	}
	return fmt.Sprintf("Consistency(%d)", int(c))
}

// Options say how statements are gathered. The zero Options run them
// independently, up to [DefaultLimit] at once, until one fails.
type Options struct {
	// Consistency is Independent unless said otherwise.
	Consistency Consistency

	// Limit is how many statements run at once at most. How many really do is
	// up to the gate, of which each needs a permit. Zero means DefaultLimit.
	// It has no meaning for Serial.
	Limit int

	// Chunked runs the statements in waves of Limit: none of the next wave
	// begins before the last of this one has ended. Otherwise the next begins
	// as soon as any has ended, which is right for nearly everything.
	Chunked bool

	// AllErrors runs every statement, even if some fail, and returns all
	// errors, in the order of the statements. Otherwise the first error
	// cancels those that are running, and the others do not begin.
	//
	// With Snapshot and Serial it costs a round trip more for each statement,
	// for a savepoint.
	AllErrors bool
}

func (o Options) check() error {
	switch {
	case o.Consistency < Independent || o.Consistency > Serial:
		return fmt.Errorf("gather: Options.Consistency is %d; it must be Independent, Snapshot or Serial", int(o.Consistency))
	case o.Limit < 0:
		return fmt.Errorf("gather: Options.Limit is %d; it must not be negative", o.Limit)
	}
	return nil
}

// workers returns how many statements out of n run at once at most.
func (o Options) workers(n int) int {
	switch {
	case o.Consistency == Serial:
		return 1
	case o.Limit == 0:
		return min(n, DefaultLimit)
	}
	return min(n, o.Limit)
}
