package rows_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
)

// library returns a database that knows the answers to the statements of the
// examples, so that they run without a server.
func library() *sql.DB { return sql.OpenDB(shelf{}) }

var answers = map[string]answer{
	"SELECT id, name FROM authors ORDER BY id": {
		columns: []string{"id", "name"},
		rows:    [][]driver.Value{{int64(1), "Ada"}, {int64(2), "Alan"}},
	},
	"SELECT id, author_id, title FROM books ORDER BY id":                           books,
	"SELECT id, author_id, title FROM books WHERE author_id = ANY($1) ORDER BY id": books,
	"SELECT id, title FROM books":                                                  {columns: []string{"id", "title"}},
	"SELECT count(*) FROM books":                                                   {columns: []string{"count"}, rows: [][]driver.Value{{int64(3)}}},
}

var books = answer{
	columns: []string{"id", "author_id", "title"},
	rows: [][]driver.Value{
		{int64(11), int64(1), "Notes"}, {int64(12), int64(1), "Letters"}, {int64(21), int64(2), "Machines"},
	},
}

type (
	shelf  struct{} // is a connector, a driver and a connection in one
	answer struct {
		columns []string
		rows    [][]driver.Value
	}
	cursor struct{ answer }
)

func (shelf) Connect(context.Context) (driver.Conn, error) { return shelf{}, nil }
func (shelf) Driver() driver.Driver                        { return shelf{} }
func (shelf) Open(string) (driver.Conn, error)             { return shelf{}, nil }
func (shelf) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (shelf) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (shelf) Close() error                                 { return nil }

func (shelf) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	a, ok := answers[query]
	if !ok {
		return nil, fmt.Errorf("no answer to %s", query)
	}
	return &cursor{a}, nil
}

func (c *cursor) Columns() []string { return c.columns }
func (c *cursor) Close() error      { return nil }

func (c *cursor) Next(dest []driver.Value) error {
	if len(c.rows) == 0 {
		return io.EOF
	}
	copy(dest, c.rows[0])
	c.rows = c.rows[1:]
	return nil
}
