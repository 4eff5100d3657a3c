// Package gather runs many statements side by side through the gate, and returns
// their results in the order of the statements.
//
// Statements whose rows have one type:
//
//	frozen, err := gather.Collect[Person](ctx, db, gather.Options{},
//		gather.SQL{Query: "SELECT id, name FROM people WHERE team = $1", Args: []any{1}},
//		gather.SQL{Query: "SELECT id, name FROM people WHERE team = $1", Args: []any{2}})
//
// Statements of different types, and functions:
//
//	err := gather.Run(ctx, db, gather.Options{Consistency: gather.Snapshot},
//		gather.Query(&page.People, "SELECT id, name FROM people"),
//		gather.One(&page.Total, "SELECT count(*) FROM orders"),
//		func(ctx context.Context, db session.DBTX) (err error) {
//			page.Orders, err = queries.New(db).ListOrders(ctx)
//			return err
//		})
//
// [Identity.Merge] then makes one object from all rows with the same key.
//
// # Which consistency
//
// Statements on connections of their own see the database at different moments.
// [Independent] accepts that. [Snapshot] makes all of them see one moment.
// [Serial] does so too, on one connection, and can write. So does [Pipelined], in
// one round trip, with pgx.
//
//   - One statement instead of many, by = ANY($1) or rows.LoadMany, is faster
//     than any gather if it can do the same work.
//   - Serial is the fastest for a few statements that each take the server well
//     under a millisecond.
//   - Pipelined is for many such statements, and for a server that is a network
//     away.
//   - Snapshot is for slower statements that belong together: sums that have to
//     be right, a list and its count.
//   - Independent is for statements that have nothing to do with one another,
//     for hundreds of them, and for writes that each stand alone.
//
// docs/gather.md has the figures.
//
// # Permits
//
// Each statement of an Independent gather takes a permit; each connection of
// another gather holds one until the gather has no work for it. The permits are
// of the class that ctx carries. No gather needs more than one permit, so
// gathers cannot wait for one another. A caller that holds a permit through a
// unit of package session gathers out of band, see [Run]. A caller that holds
// one in another way, by an *sql.Tx or open rows, should pass the DB's OutOfBand
// view to Run.
package gather
