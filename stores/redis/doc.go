// Package redisstore keeps sessions in Redis, or in what speaks its protocol
// and has its Lua scripts (Valkey and others): a single server, one behind
// Sentinel, or a Cluster. Sessions outlive the process, and any number of
// processes share them.
//
//	store, err := redisstore.Open("redis://localhost:6379/0", nil)
//	...
//	sessions, err := core.New(store, &core.Options{Keys: keys})
//
// [Open] and [OpenOption] make a client with settings that are safe for
// sessions, and work also when Redis is down at the start. [New] takes a client
// that there is already.
//
// It has all abilities. A ttl is exact to the millisecond. Versions need one
// script on one key, and what is stored is the payload and nothing else: a
// program that reads and writes the same keys with GET and SETEX, as a Koa
// application does, sees its own kind of records and has its writes noticed.
// Every command names one key, so all of it works in a Cluster; the commands
// are GET, SET, DEL, PEXPIRE, PERSIST, EXISTS, EVALSHA, EVAL and PING, in a
// Cluster CLUSTER INFO too, for which a user of an ACL should have leave.
//
// [Options].NearCache answers reads from copies in the process that are at most
// so old, for those to whom speed is worth that.
//
// # What it promises
//
// A call ends when its ctx does, whatever the server does and however many
// calls wait with it. There is one limit: a call that is alone on a connection
// when the server falls silent notices at its deadline only that it was
// cancelled before. A call that meets a connection which a restart of the
// server left behind is sent again, a write only if nothing of it can have
// reached the server. Else a write is sent once: if its answer does not come it
// may have been applied, or still be, and that is [core.ErrOutcomeUnknown].
// [core.ErrUnavailable] says that it was not applied and will not be.
//
// A reply that no command asked for, as a broken proxy may send, or a server
// that has enough clients, ends the connection and not the process.
//
// The last two need connections that the store has made: on a client given to
// [New], which does not tell, a write that met a dead connection is
// ErrOutcomeUnknown always, and a reply too many, or of a size that none has, makes rueidis panic.
//
// An outage is noticed within a second and so is its end, without a call
// having to find out.
//
// # What it can't promise
//
// Redis replicates after it has answered. When a replica takes over, the last
// writes of the old master may be lost: a lost SET logs somebody out, and a
// lost DEL logs somebody in again who had logged out. WAIT makes that rarer and
// not impossible, so it is not used; who can't live with it keeps sessions on a
// server without failover. Replicas are never read, since that would have the
// same effect every day.
//
// A server that has reached maxmemory removes keys by its maxmemory-policy. Let
// that be noeviction, on a server that is not also a cache: then new sessions
// are refused with [core.ErrRefused], and logging out works still. With any
// other policy sessions vanish, and with allkeys-lru those of quiet users
// first.
//
// Without appendonly or save a restart of the server loses all sessions. With
// appendfsync everysec, its default, it loses those written in the last second.
//
// # Versions
//
// The version of a record is the beginning of the SHA-1 of its bytes, which
// the server computes too when it compares. So a version costs no byte in the
// store and survives writers that know nothing of it. Two writes of the same
// bytes have the same version: that is harmless, since who read the first and
// overwrites the second has read what it overwrites. The core's own records
// never repeat by chance; they name their time and their key.
package redisstore
