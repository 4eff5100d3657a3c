package rows_test

import (
	"context"
	"fmt"

	"github.com/poolgate/poolgate/poolgate/rows"
)

type (
	Author struct {
		ID    int64
		Name  string
		Books []Book `db:"-"`
	}
	Book struct {
		ID       int64
		AuthorID int64
		Title    string
	}
)

// db stands for a *poolgate.DB or a *sql.DB.
var db = library()

func ExampleCollect() {
	authors, err := rows.Collect[Author](context.Background(), db, "SELECT id, name FROM authors ORDER BY id")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range authors {
		fmt.Println(a.ID, a.Name)
	}
	// Output:
	// 1 Ada
	// 2 Alan
}

func ExampleOne() {
	n, err := rows.One[int](context.Background(), db, "SELECT count(*) FROM books")
	fmt.Println(n, err)
	// Output: 3 <nil>
}

func ExampleStream() {
	for book, err := range rows.Stream[Book](context.Background(), db, "SELECT id, author_id, title FROM books ORDER BY id") {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(book.Title)
		if book.ID == 12 {
			break // gives the connection back
		}
	}
	// Output:
	// Notes
	// Letters
}

func ExamplePartitions() {
	for books, err := range rows.Partitions[Book](context.Background(), db, 2, "SELECT id, author_id, title FROM books ORDER BY id") {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(books), "books from", books[0].Title)
	}
	// Output:
	// 2 books from Notes
	// 1 books from Machines
}

func ExampleLoadMany() {
	ctx := context.Background()
	authors, err := rows.Collect[Author](ctx, db, "SELECT id, name FROM authors ORDER BY id")
	if err != nil {
		fmt.Println(err)
		return
	}
	books, err := rows.LoadMany(ctx, db, authors,
		func(a Author) int64 { return a.ID },
		func(b Book) int64 { return b.AuthorID },
		"SELECT id, author_id, title FROM books WHERE author_id = ANY($1) ORDER BY id")
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range authors {
		authors[i].Books = books[i]
		fmt.Println(authors[i].Name, len(authors[i].Books))
	}
	// Output:
	// Ada 2
	// Alan 1
}

// A column that the struct does not know is an error, with what can be done.
func Example_unknownColumn() {
	_, err := rows.Collect[Author](context.Background(), db, "SELECT id, title FROM books")
	fmt.Println(err)
	// Output: rows: column "title": rows_test.Author has no exported field for it: tag one with `db:"title"`, leave the column out, or embed rows.AllowUnknown
}
