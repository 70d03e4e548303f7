package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
)

// An Op names a method of a store, for the hooks of a [Faulty].
type Op string

// The methods of [core.Store] and of its abilities that reach a server.
const (
	OpGet        Op = "get"
	OpSet        Op = "set"
	OpDestroy    Op = "destroy"
	OpGetVersion Op = "get-version"
	OpSetVersion Op = "set-version"
	OpTouch      Op = "touch"
)

// A Hook is told of one call of a [Faulty]. An error of it is what the caller
// gets. It may block, to put calls of several goroutines in the order that a
// test wants, may call the wrapped store, and is called from many goroutines
// at once. It should return early when ctx ends, as a store has to.
type Hook func(ctx context.Context, op Op, key string) error

// A Faulty is a store that does what the store it wraps does, until a test
// makes it fail, wait or go down. It counts the calls, too.
//
// It has the abilities of the wrapped store, not more: [core.As] finds a
// [core.Swapper], [core.Toucher] or [core.Notifier] in it exactly if it finds
// one in the wrapped store, and their calls go by the hooks as all others do.
// Any other ability stays hidden, since a call of it would go past the hooks.
//
// It is safe for concurrent use, and so are the methods that steer it.
type Faulty struct {
	store    core.Store
	swapper  core.Swapper  // nil if the store is none
	toucher  core.Toucher  // nil if the store is none
	notifier core.Notifier // nil if the store is none
	chain    core.Store    // the abilities, for Unwrap

	mu            sync.Mutex
	before, after Hook
	calls         map[Op]int
	down          bool

	telling   sync.Mutex // held while listeners are told, taken before mu
	listeners map[*listener]struct{}
}

// NewFaulty wraps s. The result is a store as good as s until told otherwise.
func NewFaulty(s core.Store) *Faulty {
	f := &Faulty{store: s, calls: map[Op]int{}, listeners: map[*listener]struct{}{}}
	// A method of Faulty itself could not be taken away again when s lacks the
	// ability. So each one that s has is a link of a chain that As walks down.
	if n, ok := core.As[core.Notifier](s); ok {
		f.notifier = n
		f.chain = faultyNotifier{f, f.chain}
	}
	if t, ok := core.As[core.Toucher](s); ok {
		f.toucher = t
		f.chain = faultyToucher{f, f.chain}
	}
	if w, ok := core.As[core.Swapper](s); ok {
		f.swapper = w
		f.chain = faultySwapper{f, f.chain}
	}
	return f
}

// Before sets the hook that is called before each call reaches the wrapped
// store; nil for none. When it returns an error, the store is not reached.
func (f *Faulty) Before(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = h
}

// After sets the hook that is called after each call that the wrapped store
// has carried out without an error; nil for none. A write that it answers with
// an error has been applied all the same: so the answer that got lost on its
// way back is played, which is [core.ErrOutcomeUnknown].
func (f *Faulty) After(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = h
}

// Calls tells how many calls of op have begun, failed ones included.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Down makes the store unreachable: its listeners are told, and every call
// fails with [core.ErrUnavailable] until [Faulty.Up].
func (f *Faulty) Down() { f.set(true) }

// Up makes the store reachable again.
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

// Get is Get of the wrapped store.
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

// Set is Set of the wrapped store.
func (f *Faulty) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return f.do(ctx, OpSet, key, func() error { return f.store.Set(ctx, key, data, ttl) })
}

// Destroy is Destroy of the wrapped store.
func (f *Faulty) Destroy(ctx context.Context, key string) error {
	return f.do(ctx, OpDestroy, key, func() error { return f.store.Destroy(ctx, key) })
}

// Unwrap leads [core.As] to the abilities of the wrapped store, all of them
// with the hooks. It does not lead past them.
func (f *Faulty) Unwrap() core.Store { return f.chain }

// do is the way of every call.
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
		return fmt.Errorf("%w: told to be down", core.ErrUnavailable)
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
