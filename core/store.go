package core

import (
	"context"
	"reflect"
	"time"
)

// A Store keeps payloads under keys, each until its ttl expires. An author must
// write these three methods only. The small interfaces below are optional
// capabilities; [As] finds them.
//
// Every method must be safe for concurrent use. It must return when ctx is
// cancelled or its deadline passes, even if the underlying client library does
// not. It wraps each raw error once with a sentinel of this package
// ([ErrUnavailable], [ErrTimeout], [ErrOutcomeUnknown], [ErrRefused],
// [ErrCorrupt], [ErrTooLarge]), so that errors.Is tells the class. Its errors
// and log lines contain neither a key nor a payload.
//
// A server that restarts leaves dead connections behind. A read that finds one is
// made again on another, as often as there may be such connections: it must not
// fail because of a restart that is over. A write is made again only if it was
// certainly not carried out; otherwise it is [ErrOutcomeUnknown].
//
// A read whose ctx is cancelled returns an error that is context.Canceled or
// [ErrUnavailable], never [ErrNotFound], which would log the user out. A reply
// that comes after that must not be taken for that of another call: the store
// either reads it away or closes the connection.
//
// The store removes expired payloads itself, or its server does. The core never
// asks for it, and never uses the key of a visitor again who does not come back:
// a store that removes payloads only when they are used grows without limit.
//
// A key is 1 to 250 bytes of printable ASCII without blanks. A payload is any
// sequence of bytes, also an empty one. The package
// [github.com/gensession/gensession/core/storetest] tests an implementation.
type Store interface {
	// Get returns the payload under key, or an error that is [ErrNotFound] if
	// there is none or its ttl has expired, to the precision of the store. The
	// caller owns the slice: the store neither keeps nor changes it.
	Get(ctx context.Context, key string) ([]byte, error)

	// Set stores data under key for ttl and replaces any previous payload. With
	// a ttl of zero the payload stays until it is destroyed. A store with
	// coarser units rounds the ttl up, never to zero. A ttl can be as long as
	// the largest time.Duration, 292 years: a store whose server allows less
	// uses the maximum, and adding the ttl to a time must not overflow. A
	// negative ttl is an error. The caller keeps ownership of data: the store copies it. A Set
	// that the store refuses leaves the previous payload unchanged.
	Set(ctx context.Context, key string, data []byte, ttl time.Duration) error

	// Destroy removes key. A missing key is no error.
	Destroy(ctx context.Context, key string) error
}

// A Version identifies one write of one key: every write of that key gets a
// different Version. It is opaque and compared for equality only. Zero is not a
// version: as an argument it means that the key must not exist yet.
type Version uint64

// A Swapper is a [Store] with versions: it can write on condition that nobody
// else has written since the read. With it no update of a concurrent request
// is lost, and a destroyed session never comes back.
//
// Fallback without it: [Store.Get] and [Store.Set]. The last write then wins,
// even over a removal.
type Swapper interface {
	// GetVersion is [Store.Get] that also returns the version of the payload.
	GetVersion(ctx context.Context, key string) ([]byte, Version, error)

	// SetVersion stores data for ttl, as [Store.Set] does, if the key still has
	// version v. Otherwise it changes nothing and returns [ErrConflict] if
	// another write came first, or [ErrNotFound] if the key is gone or its ttl
	// has expired. A zero v creates the key, and is ErrConflict if the key
	// exists. The comparison and the write are one atomic step.
	//
	// SetVersion returns the version of this write. It may return zero with a
	// nil error if the server does not report the version; the core then reads
	// before it writes again.
	SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v Version) (Version, error)
}

