// Package databases measures stores/sql: what it adds to a statement of the bare
// driver, what the stores of scs take beside it, what a million rows cost, and what
// requests notice of the sweeper.
//
// # What a deadline costs
//
// Every call of the core has a deadline, and scs waits without limit. A driver has to
// watch a ctx that can end: go-sql-driver/mysql has a goroutine for each connection that
// it tells of each statement, modernc.org/sqlite starts one for each statement, and
// database/sql one for the rows of each query, with any driver. On one processor
// (GOMAXPROCS=1, BenchmarkDeadline) a deadline adds 3 to 12 % to a statement. With a
// second processor it wakes a thread there, too. On a machine with two of them a statement
// of a single caller takes 1.6 to 1.8 times as long on MariaDB as without a deadline, 1.1
// to 1.4 times on PostgreSQL, and on SQLite up to 3 times: presumably that thread takes
// the processor that the server needs, since with one there is no such difference.
//
// With a server the store can't avoid the watching: to enforce the deadline itself it
// would have to close a connection under the driver. With SQLite it can, and
// stores/sqlite does: a statement that visits a few rows by an index need not be
// interrupted.
//
// What is left with one processor is on PostgreSQL nothing that could be told from the
// noise of a very busy machine, and on MariaDB mostly 1.1 to 1.3 times the time of scs,
// up to 1.6 for swap. That is presumably the statements: ours have the server's clock, a
// version and an owner in them, and MariaDB reads their text anew each time.
//
// To take a connection from the pool first ([database/sql.DB.Conn]) costs two
// allocations and a few per cent at most. Statements that are kept prepared save
// 10 to 20 % on MariaDB, and nothing on PostgreSQL, where pgx does so by itself. The store
// makes none: database/sql keeps those of a pool, not those of the connection on which a
// transaction runs, and proxies such as PgBouncer have another server behind a connection
// each time.
package databases
