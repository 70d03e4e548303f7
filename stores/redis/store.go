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
	"github.com/gensession/gensession/stores/internal/health"
)

// Options of a store. The zero value and nil are fine.
type Options struct {
	// Timeout is the time that a call may take whose ctx has no deadline; the
	// core's always have one. A ctx whose deadline is more than twice as far
	// away makes a call dearer. Default 500 ms.
	Timeout time.Duration

	// MaxSize is the length of the largest payload; a longer one is
	// [core.ErrTooLarge] and not sent. It must not exceed the server's
	// proto-max-bulk-len, which is 512 MiB: more makes the server hang up.
	// Default 16 MiB.
	MaxSize int

	// NearCache, if not zero, lets reads be answered from copies in the process
	// that are at most so old, without asking the server; bench/RESULTS.md has
	// what that spares. A second is a good choice. Zero, the default, asks the
	// server for each.
	//
	// The server tells of changes (CLIENT TRACKING), so that a copy is mostly
	// gone a round trip after the record has changed. The bound holds also when
	// it does not get through: after that time the server is asked, whatever
	// happened. Writes are never made on the strength of a copy, since they
	// compare versions with the server; a change that was made from an old copy
	// is a conflict, and the core reads again. What this store has written itself
	// it reads at once. Copies never outlive their records; misses are not kept.
	//
	// What it means for a logout: Destroy, Reset and Renew take effect at
	// once in the process that does them. Another process which has read the
	// session within that time may let the old cookie in until the time is over,
	// to read; it can't save anything. Where the end of a session must hold
	// everywhere at once, leave NearCache off.
	//
	// It needs Redis 6 or newer and, in an ACL, +client|tracking and +pttl, and
	// takes up to 33 MiB of memory. The client must be the store's own: [New]
	// refuses it.
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
	cache   *clientCache // nil without Options.NearCache
}

var (
	_ core.Store    = (*Store)(nil)
	_ core.Swapper  = (*Store)(nil)
	_ core.Toucher  = (*Store)(nil)
	_ core.Notifier = (*Store)(nil)
)

// New makes a store that uses a client of the caller, who also closes it, after
// the store. Nil options are fine.
//
// The client is used as it is, though it never caches a session, repeats a read
// or asks a replica for one. Its connections should not outlive a silent server
// by long: a ConnWriteTimeout of a second, as [OpenOption] sets, instead of
// ten.
func New(client rueidis.Client, o *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: no client")
	}
	if o != nil && o.NearCache != 0 {
		return nil, fmt.Errorf("redisstore: %w: Options.NearCache needs a client that tells the store of changes: use Open or OpenOption", errors.ErrUnsupported)
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
	switch {
	case fips140.Enforced():
		return nil, errFIPS
	case s.timeout < 0:
		return nil, fmt.Errorf("redisstore: Options.Timeout is %v", s.timeout)
	case s.maxSize < 0:
		return nil, fmt.Errorf("redisstore: Options.MaxSize is %d", s.maxSize)
	case o.NearCache < 0:
		return nil, fmt.Errorf("redisstore: Options.NearCache is %v", o.NearCache)
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

// GetVersion returns the payload under key, and its version.
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

// read asks the server.
func (s *Store) read(ctx context.Context, r request) ([]byte, error) {
	reply, err := s.do(ctx, r)
	if err != nil {
		return nil, err
	}
	if reply.IsNil() {
		return nil, errNotFound
	}
	data, err := reply.AsBytes() // made for this reply: nobody else has it
	if err != nil {
		return nil, errReply
	}
	return data, nil
}

// Set stores data under key for ttl, zero being without an end.
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if err := s.fits(data, ttl); err != nil {
		return err
	}
	_, err := s.do(ctx, request{op: opSet, key: key, data: string(data), ms: millis(ttl)})
	return err
}

// SetVersion is Set if the version of key is v still, or if there is no key
// and v is zero.
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

// Touch gives key a new ttl, counted from now.
func (s *Store) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	r := request{op: opTouch, key: key, ms: millis(ttl)}
	if ttl == 0 {
		r.op = opPersist
	}
	reply, err := s.do(ctx, r)
	if err == nil && ttl == 0 && isZero(reply) { // it had no ttl, or there is none
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

// Notify calls f(false) when the server can't be reached and f(true) when it
// is back, each within a second; and f(false) when the store is closed.
func (s *Store) Notify(f func(up bool)) (stop func()) { return s.health.Notify(f) }

// Close ends what the store runs, and closes the client unless it is the
// user's; calls in flight end first, for which a server that does not answer
// has a second. Calls after it fail with [core.ErrUnavailable]. The second
// Close does nothing. The error is always nil.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.closed.Store(true)
		s.health.Close()
		if s.dialer != nil {
			s.dialer.close(&s.client)
		}
	})
	return nil
}

// fits checks what is the same for all writes.
func (s *Store) fits(data []byte, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	if len(data) > s.maxSize {
		return errTooLarge
	}
	return nil
}

// millis rounds up, so that no key goes too early.
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
