// Package health detects whether a server is reachable, for stores that implement
// core.Notifier.
//
// Only a probe changes the state: a failed probe means down, a successful one means
// up. Calls of the store report their results, and a failure causes an immediate
// probe; a few slow answers are not an outage. Without reports there are several
// probes per second, so that an outage and its end are detected within a second even
// if the store is not used. While calls are answered there is about one per second,
// since a server may answer what is asked and yet not be the right one.
package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/stores/internal/caught"
	"github.com/gensession/gensession/stores/internal/notify"
)

const (
	// Two rests and one timeout together are less than a second. Two, since after
	// the first no probe is sent if a call was answered.
	rest    = 200 * time.Millisecond
	timeout = 550 * time.Millisecond

	// seldom is the longest time without a probe.
	seldom = 800 * time.Millisecond

	// gap is the minimum time from the start of a probe to the next requested
	// one, so that a thousand calls that fail together cause one probe. While up, a
	// request within the gap is dropped, since the next rest ends soon.
	gap = 20 * time.Millisecond

	// lates is the number of consecutive late calls, without an answer in between,
	// that cause a probe.
	lates = 3

	// While down, the delay between the starts of two probes begins with
	// firstDelay and doubles up to lastDelay. A random part of up to half of it is
	// subtracted.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 900 * time.Millisecond
)

// A Prober tracks whether a store is up. It is safe for concurrent use.
type Prober struct {
	probe func(ctx context.Context) error
	ctx   context.Context
	stop  context.CancelFunc
	kick  chan struct{}  // requests an immediate probe
	done  sync.WaitGroup // the probing goroutine

	answered atomic.Bool // a call was answered since this was last cleared by run
	late     atomic.Int32

	listeners notify.Listeners // also hold the state
	cause     atomic.Pointer[error]

	mu      sync.Mutex
	started bool
	closed  bool
}

// Unusable is the error of a probe to which the server has replied, but not as a
// server that the store can use. It means down, even if calls were answered
// meanwhile.
type Unusable struct{ Err error }

func (u Unusable) Error() string { return u.Err.Error() }
func (u Unusable) Unwrap() error { return u.Err }

// New returns a Prober in the state up. probe is one round trip to the server: it
// must return soon after ctx has ended, and should not report a stale connection as
// a server that is down. Its error becomes the cause of an outage: it must contain
// neither a key nor a password. No goroutine runs before the first listener or the first
// failed call.
func New(probe func(ctx context.Context) error) *Prober {
	ctx, stop := context.WithCancel(context.Background())
	return &Prober{
		probe: probe, ctx: ctx, stop: stop,
		kick: make(chan struct{}, 1),
	}
}

// Answered reports a call that the server answered, possibly with an error.
func (p *Prober) Answered() {
	// Concurrent reads are cheap, concurrent writes are not.
	if !p.answered.Load() {
		p.answered.Store(true)
	}
	if p.late.Load() != 0 {
		p.late.Store(0)
	}
	if !p.listeners.Up() {
		p.now()
	}
}

// Lost reports a call that could not connect or whose connection broke. Probes run
// one at a time and at least 20 ms apart, whatever the number of such calls.
func (p *Prober) Lost() {
	if p.listeners.Up() {
		p.start()
		p.now()
	}
}

// Late reports a call that was not answered in time.
func (p *Prober) Late() {
	if p.late.Add(1) >= lates && p.listeners.Up() {
		p.start()
		p.now()
	}
}

// Down sets the state to down, for a caller whose own probe has failed with err.
func (p *Prober) Down(err error) {
	p.failed(err)
	p.start()
}

// failed records the outcome of a probe.
func (p *Prober) failed(err error) {
	p.cause.Store(&err) // before a listener asks for it
	p.listeners.Tell(false)
}

// Cause returns the error of the last probe that has shown that the server is down,
// or nil.
func (p *Prober) Cause() error {
	if err := p.cause.Load(); err != nil {
		return *err
	}
	return nil
}

// Up reports whether the store is up.
func (p *Prober) Up() bool { return p.listeners.Up() }

// Notify implements core.Notifier.
func (p *Prober) Notify(f func(up bool)) (stop func()) {
	p.start()
	return p.listeners.Notify(f)
}

// Close stops the probes and sets the state to down permanently. When it returns, no
// goroutine of the Prober runs. A second Close does nothing.
func (p *Prober) Close() {
	p.listeners.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.done.Wait()
}

func (p *Prober) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started && !p.closed {
		p.started = true
		p.done.Go(p.run)
	}
}

// now requests a probe, unless one is already requested.
func (p *Prober) now() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *Prober) run() {
	timer := time.NewTimer(rest)
	defer timer.Stop()
	delay := firstDelay
	last := time.Now().Add(-gap) // start of the last probe
	for {
		asked := false
		select {
		case <-timer.C:
		case <-p.kick:
			early := gap - time.Since(last)
			if early > 0 && !p.listeners.Up() {
				timer.Reset(early)
			}
			if early > 0 {
				continue
			}
			asked = true
		case <-p.ctx.Done():
			return
		}
		// A call that was answered meanwhile replaces a probe.
		begun := time.Now()
		if answered := p.answered.Swap(false); asked || !answered || !p.listeners.Up() || begun.Sub(last) >= seldom {
			last = begun
			if err := p.ask(); p.ctx.Err() != nil {
				return
			} else if err == nil {
				p.late.Store(0)
				p.listeners.Tell(true)
			} else if _, certain := errors.AsType[Unusable](err); certain || !p.answered.Load() {
				p.failed(err)
			}
		}
		if !p.listeners.Up() {
			// Counted from the start of the last probe, which may have timed out.
			timer.Reset(delay/2 + rand.N(delay/2) - time.Since(begun)) // #nosec G404 -- only apart from other processes
			delay = min(2*delay, lastDelay)
		} else {
			timer.Reset(rest)
			delay = firstDelay
		}
	}
}

func (p *Prober) ask() error {
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	var err error
	if panicked := caught.Do(func() { err = p.probe(ctx) }); panicked != nil {
		err = panicked
	}
	if err == context.DeadlineExceeded {
		err = errSilent // "context deadline exceeded" tells nobody what is wrong
	}
	return err
}

var errSilent = fmt.Errorf("no reply within %v: %w", timeout, context.DeadlineExceeded)
