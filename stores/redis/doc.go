// Package redisstore keeps sessions in Redis, or in another server with its
// protocol and Lua scripts such as Valkey: a single server, a server behind
// Sentinel, or a Cluster. Sessions outlive the process, and any number of
// processes can share them.
//
//	store, err := redisstore.Open("redis://localhost:6379/0", nil)
//	...
//	sessions, err := core.New(store, &core.Options{Keys: keys})
//
// [Open] and [OpenOption] create a client with settings that are safe for
// sessions, and succeed even if Redis is down at the start. [New] uses an
// existing client.
//
// The store has all capabilities. A ttl is exact to the millisecond. Versions need one
// script on one key, and only the payload is stored: another program can read and write
// the same keys with GET and SETEX, as a Koa application does, and its writes are
// detected. The commands, which an ACL must allow, are GET, SET, DEL, APPEND, PEXPIRE,
// PERSIST, EXISTS, EVALSHA, EVAL and PING, and in a Cluster also CLUSTER INFO; for the
// lists of owners also TIME, PTTL, ZADD, ZCARD, ZSCORE, ZREM, ZRANGEBYSCORE and
// ZREMRANGEBYSCORE, and SCAN to rebuild them. PTTL is of use to Batch, but not needed;
// so is ROLE on a server before Redis 6.2.
//
// Every command uses one key, so all of them work in a Cluster, except for a
// Batch of several keys, or of a key and the list of an owner: in a Cluster they must
// be in one slot, which keys of sessions are not. Batch then returns
// errors.ErrUnsupported, and the core makes the writes one by one.
//
// The list of an owner ([core.Indexer]) is a sorted set of keys, scored with the time
// when each session ends. A login puts its key there and takes out what has expired,
// in the script that stores the session, and the set expires with its last key: no
// notifications of the server are needed.
//
// [Options].NearCache enables an in-process cache for reads, with entries that
// are at most NearCache stale.
//
// # Guarantees
//
// A call ends when its ctx ends, whatever the server does and however many
// calls wait. There is one exception: a call that is alone on a connection to a
// silent server notices a cancellation only at its deadline. A call that fails
// on a connection from before a restart of the server is sent again; a write
// only if no byte of it can have reached the server. Otherwise a write is sent
// once. If its reply does not come, it may have been applied or may still be:
// the error is [core.ErrOutcomeUnknown]. [core.ErrUnavailable] means that it was
// not applied and will not be.
//
// An unexpected reply, from a broken proxy or from a server that has too many
// clients, ends the connection and not the process.
//
// The last two guarantees need connections made by the store. With a client
// passed to [New], a write on a dead connection is always ErrOutcomeUnknown, and
// an unexpected reply, or one with an invalid size, makes rueidis panic.
//
// The store notices an outage and its end within a second, even without calls. A
// server is also down while it loads its data, while it rejects the password, and
// while it is a replica. [Store.Cause] has the reason.
//
// A server that has become a replica is left: new connections are opened to the
// same name or address, resolved anew, until they lead to a master. So the store
// survives a failover behind a name, an address or a proxy that moves. Behind
// Sentinel and in a Cluster the client is told where the master is.
//
// # Limits
//
// Redis replicates after it has replied. In a failover the last writes of the
// old master may be lost: a lost SET logs a user out, and a lost DEL logs a
// user in again who had logged out. WAIT would make that rarer but not
// impossible, so it is not used. If that is not acceptable, keep sessions on a
// server without failover. The store does not use replicas, where old data is
// normal, not even those that accept writes.
//
// A server that has reached maxmemory evicts keys by its maxmemory-policy. Use
// noeviction, on a server that is not also a cache: new sessions then fail with
// [core.ErrRefused], a batch with a new session changes nothing, and logging out
// still works. With any other policy sessions
// disappear; with allkeys-lru those of inactive users first.
//
// Without appendonly or save a restart of the server loses all sessions. With
// appendfsync everysec, its default, a crash loses the writes of the last
// second.
//
// # Versions
//
// The version of a record is the beginning of the SHA-1 of its bytes, which the
// server computes too when it compares. So a version takes no space in the
// store, and programs that know nothing of versions can write. Two writes of the
// same bytes have the same version. That is harmless: a writer that has read
// the first has read the bytes that it overwrites. Records of the core never
// repeat by chance, since they contain their time and their key.
package redisstore
