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
// the field's own name in snake case (CreatedAt is created_at, UserID is user_id); `db:"-"` leaves
// a field out. The fields of an embedded struct count as those of the struct
// around it; those of another struct, in a field Author, are "author.name" and
// so on. T may be a pointer to such a struct. The rules are those of
// github.com/georgysavva/scany.
//
// A map with string keys, such as map[string]any, takes every column under its
// name. In an any lies what the driver made of the value, which differs from
// driver to driver: lib/pq has a []byte for numeric or uuid, pgx a string.
//
// Everything else takes the value of the only column: numbers, strings, []byte,
// time.Time, and whatever implements sql.Scanner.
//
// Nothing is lost in silence. A column that T has no field for is refused, with
// [ErrUnknownColumn], unless T embeds [AllowUnknown]; two columns of one name
// are refused, with [ErrDuplicateColumn]; so is NULL, with [ErrNull], where
// neither a pointer nor a sql.Null or the like stands for it. A field that has
// no column keeps its zero value. sql.RawBytes is refused: what it holds is gone
// with the next row.
//
// # What it costs
//
// How a T takes the columns is found out by reflection once for each type and
// list of columns, and kept: up to 64 lists a type, so that statements that are
// made up as the program runs do not fill the memory. A row then costs what
// sql.Rows.Scan costs, and no allocation more. Nested structs behind pointers,
// and maps, are looked up again for each row.
//
// # Concurrency
//
// Every function may be called from any number of goroutines. While a function
// reads it holds one connection, and with it one permit of a gated pool; it has
// given both back when it returns, however it does.
package rows