// A Batcher is a [Swapper] that changes several keys in one atomic step. It
// makes a login one round trip: the new session comes and the old one goes, or
// neither.
//
// Fallback without it: the same writes one after the other, the new session
// first.
type Batcher interface {
	Swapper

	// Batch carries out all writes in one atomic step, or none of them. It
	// returns the version of each write in the order of writes, as SetVersion
	// does, and zero for a removal. It checks all conditions before it changes anything. If a key has
	// another version than its [Write] wants, Batch returns a [*Conflict] with
	// what is there, an error that is [ErrConflict]; if the key is gone or its
	// ttl has expired, [ErrNotFound].
	//
	// Batch returns errors.ErrUnsupported, and does nothing, if it can't change
	// these keys in one step, such as keys in several slots of a cluster. It
	// must support a single Write without an Owner.
	//
	// A batch that only removes keys must work on a server that has no memory
	// left.
	Batch(ctx context.Context, writes ...Write) ([]Version, error)

	// Append appends suffix to the payload of key in one atomic step, whatever
	// its version is, and gives it a new version. The ttl stays. Append returns
	// the payload and the version as they are then. It returns [ErrNotFound],
	// and does nothing, if the key is gone or its ttl has expired. It may return
	// another write's version and payload if that came directly after it.
	Append(ctx context.Context, key string, suffix []byte) ([]byte, Version, error)
}

// A Write is one write of a [Batcher].
type Write struct {
	Key string
	// Data is the new payload, and nil removes the key. The caller keeps
	// ownership: the store copies it.
	Data []byte
	// TTL is how long the payload stays, as in [Store.Set].
	TTL time.Duration
	// Version is the version that the key must have. Zero means that the key
	// must not exist, and is an error with a removal.
	Version Version
	// Note marks a payload that is no session but a note of short life about
	// one that has gone. A store that limits the number of sessions must not
	// count it, and may have a limit of its own for notes, beyond which it
	// removes the oldest.
	Note bool
	// Owner, if it is not empty, is the name of a list of an [Indexer]. A write of a
	// session puts Key into that list for TTL, and a removal or a Note takes it out,
	// in the same step as the write itself. Without Owner no list changes. Only an
	// Indexer gets it.
	Owner string
}

// A Conflict is the [ErrConflict] of a [Batcher]: what a key has instead of the
// version that a [Write] wants. The caller owns Data.
type Conflict struct {
	Write   int // the index of the write
	Data    []byte
	Version Version
}

// Error returns the text of [ErrConflict].
func (c *Conflict) Error() string { return ErrConflict.Error() }

// Unwrap returns [ErrConflict].
func (c *Conflict) Unwrap() error { return ErrConflict }

// An Indexer is a [Batcher] that also keeps lists of keys: those of the sessions of
// one owner. It is what "these are your devices" and "log out everywhere" need.
//
// The name of a list is a string of the form of a key, and is no key: it begins with
// the same prefix. The session itself says whose it is, and a list is a hint: it may
// have keys without a session, and the core takes out what does not belong there. But
// a key that was put in must stay for its ttl. Get, Set, SetVersion, Touch and Append
// leave the lists as they are.
//
// A store can keep the lists apart, or keep the name of one list with each payload, the
// last one, as in a column of a table. Then Owned returns the keys of payloads that are
// no notes, and need not know ttls of its own.
//
// Batch returns errors.ErrUnsupported, and does nothing, if a [Write] has an Owner
// and the list can't be changed in one step with the payloads. The core then calls
// Own before the session is stored, and Disown after it has ended.
//
// Fallback without it: none. New refuses Options.Owners.
type Indexer interface {
	Batcher

	// Owned returns the keys in the list, each once, in any order, and none whose
	// ttl has expired. An empty list is no error.
	Owned(ctx context.Context, owner string) ([]string, error)

	// Own puts key into the list for ttl, counted from now, as [Store.Set] counts.
	// If it is there already, the later of both ends counts. It must not need the
	// payload of key, except in a store that keeps the name with it, and whose Batch
	// supports Owner: there a key without a payload is ignored.
	Own(ctx context.Context, owner, key string, ttl time.Duration) error

	// Disown takes keys out of the list. It is no error if they are not there.
	Disown(ctx context.Context, owner string, keys ...string) error

	// GetMany returns the payload and the version of each of the keys, in their
	// order, in one round trip if the store can. One that is missing has neither.
	GetMany(ctx context.Context, keys ...string) ([]Payload, error)

	// Keys calls f with all keys that begin with prefix, some at a time, each at
	// least once, also those of notes. Keys that come or go meanwhile may be
	// missing. It ends with the error of f. It returns errors.ErrUnsupported if the
	// store can't tell its keys.
	Keys(ctx context.Context, prefix string, f func(keys []string) error) error
}

// A Payload is what a key has. Data is nil if there is nothing; the caller owns it.
type Payload struct {
	Data    []byte
	Version Version
}

