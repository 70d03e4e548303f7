package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
)

// An Op names a method of a store, for the hooks of a [Faulty].
type Op string

// The methods of [core.Store] and of its capabilities that access a server.
const (
	OpGet        Op = "get"
	OpSet        Op = "set"
	OpDestroy    Op = "destroy"
	OpGetVersion Op = "get-version"
	OpSetVersion Op = "set-version"
	OpTouch      Op = "touch"
	OpBatch      Op = "batch"
	OpAppend     Op = "append"
	OpOwned      Op = "owned"
	OpOwn        Op = "own"
	OpDisown     Op = "disown"
	OpGetMany    Op = "get-many"
	OpKeys       Op = "keys"
)

// A Hook is called for one call of a [Faulty]. The caller gets its error. The key
// of an [OpBatch] is that of the first write, of an [OpGetMany] the first one, of an
// [OpKeys] the prefix, and of [OpOwned], [OpOwn] and [OpDisown] the name of the list. A Hook
// may block, to order the calls of several goroutines, and may call the wrapped
// store. It must be safe for concurrent use. It should return when ctx ends, as a
// store must.
type Hook func(ctx context.Context, op Op, key string) error

// A Faulty wraps a store. It passes calls on, until a test makes it fail, wait or
// go down. It also counts the calls.
//
// It has the capabilities of the wrapped store: [core.As] finds a [core.Swapper],
// [core.Batcher], [core.Indexer], [core.Toucher], [core.Notifier] or [core.Causer] in it if and
// only if it finds one in the wrapped store. Their calls run the hooks, too. Other capabilities are hidden,
// since their calls would bypass the hooks.
//
// All methods are safe for concurrent use.
type Faulty struct {
	store    core.Store
	swapper  core.Swapper  // nil if the store is none
	batcher  core.Batcher  // nil if the store is none
	indexer  core.Indexer  // nil if the store is none
	toucher  core.Toucher  // nil if the store is none
	notifier core.Notifier // nil if the store is none
	causer   core.Causer   // nil if the store is none
	chain    core.Store    // the capabilities, for Unwrap

	mu            sync.Mutex
	before, after Hook
	calls         map[Op]int
	down          bool

	telling   sync.Mutex // held while listeners are told, taken before mu
	listeners map[*listener]struct{}
}

// NewFaulty returns a Faulty that wraps s.
func NewFaulty(s core.Store) *Faulty {
	f := &Faulty{store: s, calls: map[Op]int{}, listeners: map[*listener]struct{}{}}
	// Faulty itself can't have the methods, since s may lack the capability. So
	// each capability of s is a link of a chain that As follows.
	if n, ok := core.As[core.Notifier](s); ok {
		f.notifier = n
		f.chain = faultyNotifier{f, f.chain}
	}
	if c, ok := core.As[core.Causer](s); ok {
		f.causer = c
		f.chain = faultyCauser{f, f.chain}
	}
	if t, ok := core.As[core.Toucher](s); ok {
		f.toucher = t
		f.chain = faultyToucher{f, f.chain}
	}
	if w, ok := core.As[core.Swapper](s); ok {
		f.swapper = w
		f.chain = faultySwapper{f, f.chain}
	}
	if b, ok := core.As[core.Batcher](s); ok { // after that, since it is also a Swapper
		f.batcher = b
		f.chain = faultyBatcher{faultySwapper{f, f.chain}}
	}
	if i, ok := core.As[core.Indexer](s); ok {
		f.indexer = i
		f.chain = faultyIndexer{faultyBatcher{faultySwapper{f, f.chain}}}
	}
	return f
}

// Before sets the hook that runs before each call of the wrapped store; nil
// removes it. If it returns an error, the wrapped store is not called.
func (f *Faulty) Before(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = h
}

// After sets the hook that runs after each successful call of the wrapped store;
// nil removes it. If it returns an error for a write, the write was applied
// nevertheless. So a test can simulate a lost reply with
// [core.ErrOutcomeUnknown].
func (f *Faulty) After(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = h
}

// Calls returns the number of calls of op that have begun, including failed ones.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Down makes the store unreachable: it notifies the listeners, and every call
// fails with [core.ErrUnavailable] until [Faulty.Up].
func (f *Faulty) Down() { f.set(true) }

// Up makes the store reachable again and notifies the listeners.
func (f *Faulty) Up() { f.set(false) }

func (f *Faulty) set(down bool) {
	f.telling.Lock()
	defer f.telling.Unlock()
	f.mu.Lock()
	f.down = down
	f.mu.Unlock()
	for l := range f.listeners {
		l.tell(down)
	}
}

