// Package rows turns the rows of a query into Go values, and many Go values
// into rows.
//
//	users, err := rows.Collect[User](ctx, db, "SELECT id, name FROM users WHERE team = $1", team)
//
// It needs a [Queryer], such as *sql.DB, *sql.Tx, *sql.Conn or *poolgate.DB.
// [All] reads rows that were queried in another way.
//
// # How columns become a T
//
// A struct takes each column by name: by the tag `db:"name"` of a field, or by
// the field's own name in snake case (CreatedAt is created_at, UserID is
// user_id). The tag `db:"-"` leaves a field out. The fields of an embedded
// struct count as those of the struct around it. Those of another struct, in a
// field Author, are "author.name" and so on. T may be a pointer to such a
// struct. The rules are those of github.com/georgysavva/scany.
//
// A map with string keys, such as map[string]any, takes every column under its
// name. An any holds what the driver makes of the value, which differs from
// driver to driver: lib/pq has a []byte for numeric or uuid, pgx a string.
//
// Everything else takes the value of the only column.
//
// # Values
//
// Numbers, strings, bools, []byte, time.Time, types that implement sql.Scanner,
// and pointers to these are read as sql.Rows.Scan reads them.
//
// A slice is an array, like a Go array of the right length. For a column
// of type json or jsonb, a slice, a map or a struct is unmarshaled. Both work in
// the same way with every driver and every version of Go, although
// sql.Rows.Scan reads a []string only with pgx and Go 1.27.
//
// A Scan or UnmarshalJSON method runs outside of sql.Rows.Scan, so it may panic:
// connection and permit are given back. It may keep a []byte that it gets.
//
// # What is refused
//
// Nothing is lost silently. A column that T has no field for is refused, with
// [ErrUnknownColumn], unless T embeds [AllowUnknown]. Two columns of one name
// are refused, with [ErrDuplicateColumn]. NULL is refused, with [ErrNull],
// unless it is read into a pointer, a []byte, an any, or a Scanner such as a
// sql.Null. That goes for arrays as well, because a nil slice and an empty one
// are easily confused: use *[]string or sql.Null[[]string]. A field that has no
// column keeps its zero value. sql.RawBytes is refused, because its content is
// gone with the next row.
//
// # Cost
//
// How a T takes the columns is found by reflection once for each type and list
// of columns. Up to 64 lists are kept for each type, so that statements made up
// at run time do not fill the memory. A row then costs what sql.Rows.Scan costs,
// without further allocations, except that arrays and JSON are parsed and that a
// Scanner gets a copy of a []byte. Nested structs behind pointers, and maps, are
// looked up again for each row.
//
// # Concurrency
//
// Every function may be called from any number of goroutines. While a function
// reads, it holds one connection, and with it one permit of a gated pool. It has
// given both back when it returns, however it returns.
package rows