// An evicter is an [Indexer] whose server may lose a list, or a part of it, to make
// room. The core finds it by its method, to say so in [Manager.Guarantees].
type evicter interface{ Evicts() bool }

// A Toucher is a [Store] that can renew a ttl without rewriting the payload.
//
// Fallback without it: the core writes the unchanged payload again.
type Toucher interface {
	// Touch sets the ttl of key, counted from now, as [Store.Set] does. It does
	// not change the version. It returns [ErrNotFound] if the key is gone or its
	// ttl has expired, and never restores such a key.
	Touch(ctx context.Context, key string, ttl time.Duration) error
}

// A Notifier is a [Store] that reports when it becomes unreachable and when it
// is reachable again (generic-session's disconnect and connect).
//
// Fallback without it: requests never wait for the store; each gets its error.
type Notifier interface {
	// Notify calls f(false) when the store goes down and f(true) when it is up
	// again, in order and never twice in a row with the same value. If the
	// store is already down, it calls f(false) before Notify returns; if the
	// store is up, it does not call f. f must not block, must not call the
	// store and must not panic: it may run on a goroutine of the store, where
	// nobody hears of it. No call of f begins after stop has returned. stop may be called
	// more than once, but not from within f.
	Notify(f func(up bool)) (stop func())
}

// A Causer is a [Notifier] that knows why it is down. The core puts the cause
// into the errors of requests that can't wait any longer, and into the log.
//
// Fallback without it: errors and log say that the store is down, but not why.
type Causer interface {
	// Cause returns why the store is down, or was when it was down last: the
	// server's reply, "no such host", a failed handshake. It is nil before the
	// first outage. It contains no key, payload or password. It is safe for
	// concurrent use, and does not wait for the server.
	Cause() error
}

// As returns the capability T of s: s itself if it is a T, otherwise the first
// T in the chain of its Unwrap() Store methods. A wrapper may have Unwrap only
// if bypassing it is harmless: a wrapper that changes keys or payloads must
// implement the capabilities itself.
func As[T any](s Store) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		s = w.Unwrap()
	}
	var none T
	return none, false
}

// A keeper is a [Swapper] that holds its payloads in this process, as strings,
// and hands them out and takes them without copying. It is an internal fast
// path: the core finds it by its methods, and stores/memory has them. It is no
// part of the public API.
//
// View and Keep must never block on anything but each other, since the core
// gives them no deadline of their own.
//
// Fallback without it: [Swapper]. The core also falls back when a type embeds a
// keeper; see [keeperOf].
type keeper interface {
	Swapper
	viewKeeper
}

// A viewKeeper has the two methods that make a [Swapper] a keeper.
type viewKeeper interface {
	// View is GetVersion with the payload as a string. The string must never
	// change: a store that overwrites the bytes in place, or returns them to a
	// pool, must not have this method.
	View(ctx context.Context, key string) (string, Version, error)

	// Keep is SetVersion with a string that the store may keep without copying.
	// The first keyLen bytes of text are the key, the rest is the payload.
	Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v Version) (Version, error)
}

// A batchKeeper is a keeper whose batches are not copied either. The core finds
// it as it finds a keeper.
type batchKeeper interface {
	// KeepBatch is Batch with the key in front of each Data, which the store may
	// keep.
	KeepBatch(ctx context.Context, writes []Write) ([]Version, error)
}

// keeperOf returns s as a keeper if the type of s defines View and Keep itself.
// Methods promoted from an embedded store would bypass GetVersion and
// SetVersion of the type that embeds it.
func keeperOf(s Swapper) keeper {
	k, ok := s.(keeper)
	if !ok {
		return nil
	}
	t, promoted := reflect.TypeOf(s), reflect.TypeFor[viewKeeper]()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if f := t.Field(i); f.Anonymous && (f.Type.Implements(promoted) || reflect.PointerTo(f.Type).Implements(promoted)) {
				return nil
			}
		}
	}
	return k
}

// A bettered is a store that knows a better one of this library for the same server,
// for [Manager.Guarantees]. The core finds it by its method, which stores/foreign
// has. It is no part of the public API.
type bettered interface {
	// Better names it, such as "stores/redis"; "" if there is none.
	Better() string
}
