// Package sqlstore keeps sessions in a table of PostgreSQL, MariaDB, MySQL or SQLite,
// on a [database/sql.DB] of the application. Sessions outlive the process, and any
// number of processes can share them.
//
//	db, err := sql.Open("pgx", "postgres://app@localhost/app")
//	...
//	store, err := sqlstore.New(db, sqlstore.PostgreSQL, nil)
//	...
//	err = store.CreateTable(ctx) // or Dialect.Schema, for a tool for migrations
//	...
//	sessions, err := core.New(store, &core.Options{Keys: keys})
//
// The package imports no driver. It is tested with pgx on PostgreSQL 15, with
// go-sql-driver/mysql on MariaDB 10.11, and with modernc.org/sqlite; stores/sqlite
// opens a file with that one. MySQL 8 speaks the same statements, and is not tested
// here.
//
// # The driver
//
// A call ends when its ctx ends as far as the driver lets it. pgx, go-sql-driver/mysql
// and modernc.org/sqlite do. lib/pq does not: its calls wait for a server that is silent,
// and so do the requests; and a write of which it does not tell whether it was sent is
// [core.ErrOutcomeUnknown]. The same is said of each driver for PostgreSQL that is not pgx
// itself, such as one that wraps another for traces, since lib/pq may be below: there a
// write on a connection from before a restart is not made again. Prefer pgx, with its own
// tracer.
//
// A database of SQLite in memory (:memory:) ends with its connection, which the store
// leaves after a call that was cancelled: stores/memory keeps sessions in memory.
//
// With go-sql-driver/mysql set interpolateParams=true in the DSN: without it, each
// statement is two round trips; and maxAllowedPacket=0, so that a payload that is too
// large for the server is [core.ErrTooLarge] and not a connection that breaks.
// clientFoundRows makes no difference. Settings that change what a statement means are
// refused: autocommit=0, EMPTY_STRING_IS_NULL in sql_mode, and the
// isolation level READ UNCOMMITTED. Each connection is asked once, before its first
// statement: an application that changes them later, on a connection of a pool that it
// shares with the store, is not noticed. Limit the pool
// (SetMaxOpenConns) to what the server takes, and let it keep as many idle
// (SetMaxIdleConns): database/sql keeps two, and opens a connection for most calls of a
// busy process.
//
// Behind a proxy that gives each transaction another connection, as PgBouncer with
// pool_mode=transaction, set default_query_exec_mode=exec for pgx. Its default prepares
// statements, which fails there; and describe_exec must not be used there: it may
// execute what another client has prepared.
//
// # Guarantees
//
// The store has all capabilities. Each call but a batch is one statement; only one
// that is refused asks in a second one why, and on databases other than PostgreSQL
// Append reads what it has written. A batch is a transaction, and on PostgreSQL that
// of a login is one statement. From READ COMMITTED on the isolation level does not
// matter: each statement compares the version in the row that it locks.
//
// The clock of the server decides when a session ends; no time of a process is ever
// sent. A ttl is exact to one or two milliseconds. MariaDB and MySQL read the clock
// when a statement begins, also if it then has to wait for a lock.
//
// [core.ErrUnavailable] means that a call was not carried out and will not be. A write
// whose reply does not come is [core.ErrOutcomeUnknown]. A read that fails on a
// connection from before a restart is made again on another one; so is a write that
// the driver has certainly not sent. A deadlock, a serialization failure or a locked
// file is tried again until the deadline of the call. Errors have their class and the
// code of the server, and never its text, in which servers quote keys and values.
//
// The store notices an outage and its end within a second, even without calls. A
// server is also down while it is read-only, as a standby is: connections that lead to
// one are closed, so that the driver dials again. [Store.Cause] has the reason. What
// a standby had not yet received when it took over is lost: see the documents of your
// server about synchronous replication.
//
// # The table
//
// One row is one session: its key, payload, version, when it expires and when the
// sweeper looks at it, in milliseconds since 1970. What a touch changes has no index,
// so that on PostgreSQL it is a HOT update: the row's new version goes into the same
// page, and no index grows. The sweeper sets those that were touched the time to look
// again, once in their life. See [Options].SweepEvery, [Options].Logger, which is told
// when it fails, and [Store.Sweep].
package sqlstore
