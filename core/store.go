package core

import (
	"context"
	"reflect"
	"time"
)

// A Store keeps payloads under keys, each until its ttl is over. These three
// methods are all that an author must write; what a store can do beyond them
// it says by the small interfaces below, and [As] finds them.
//
// Duties of every method: it is safe for concurrent use; it honours the
// deadline and the cancellation of ctx, whatever the client library underneath
// does; it returns raw errors wrapped once with one of this package's
// sentinels ([ErrUnavailable], [ErrTimeout], [ErrOutcomeUnknown], [ErrRefused],
// [ErrCorrupt], [ErrTooLarge]), so that errors.Is tells the class; and no
// error or log line of it contains a key or a payload.
//
// A key is 1 to 250 bytes of printable ASCII without blanks. A payload is any
// bytes, none included. [github.com/gensession/gensession/core/storetest] is
// the whole test of an implementation.
type Store interface {
	// Get returns the payload under key, or an error that is [ErrNotFound]
	// when there is none or its ttl is over, to the precision of the store.
	// The caller owns the slice: the store neither keeps nor changes it.
	Get(ctx context.Context, key string) ([]byte, error)

	// Set stores data under key for ttl, whatever was there before. A ttl of
	// zero keeps it until it is destroyed; a store that can only count coarser
	// units rounds up, never to zero; a negative ttl is an error. The store
	// copies what it keeps: data stays the caller's. A refused Set leaves the
	// old payload as it was.
	Set(ctx context.Context, key string, data []byte, ttl time.Duration) error

	// Destroy removes key. A missing key is no error.
	Destroy(ctx context.Context, key string) error
}

// A Version names one write of one key: any other write of that key gets
// another one. It is opaque, and compared for equality only. Zero is no
// version: in a call it stands for "no such key yet".
type Version uint64

// A Swapper has versions: it can write only if nobody else has written since.
// With it no update of a concurrent request is lost and no destroyed session
// comes back.
//
// Fallback without it: [Store.Get] and [Store.Set], so that the last write
// wins, also over a removal.
type Swapper interface {
	// GetVersion is [Store.Get] with the version of what it returns.
	GetVersion(ctx context.Context, key string) ([]byte, Version, error)

	// SetVersion stores data for ttl, both as in [Store.Set], if the key still
	// has version v: else it changes nothing and returns [ErrConflict] when
	// another write was there, [ErrNotFound] when the key is gone or its ttl
	// over. A zero v creates: it is ErrConflict when the key exists. The
	// decision and the write are one atomic step.
	//
	// It returns the version of this write; zero with a nil error when the
	// server does not tell it, and the core then reads before it writes again.
	SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v Version) (Version, error)
}

// A Toucher can begin a new ttl without rewriting the payload. Touching leaves
// the version as it is.
//
// Fallback without it: the unchanged payload is written again.
type Toucher interface {
	// Touch gives key a new ttl, counted from now and meant as in [Store.Set].
	// It returns [ErrNotFound] when the key is gone or its ttl over, and never
	// brings it back.
	Touch(ctx context.Context, key string, ttl time.Duration) error
}

// A Notifier tells when the store becomes unreachable and when it is back
// (generic-session's disconnect and connect).
//
// Fallback without it: requests meet the store's errors one by one and never
// wait for it.
type Notifier interface {
	// Notify calls f(false) when the store goes down and f(true) when it is up
	// again, in order and never twice the same in a row. A store that is down
	// already calls f(false) before Notify returns; one that is up calls
	// nothing. f must not block and must not call the store. No call begins
	// after stop has returned; stop may be called more than once, but not from
	// within f.
	Notify(f func(up bool)) (stop func())
}

// As finds an ability of s: s itself if it is a T, else what s wraps, asked
// through methods Unwrap() Store. A wrapper has Unwrap only if it is harmless
// to go past it: one that changes keys or payloads must offer the abilities
// itself instead.
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