// Get calls Get of the wrapped store.
func (f *Faulty) Get(ctx context.Context, key string) (data []byte, err error) {
	err = f.do(ctx, OpGet, key, func() error {
		data, err = f.store.Get(ctx, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Set calls Set of the wrapped store.
func (f *Faulty) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return f.do(ctx, OpSet, key, func() error { return f.store.Set(ctx, key, data, ttl) })
}

// Destroy calls Destroy of the wrapped store.
func (f *Faulty) Destroy(ctx context.Context, key string) error {
	return f.do(ctx, OpDestroy, key, func() error { return f.store.Destroy(ctx, key) })
}

// Unwrap returns a store with the capabilities of the wrapped store, for
// [core.As]. Their calls run the hooks.
func (f *Faulty) Unwrap() core.Store { return f.chain }

// do executes a call with its hooks.
func (f *Faulty) do(ctx context.Context, op Op, key string, call func() error) error {
	f.mu.Lock()
	f.calls[op]++
	before := f.before
	f.mu.Unlock()

	if before != nil {
		if err := before(ctx, op, key); err != nil {
			return err
		}
	}

	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	if down {
		return fmt.Errorf("%w: the test has called Down", core.ErrUnavailable)
	}

	if err := call(); err != nil {
		return err
	}

	f.mu.Lock()
	after := f.after
	f.mu.Unlock()
	if after != nil {
		return after(ctx, op, key)
	}
	return nil
}

// The links of the chain: each is the Faulty and one ability more.

type faultySwapper struct {
	*Faulty
	next core.Store
}

func (w faultySwapper) Unwrap() core.Store { return w.next }

func (w faultySwapper) GetVersion(ctx context.Context, key string) (data []byte, v core.Version, err error) {
	err = w.do(ctx, OpGetVersion, key, func() error {
		data, v, err = w.swapper.GetVersion(ctx, key)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return data, v, nil
}

func (w faultySwapper) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (now core.Version, err error) {
	err = w.do(ctx, OpSetVersion, key, func() error {
		now, err = w.swapper.SetVersion(ctx, key, data, ttl, v)
		return err
	})
	if err != nil {
		return 0, err
	}
	return now, nil
}

type faultyBatcher struct{ faultySwapper }

func (w faultyBatcher) Batch(ctx context.Context, writes ...core.Write) (versions []core.Version, err error) {
	key := ""
	if len(writes) > 0 {
		key = writes[0].Key
	}
	err = w.do(ctx, OpBatch, key, func() error {
		versions, err = w.batcher.Batch(ctx, writes...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return versions, nil
}

func (w faultyBatcher) Append(ctx context.Context, key string, suffix []byte) (data []byte, v core.Version, err error) {
	err = w.do(ctx, OpAppend, key, func() error {
		data, v, err = w.batcher.Append(ctx, key, suffix)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return data, v, nil
}

type faultyIndexer struct{ faultyBatcher }

func (w faultyIndexer) Owned(ctx context.Context, owner string) (keys []string, err error) {
	err = w.do(ctx, OpOwned, owner, func() error {
		keys, err = w.indexer.Owned(ctx, owner)
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

func (w faultyIndexer) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	return w.do(ctx, OpOwn, owner, func() error { return w.indexer.Own(ctx, owner, key, ttl) })
}

func (w faultyIndexer) Disown(ctx context.Context, owner string, keys ...string) error {
	return w.do(ctx, OpDisown, owner, func() error { return w.indexer.Disown(ctx, owner, keys...) })
}

func (w faultyIndexer) GetMany(ctx context.Context, keys ...string) (found []core.Payload, err error) {
	key := ""
	if len(keys) > 0 {
		key = keys[0]
	}
	err = w.do(ctx, OpGetMany, key, func() error {
		found, err = w.indexer.GetMany(ctx, keys...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (w faultyIndexer) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	return w.do(ctx, OpKeys, prefix, func() error { return w.indexer.Keys(ctx, prefix, f) })
}

type faultyToucher struct {
	*Faulty
	next core.Store
}

func (w faultyToucher) Unwrap() core.Store { return w.next }

func (w faultyToucher) Touch(ctx context.Context, key string, ttl time.Duration) error {
	return w.do(ctx, OpTouch, key, func() error { return w.toucher.Touch(ctx, key, ttl) })
}

type faultyNotifier struct {
	*Faulty
	next core.Store
}

func (w faultyNotifier) Unwrap() core.Store { return w.next }

func (w faultyNotifier) Notify(tell func(up bool)) (stop func()) {
	f := w.Faulty
	l := &listener{f: tell, up: true}

	f.telling.Lock()
	f.listeners[l] = struct{}{}
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	l.tell(down)
	f.telling.Unlock()

	// Outside of the lock: the store may call back at once.
	stopStore := f.notifier.Notify(func(up bool) {
		f.telling.Lock()
		defer f.telling.Unlock()
		l.storeDown = !up
		f.mu.Lock()
		down := f.down
		f.mu.Unlock()
		l.tell(down)
	})
	return func() {
		stopStore()
		f.telling.Lock()
		defer f.telling.Unlock()
		l.f = nil
		delete(f.listeners, l)
	}
}

type faultyCauser struct {
	*Faulty
	next core.Store
}

func (w faultyCauser) Unwrap() core.Store { return w.next }

// Cause is that of the wrapped store, unless the test plays the outage.
func (w faultyCauser) Cause() error {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down {
		return errDown
	}
	return w.causer.Cause()
}

var errDown = errors.New("storetest: Faulty.Down was called")

// A listener hears of both: what the test plays and what the store itself says.
type listener struct {
	f         func(up bool) // nil when stopped
	storeDown bool
	up        bool // what it was told last
}

// tell calls the listener if the news is any to it.
func (l *listener) tell(down bool) {
	up := !down && !l.storeDown
	if l.f != nil && up != l.up {
		l.up = up
		l.f(up)
	}
}
