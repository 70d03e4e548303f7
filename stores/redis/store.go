package redisstore

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/duration"
	"github.com/gensession/gensession/stores/internal/health"
)

// Options configure a store. Nil and the zero value are valid.
type Options struct {
	// Timeout is the timeout of a call whose ctx has no deadline; calls of the
	// core always have one. A call with a deadline of more than twice Timeout
	// is more expensive. Default 500 ms.
	Timeout time.Duration

	// MaxSize is the maximum size of a payload. A larger payload is not sent,
	// and the error is [core.ErrTooLarge]. MaxSize must not exceed the server's
	// proto-max-bulk-len (512 MiB by default), above which the server closes the
	// connection. Default 16 MiB.
	MaxSize int

	// NearCache, if not zero, enables an in-process cache: reads return entries
	// that are at most NearCache old without asking the server. A second is a
	// good choice; bench/RESULTS.md has the gain. Zero, the default, disables
	// the cache.
	//
	// The server reports changes (CLIENT TRACKING), so that an entry is usually
	// invalidated one round trip after the record has changed. If a report is
	// lost, the entry still expires after NearCache. Writes do not depend on the
	// cache, since the server compares versions: a change that is based on an
	// old entry is a conflict, and the core reads again. The store always reads
	// its own writes. Entries never outlive their records. Misses are not
	// cached.
	//
	// At a logout, Destroy, Reset and Renew take effect at once in the process
	// that calls them. Another process that has read the session within the
	// last NearCache may accept the old cookie for reading until the entry
	// expires; it can't save. If a logout must take effect everywhere at once,
	// leave NearCache zero.
	//
	// NearCache needs Redis 6 or newer, and in an ACL +client|tracking and
	// +pttl. It uses up to 33 MiB of memory. It needs a client made by the store:
	// [New] returns an error.
	NearCache time.Duration
}

// A Store keeps sessions in Redis. It is safe for concurrent use.
type Store struct {
	timeout time.Duration
	maxSize int

	client  atomic.Pointer[rueidis.Client] // nil until there has been a connection
	dialer  *dialer                        // nil if the client is the user's
	health  *health.Prober
	closed  atomic.Bool
	once    sync.Once
	limiter limiter
	slotted atomic.Bool  // the server has refused a batch for the slots of its keys
	cache   *clientCache // nil without Options.NearCache
	conns   conns        // those of dialer

	readonly  atomic.Bool // a write was refused since the last probe, as by a replica
	dispersed atomic.Bool // the user's client may have connections to a replica; see leave
}

var (
	_ core.Store    = (*Store)(nil)
	_ core.Swapper  = (*Store)(nil)
	_ core.Batcher  = (*Store)(nil)
	_ core.Indexer  = (*Store)(nil)
	_ core.Toucher  = (*Store)(nil)
	_ core.Notifier = (*Store)(nil)
	_ core.Causer   = (*Store)(nil)
)

// Format does not show what is in the store, under any verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session store")) }

// New returns a store that uses a client of the caller. The caller closes the
// client, after the store. Nil options are valid.
//
// The store keeps the settings of the client, but does not use its cache, its
// retries of reads or its replicas. Set ConnWriteTimeout to a second, as
// [OpenOption] does, in place of the default of ten: it limits how long a
// connection to a silent server stays open. When the server has become a replica,
// the store sends QUIT, so that the client connects again, perhaps to another one.
func New(client rueidis.Client, o *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: New: the client is nil")
	}
	if o != nil && o.NearCache != 0 {
		return nil, fmt.Errorf("redisstore: %w: Options.NearCache needs a client that reports changes to the store: use Open or OpenOption", errors.ErrUnsupported)
	}
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	s.client.Store(&client)
	return s, nil
}

func newStore(o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	s := &Store{timeout: o.Timeout, maxSize: o.MaxSize}
	if err := errors.Join(
		duration.Check("redisstore: Options.Timeout", o.Timeout, 24*time.Hour),
		duration.Check("redisstore: Options.NearCache", o.NearCache, 24*time.Hour),
	); err != nil {
		return nil, err
	}
	switch {
	case fips140.Enforced():
		return nil, errFIPS
	case s.maxSize < 0:
		return nil, fmt.Errorf("redisstore: Options.MaxSize is %d", s.maxSize)
	case o.NearCache > 0:
		s.cache = newClientCache(o.NearCache)
	}
	if s.timeout == 0 {
		s.timeout = 500 * time.Millisecond
	}
	if s.maxSize == 0 {
		s.maxSize = 16 << 20
	}
	s.limiter.init()
	s.health = health.New(s.probe)
	return s, nil
}

