package session

import (
	"context"
	"database/sql"
)

// DBTX is what statements need of a database: *sql.DB, *sql.Tx and *sql.Conn
// have it too, and it is the interface that sqlc generates.
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
// A Session is for one goroutine at a time. It may go from one to another, and
// goroutines may use different databases of it side by side; two that use the
// same at once get a [*BusyError].
//
// The methods of a nil *Session, which is what From returns outside of a unit,
// return ErrNoSession, but for DB, which returns the database as it is.
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
// the first statement begins the transaction, waiting for a connection as long
// as its own context allows, and it is there that a refusal by the gate
// arrives. What was returned before a Commit or a Rollback begins the next
// transaction.
//
// The context of a statement bounds that statement; the transaction is bounded
// by the session's. Which unit a statement belongs to is decided here, not by
// its context.
func (s *Session) DB(db *sql.DB) DBTX {
	if s == nil {
		return db
	}
	return &statements{session: s, db: db}
}

// InTx reports whether the session has a transaction open, or is about to begin
// one, and with it a connection and a permit. A nil session has none.
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
// Then the session has no connection any more, and the next statement begins a
// new transaction.
//
// Commit does nothing but return a [*BusyError] if another goroutine is using
// the session or rows of it are still open, and ErrNested inside a nested Run.
// Otherwise, what cannot be committed is rolled back, and the error is a
// [*CommitError]. The first COMMIT that fails ends it: those before it remain,
// those after it are rolled back. The end of the session's context before the
// first COMMIT is such a failure; once it has been sent, the end of the context
// cuts it off only after five seconds, so that its outcome is known.
func (s *Session) Commit() error {
	if s == nil {
		return ErrNoSession
	}
	return s.unit.commit(s, true)
}

// Rollback rolls all transactions of the session back and drops its hooks.
// Then the session has no connection any more, and the next statement begins a
// new transaction. Like Commit it may return a [*BusyError] or ErrNested.
// An error otherwise means that a connection was lost, which rolls back too.
func (s *Session) Rollback() error {
	if s == nil {
		return ErrNoSession
	}
	return s.unit.rollback(s)
}

// Close ends the session: it waits for statements in flight, rolls back what
// is not committed and drops the hooks. Later statements fail with ErrClosed.
// What was closed can be closed again. Inside a nested Run it returns
// ErrNested. An error otherwise means that a connection was lost, which rolls
// back too.
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

// BeforeCommit has hook run when the session is about to commit, with a context
// that carries the session: what it writes is committed too. If it fails, all
// is rolled back. Hooks run in the order in which they came, once, and not if
// the session, or the nested Run in which they were given, is rolled back.
//
// It returns ErrClosed if the session is closed.
func (s *Session) BeforeCommit(hook func(context.Context) error) error {
	if s == nil {
		return ErrNoSession
	}
	return s.unit.addHooks(s, []beforeHook{hook}, nil)
}

// AfterCommit has hook run when all transactions have been committed, and the
// connections given back, with a context that carries no session: for messages
// that must not go out for work that is undone. Otherwise it is like
// BeforeCommit.
func (s *Session) AfterCommit(hook func(context.Context)) error {
	if s == nil {
		return ErrNoSession
	}
	return s.unit.addHooks(s, nil, []afterHook{hook})
}
