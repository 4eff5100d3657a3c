// Package pgxpoolgate puts a gate in front of pgx's own pool, for programs that use
// pgx without database/sql:
//
//	pool, err := pgxpoolgate.Open(dsn, pgxpoolgate.Config{Gate: gate.Config{Limit: 40}})
//
// [Wrap] does it to a *pgxpool.Pool that exists. A [Pool] has the methods of a
// *pgxpool.Pool. What takes an interface of these takes it unchanged: the DBTX of
// code that sqlc generates with sql_package: pgx/v5, scany's pgxscan, pgx.BeginFunc
// and pgx.CollectRows. Acquire returns a [Conn] of this package, which has the
// methods of a *pgxpool.Conn.
//
// What takes a *pgxpool.Pool by its type cannot be given a Pool. River's
// riverpgxv5.New is such a function. Insert jobs with InsertTx and a transaction
// of the Pool, and give River a pool of its own for the rest, or use its driver for
// database/sql on [Pool.DB].
//
// # How long a permit is held
//
// As long as the connection: by Exec, CopyFrom and Ping until they return, by Query
// until the rows are closed, by QueryRow until Scan, by SendBatch until Close, by a
// transaction until Commit or Rollback, and by Acquire until Release. What is never
// closed keeps its permit, as it keeps its connection with pgxpool. With
// gate.Config.LeakAfter the gate reports it.
//
// A goroutine that holds one and asks for another is part of the search for
// deadlocks, see [gate.ErrDeadlock]. The gate's holders have the statement that
// runs, without the values in it.
//
// # What changes for contexts
//
//   - A statement whose context ends returns an error that matches the context's,
//     by errors.Is. Where the server has cancelled it, the error also matches
//     *pgconn.PgError, with the code 57014.
//   - Rollback also works after its context has ended, and keeps the connection,
//     which pgx by itself closes. Commit then rolls back, and returns the error of
//     the context. Both may take a quarter of a second if the server does not
//     answer.
//   - A connection that was lost, or given up in the middle of a statement, is
//     closed in the background, and its permit comes back only when the server has
//     ended the process for it, as far as that can be known.
//
// # What only Open does
//
// Open owns the sockets of its connections. So its pool does more than one of Wrap:
//
//   - A statement whose context ends is cancelled on the server. If the server
//     answers within 150 ms, the connection is kept. Otherwise the call returns
//     within a quarter of a second of its context's end. With Wrap the connection
//     is closed, unless the inner pool has a handler of its own for that.
//   - Connections are opened with client_connection_check_interval=500ms, where the
//     server accepts that and the data source name does not set it, so that the
//     server notices even in the middle of a statement that cannot be cancelled
//     that its client has gone. The permit is out until then: ten seconds at most,
//     and about a second if the server cannot be reached. With Wrap pgx waits up to
//     15 seconds, and the server's process may go on after that.
//   - An idle connection that the server has closed is found before it is used. The
//     ping that pgxpool sends on one that was idle for a second takes half a second
//     at most.
//   - An attempt to connect ends after [DefaultConnectTimeout].
//
// # Behind PgBouncer
//
// [Config].PgBouncer is for a PgBouncer in transaction mode, where pgx's default
// fails, and describe_exec returns the rows of other callers.
//
// # What else differs from pgxpool
//
//   - A caller waits at the gate and not in the pool: in order, at most
//     gate.Config.MaxWait, and in a queue that is bounded. Pool.Stat therefore knows
//     of no waits, and a pgxpool.AcquireTracer is not called for a caller that gets
//     no permit.
//   - After Close calls return [gate.ErrClosed].
//   - AcquireAllIdle takes no more connections than there are permits free.
//   - A batch whose transaction could not be begun gives its connection back when it
//     is closed.
//   - Config of a pool of Open has the hooks that Open adds. The pool connects in
//     the background under a context without values.
//
// As with pgxpool, a statement whose connection was lost returns pgx's error, and
// not poolgate.ErrOutcomeUnknown. Where pgconn.SafeToRetry reports true of that,
// nothing was sent.
//
// # Together with database/sql
//
// [Pool.DB] is a *poolgate.DB on the same gate and the same connections. Packages
// gather, rows, session and fleet run on it, and so do libraries that take an
// *sql.DB, such as River's riverdatabasesql:
//
//	err := gather.Run(ctx, pool.DB(), gather.Options{Consistency: gather.Pipelined}, statements...)
//
// One limit holds for both. A goroutine that has a transaction of the Pool and asks
// the DB for a connection waits for a second permit, as if it had asked the Pool.
// The gate finds a deadlock of such goroutines and puts them first. So give
// them the lane: DB().OutOfBand or [Pool.OutOfBand].
//
// The DB's connections are as those of package adapters/pgxgate, also in what
// happens to a statement whose context ends or whose connection is lost. But BEGIN
// of a unit of package session is a round trip of its own. With Wrap,
// a connection is closed when a statement on it is cancelled, and a transaction
// whose context ends waits for the statement that runs in it. Which connections are
// kept, and for how long, is up to the pgxpool.
//
// In a fleet, the pgxpool keeps no more connections than the share, except for
// pool_min_conns.
//
// # Observing
//
// Observers of the DB see what the Pool does as well: its checkouts, its statements
// and their arguments. So call DB().Observe for logging, and tracing.Instrument with
// the DB for spans and metrics of waits, refusals, leases and connections. A
// statement is reported when its result was read. COPY is of the kind "copy", and a
// batch is one call of the kind "batch".
//
// Spans of statements come from a tracer of pgx, such as otelpgx, in ConnConfig.Tracer
// of [OpenConfig]. They are children of the caller's span, as that of the lease is.
//
// [Pool.Gate] is for promgate and the debug page.
//
// # What it costs
//
// One allocation for each call of a Pool, and less than a microsecond, see
// BenchmarkAcquire and BenchmarkSelect1.
package pgxpoolgate