// Get returns the payload under key.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if s.cache != nil {
		data, _, err := s.cachedRead(ctx, key)
		return data, err
	}
	return s.read(ctx, request{op: opGet, key: key})
}

// GetVersion returns the payload under key and its version.
func (s *Store) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	if s.cache != nil {
		return s.cachedRead(ctx, key)
	}
	data, err := s.read(ctx, request{op: opGet, key: key})
	if err != nil {
		return nil, 0, err
	}
	return data, digest(data), nil
}

// read reads from the server.
func (s *Store) read(ctx context.Context, r request) ([]byte, error) {
	reply, err := s.do(ctx, r)
	if err != nil {
		return nil, err
	}
	if reply.IsNil() {
		return nil, errNotFound
	}
	data, err := reply.AsBytes() // made for this reply and not shared
	if err != nil {
		return nil, errReply
	}
	return data, nil
}

// Set stores data under key for ttl. A ttl of zero has no end.
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if err := s.fits(data, ttl); err != nil {
		return err
	}
	_, err := s.do(ctx, request{op: opSet, key: key, data: string(data), ms: millis(ttl)})
	return err
}

// SetVersion is Set on condition that key still has version v, or does not exist
// if v is zero.
func (s *Store) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	if err := s.fits(data, ttl); err != nil {
		return 0, err
	}
	r := request{op: opSwap, key: key, data: string(data), ms: millis(ttl), version: v}
	if v == 0 {
		r.op = opCreate
	}
	reply, err := s.do(ctx, r)
	switch {
	case err != nil:
		return 0, err
	case reply.IsNil():
		return 0, errConflict // SET NX
	case reply.IsInt64():
		if n, _ := reply.AsInt64(); n == swapGone {
			return 0, errNotFound
		}
		return 0, errConflict
	}
	return digest(data), nil
}

// Touch sets the ttl of key, counted from now.
func (s *Store) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	r := request{op: opTouch, key: key, ms: millis(ttl)}
	if ttl == 0 {
		r.op = opPersist
	}
	reply, err := s.do(ctx, r)
	if err == nil && ttl == 0 && isZero(reply) { // the key has no ttl, or does not exist
		reply, err = s.do(ctx, request{op: opExists, key: key})
	}
	if err == nil && isZero(reply) {
		err = errNotFound
	}
	return err
}

// Destroy removes key.
func (s *Store) Destroy(ctx context.Context, key string) error {
	_, err := s.do(ctx, request{op: opDestroy, key: key})
	return err
}

// Notify calls f(false) when the server can't be used, and f(true) when it can be
// used again, each within a second. A server can't be used while it is unreachable,
// rejects the password, loads its data, or is a replica. It calls f(false) when the
// store is closed.
func (s *Store) Notify(f func(up bool)) (stop func()) { return s.health.Notify(f) }

// Cause returns why the server can't be used, or couldn't be used when the store was
// down last.
func (s *Store) Cause() error {
	if s.closed.Load() {
		return errClosed
	}
	return s.health.Cause()
}

// Close stops the goroutines of the store, and closes the client unless it was passed
// to [New]. It waits for calls in flight, at most a second if the server does not
// reply, and at most two whatever the client does. Later calls fail with
// [core.ErrUnavailable]. A second Close does nothing. The error is always nil.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.closed.Store(true)
		s.health.Close()
		if s.dialer != nil {
			s.dialer.close(&s.client, &s.conns)
		}
	})
	return nil
}

// fits checks the size and the ttl of a write.
func (s *Store) fits(data []byte, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	if len(data) > s.maxSize {
		return errTooLarge
	}
	return nil
}

// millis returns ttl in milliseconds, rounded up so that no key expires early.
func millis(ttl time.Duration) int64 {
	ms := int64(ttl / time.Millisecond)
	if ttl%time.Millisecond > 0 {
		ms++
	}
	return ms
}

func isZero(reply rueidis.RedisMessage) bool {
	n, err := reply.AsInt64()
	return err == nil && n == 0
}
