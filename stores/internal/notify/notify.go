// Package notify keeps the listeners of a store that is a core.Notifier.
package notify

import (
	"sync"
	"sync/atomic"

	"github.com/gensession/gensession/stores/internal/caught"
)

// Listeners are told when a store goes down and comes back. The zero value is
// up. It is safe for concurrent use; a listener may not call back.
type Listeners struct {
	down atomic.Bool

	mu     sync.Mutex // held while listeners are told
	closed bool
	set    map[*func(up bool)]struct{}
}

// Up reports whether the store is up.
func (l *Listeners) Up() bool { return !l.down.Load() }

// Notify is that of a core.Notifier: f is called at once if the store is down.
func (l *Listeners) Notify(f func(up bool)) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down.Load() {
		f(false)
	}
	if l.closed {
		return func() {}
	}
	if l.set == nil {
		l.set = make(map[*func(bool)]struct{})
	}
	l.set[&f] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.set, &f)
	}
}

// Tell tells the listeners if that is news.
func (l *Listeners) Tell(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell(up)
}

func (l *Listeners) tell(up bool) {
	if l.closed || up == l.Up() {
		return
	}
	l.down.Store(!up)
	for f := range l.set {
		_ = caught.Do(func() { (*f)(up) }) // nobody waits for it, and the others have to be told
	}
}

// Close takes the store down for good. The second Close does nothing.
func (l *Listeners) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell(false)
	l.closed = true
	clear(l.set)
}
