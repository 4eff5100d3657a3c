package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
)

// statements is the DBTX of a session on one database.
type statements struct {
	session *Session
	db      *sql.DB
}

func (s *statements) claim(ctx context.Context, call string) (*transaction, error) {
	return s.session.unit.claim(ctx, s.session, s.db, call)
}

func (s *statements) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	t, err := s.claim(ctx, "ExecContext")
	if err != nil {
		return nil, err
	}
	defer t.release()
	var result sql.Result
	err = t.try(ctx, func() (err error) {
		result, err = t.tx.ExecContext(ctx, query, args...)
		return err
	})
	t.saw(err)
	return result, err
}

func (s *statements) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	t, err := s.claim(ctx, "PrepareContext")
	if err != nil {
		return nil, err
	}
	defer t.release()
	t.prepared = true
	var stmt *sql.Stmt
	err = t.try(ctx, func() (err error) {
		stmt, err = t.tx.PrepareContext(ctx, query)
		return err
	})
	t.saw(err)
	return stmt, err
}

func (s *statements) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	t, err := s.claim(ctx, "QueryContext")
	if err != nil {
		return nil, err
	}
	defer t.release()
	return t.query(ctx, query, args)
}

func (s *statements) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	t, err := s.claim(ctx, "QueryRowContext")
	if err != nil {
		return failedRow(err)
	}
	defer t.release()
	var row *sql.Row
	err = t.try(ctx, func() error {
		row = t.tx.QueryRowContext(ctx, query, args...)
		return row.Err()
	})
	if row.Err() != err { // the transaction could not be begun once more
		return failedRow(err)
	}
	t.saw(err)
	t.unsure = true // Scan may meet an error of the server
	return row
}

// failedRow returns a Row whose Scan and Err return err. Only database/sql can
// make one, by a query on a pool that cannot connect.
func failedRow(err error) *sql.Row {
	db := sql.OpenDB(unconnected{err})
	defer db.Close()
	return db.QueryRowContext(context.Background(), "")
}

// unconnected is a driver whose connections cannot be opened.
type unconnected struct{ err error }

func (u unconnected) Connect(context.Context) (driver.Conn, error) { return nil, u.err }
func (u unconnected) Driver() driver.Driver                        { return u }
func (u unconnected) Open(string) (driver.Conn, error)             { return nil, u.err }
