package session

import (
	"context"
	"database/sql"
)

// DBTX is what statements need of a database. *sql.DB, *sql.Tx and *sql.Conn
// implement it, and it is the interface that sqlc generates.
type DBTX interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// A Session is a unit of work: at most one transaction on each database,
// begun when the database is first used, and committed or rolled back together
// with the others. Callees find it in their context, by [From] and [DB].
//
// A Session is for one goroutine at a time. It may pass from one to another, and
// goroutines may use different databases of it at the same time. Two that use
// the same database at once get a [*BusyError].
//
// From returns a nil *Session outside a unit. Its DB returns the database as it
// is, its InTx false; its other methods return ErrNoSession.
type Session struct {
	unit  *unit
	level *level // the Run that this is the Session of
}

// New returns a detached session, which no context carries. The caller commits
// and closes it. It costs no connection until its first statement. The end of
// ctx rolls it back. New ignores WhenOpen and Attempts, and returns an error
// that names the field of config that it cannot accept.
//
//	s, err := session.New(ctx, session.Config{})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	... s.DB(db).ExecContext(ctx, …) ...
//	return s.Commit()
func New(ctx context.Context, config Config) (*Session, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	return newSession(ctx, config), nil
}

func newSession(ctx context.Context, c Config) *Session {
	u := newUnit(ctx, sql.TxOptions{Isolation: c.Isolation, ReadOnly: c.ReadOnly})
	return &Session{unit: u, level: u.top}
}

type contextKey struct{}

// From returns the session that ctx carries, or nil.
func From(ctx context.Context) *Session {
	s, _ := ctx.Value(contextKey{}).(*Session)
	return s
}

// with returns ctx with s in it, which may be nil to hide another.
func with(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// DB returns db inside the unit of work that ctx carries, see [Session.DB], or
// db itself if it carries none.
func DB(ctx context.Context, db *sql.DB) DBTX { return From(ctx).DB(db) }

// DB returns the session's transaction on db for statements. It costs nothing:
// the first statement begins the transaction, waits for a connection as long as
// its own context allows, and returns the gate's error if the gate refuses. What
// DB returned before a Commit or a Rollback begins the next transaction.
//
// The context of a statement bounds that statement; the session's context bounds
// the transaction. DB decides which unit a statement belongs to, not the
// statement's context.
func (s *Session) DB(db *sql.DB) DBTX {
	if s == nil {
		return db
	}
	return &statements{session: s, db: db}
}

// InTx reports whether the session has a transaction open, or is about to begin
// one, and so holds a connection and a permit.
func (s *Session) InTx() bool {
	if s == nil {
		return false
	}
	s.unit.mu.Lock()
	defer s.unit.mu.Unlock()
	return len(s.unit.txs) > 0
}

// Commit commits all transactions of the session, in the order in which they
// were begun, after the hooks of BeforeCommit and before those of AfterCommit.
// Then the session holds no connection, and the next statement begins a new
// transaction.
//
// If another goroutine is using the session, or rows of it are open, Commit
// returns a [*BusyError]; inside a nested Run, ErrNested. It then does nothing
// else. Otherwise it rolls back what cannot be committed, and returns a
// [*CommitError]. The first COMMIT that fails is the last: those before it
// remain, those after it become ROLLBACKs. The end of the session's context
// before the first COMMIT is such a failure. Later it cuts a COMMIT off only
// after five seconds, so that the outcome is known if possible. The error is
// then the context's.
func (s *Session) Commit() error {
	if s == nil {
		return ErrNoSession
	}
	return s.unit.commit(s)
}

// Rollback rolls all transactions of the session back, closes rows that are
// open, and drops the hooks. Then the session holds no connection, and the next
// statement begins a new transaction. If another goroutine is using the session,
// Rollback returns a [*BusyError]; inside a nested Run, ErrNested. Any other
// error means that a connection was lost, which rolls back too.
func (s *Session) Rollback() error {
	if s == nil {
		return ErrNoSession
	}
	return s.unit.rollback(s)
}

// Close ends the session: it waits for statements in flight, rolls back what is
// not committed and drops the hooks. Later statements fail with ErrClosed.
// Closing a session again does nothing. Inside a nested Run Close returns
// ErrNested. Any other error means that a connection was lost, which rolls back
// too.
func (s *Session) Close() error {
	if s == nil {
		return ErrNoSession
	}
	s.unit.mu.Lock()
	err := s.unit.outermost(s, "Close")
	s.unit.mu.Unlock()
	switch err {
	case nil:
		return s.unit.close()
	case ErrClosed:
		return nil
	}
	return err
}

// BeforeCommit registers a hook that runs when the session is about to commit,
// with a context that carries the session: what it writes is committed too. If
// it fails, everything is rolled back. Hooks run once, in the order in which
// they were registered, and not if the session, or the nested Run in which they
// were registered, is rolled back.
//
// BeforeCommit returns ErrClosed if the session is closed.
func (s *Session) BeforeCommit(hook func(context.Context) error) error {
	if s == nil {
		return ErrNoSession
	}
	return s.unit.addHooks(s, []beforeHook{hook}, nil)
}

// AfterCommit registers a hook that runs when all transactions are committed and
// the connections given back, with a context that carries no session. It is for
// messages that must not go out for work that is undone. Otherwise it is like
// BeforeCommit.
func (s *Session) AfterCommit(hook func(context.Context)) error {
	if s == nil {
		return ErrNoSession
	}
	return s.unit.addHooks(s, nil, []afterHook{hook})
}
