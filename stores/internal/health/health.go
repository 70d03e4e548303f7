// Package health tells whether a server can be reached, for the stores that
// are a core.Notifier.
//
// Only a probe decides: one that fails takes the store down, one that succeeds
// brings it up. Calls of the store report what they met, and that makes the
// probe come at once; a slow answer, or a few, is not an outage. While nothing
// is reported a probe comes a few times in a second, so that an outage and its
// end are noticed within one even when nobody asks.
package health

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/stores/internal/notify"
)

const (
	// Two rests, since the first may have seen an answer, and a probe that
	// hangs are less than a second.
	rest    = 200 * time.Millisecond
	timeout = 550 * time.Millisecond

	// gap is the least time from the beginning of a probe to the next one that
	// is asked for, so that a thousand calls that fail together cause one. While
	// up, what is asked for within it is dropped: the next rest is not far.
	gap = 20 * time.Millisecond

	// lates in a row, without an answer between, are reason to probe.
	lates = 3

	// While down, a probe begins firstDelay after the last one, then twice as
	// long each time up to lastDelay, or up to half of it earlier.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 900 * time.Millisecond
)

// A Prober knows whether a store is up. It is safe for concurrent use.
type Prober struct {
	probe func(ctx context.Context) error
	ctx   context.Context
	stop  context.CancelFunc
	kick  chan struct{}  // asks for a probe now
	done  sync.WaitGroup // the probing goroutine

	answered atomic.Bool // a call was answered since this was last cleared
	late     atomic.Int32

	listeners notify.Listeners // and whether it is up

	mu      sync.Mutex
	started bool
	closed  bool
}

// New makes a Prober that is up. Its probe is one round trip to the server: it
// must end soon after ctx, and should not take a connection that has gone
// stale for a server that is down. Nothing runs until it is needed: by a
// listener, or by a call that failed.
func New(probe func(ctx context.Context) error) *Prober {
	ctx, stop := context.WithCancel(context.Background())
	return &Prober{
		probe: probe, ctx: ctx, stop: stop,
		kick: make(chan struct{}, 1),
	}
}

// Answered reports a call that the server answered, be it with an error.
func (p *Prober) Answered() {
	// Reading is cheap when many do it, writing is not.
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

// Lost reports a call that found no server, or whose connection broke. However
// many do, probes come one by one and never closer than 20 ms.
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

// Down takes the store down: for who has seen a probe fail already.
func (p *Prober) Down() {
	p.listeners.Tell(false)
	p.start()
}

// Up reports whether the store is up.
func (p *Prober) Up() bool { return p.listeners.Up() }

// Notify is that of a core.Notifier.
func (p *Prober) Notify(f func(up bool)) (stop func()) {
	p.start()
	return p.listeners.Notify(f)
}

// Close ends the probing and takes the store down for good. When it returns,
// nothing of the Prober runs any more. The second Close does nothing.
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

// now asks for a probe; one that is asked for already will do.
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
	last := time.Now().Add(-gap) // when a probe began
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
		// An answer since the last time is as good as a probe.
		begun := time.Now()
		if answered := p.answered.Swap(false); asked || !answered || !p.listeners.Up() {
			last = begun
			if err := p.ask(); p.ctx.Err() != nil {
				return
			} else if err == nil {
				p.late.Store(0)
				p.listeners.Tell(true)
			} else if !p.answered.Load() {
				p.listeners.Tell(false)
			}
		}
		if !p.listeners.Up() {
			// From the beginning of the last one, which may have hung.
			timer.Reset(delay/2 + rand.N(delay/2) - time.Since(begun))
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
	return p.probe(ctx)
}
