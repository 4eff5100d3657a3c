// Package gather runs many statements side by side through the gate, and hands
// back what they have read in the order in which they were given.
//
// Statements of one type, and what each has read:
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
// [Identity.Merge] then makes one object of all rows with the same key.
//
// # Which consistency
//
// Statements that run side by side on connections of their own see the database
// at different moments. [Independent] leaves it at that; [Snapshot] has all of
// them see one moment; [Serial] does too, on one connection, and can write.
//
//   - One statement instead of many, by = ANY($1) or rows.LoadMany, is faster
//     than any gather where it says the same.
//   - Serial is the fastest for a few statements that take the server well under
//     a millisecond.
//   - Snapshot is for slower ones that belong together: sums that have to be
//     right, a list and its count.
//   - Independent is for those that have nothing to do with one another, for
//     hundreds of them, and for writes that stand each for itself.
//
// docs/gather.md has the figures.
//
// # Permits
//
// Each statement of an Independent gather takes a permit for itself; each
// connection of a Snapshot and of a Serial holds one until the gather has no
// work for it. They are those of the class that ctx carries. No gather needs
// more than one permit, so gathers cannot wait for one another, and a caller
// who holds one by a unit of package session gathers out of band, see [Run]. A
// caller who holds one in another way, by a *sql.Tx or open rows, should give
// Run the DB's OutOfBand view.
package gather
