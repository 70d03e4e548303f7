package health_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ core.Notifier = (*health.Prober)(nil)

var errDown = errors.New("refused")

// A server answers probes, refuses them or does not reply.
type server struct {
	mu     sync.Mutex
	probes int
	hang   bool
	err    error
}

func (s *server) set(hang bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hang, s.err = hang, err
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes
}

func (s *server) probe(ctx context.Context) error {
	s.mu.Lock()
	s.probes++
	hang, err := s.hang, s.err
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// told records the calls of a listener with their times.
type told struct {
	mu  sync.Mutex
	ups []bool
	at  []time.Time
}

func (l *told) hear(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ups = append(l.ups, up)
	l.at = append(l.at, time.Now())
}

func (l *told) is(t *testing.T, want ...bool) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.ups, want) {
		t.Fatalf("told %v, not %v", l.ups, want)
	}
}

// last is the time from from to the last call of the listener.
func (l *told) last(from time.Time) time.Duration {
	synctest.Wait() // for events at this moment
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.at) == 0 {
		return math.MaxInt64 // never
	}
	return l.at[len(l.at)-1].Sub(from)
}

func run(t *testing.T, test func(t *testing.T, s *server, p *health.Prober)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		p := health.New(s.probe)
		defer p.Close()
		test(t, s, p)
	})
}

func TestAnOutageAndItsEndAreNoticedWithinASecond(t *testing.T) {
	for name, hang := range map[string]bool{"refused": false, "hanging": true} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *server, p *health.Prober) {
				var l told
				defer p.Notify(l.hear)()
				for i, outage := range []time.Duration{time.Second, 17 * time.Second, time.Hour} {
					// Plus a millisecond, so that the server does not go down at
					// the moment of a probe, between two steps of it.
					time.Sleep(time.Duration(i)*77*time.Millisecond + 10*time.Second + time.Millisecond)
					p.Answered() // the last one
					begun := time.Now()
					s.set(hang, errDown)
					time.Sleep(outage)
					if d := l.last(begun); d > time.Second || p.Up() {
						t.Errorf("noticed after %v", d)
					}
					begun = time.Now()
					s.set(false, nil)
					time.Sleep(10 * time.Second)
					if d := l.last(begun); d > time.Second || !p.Up() {
						t.Errorf("its end noticed after %v", d)
					}
				}
				l.is(t, false, true, false, true, false, true)
			})
		})
	}
}

func TestALostCallCausesAProbe(t *testing.T) {
	run(t, func(t *testing.T, s *server, p *health.Prober) {
		p.Lost() // a connection that broke, and the server is up
		synctest.Wait()
		if s.count() != 1 || !p.Up() {
			t.Fatal("no probe, or it was not believed")
		}
		var l told
		defer p.Notify(l.hear)()
		l.is(t)
		time.Sleep(gap)
		begun := time.Now()
		s.set(false, errDown)
		p.Lost()
		l.is(t, false)
		if time.Since(begun) != 0 {
			t.Error("it took", time.Since(begun))
		}
		s.set(false, nil)
		p.Answered()
		time.Sleep(gap)
		l.is(t, false, true)
	})
}

func TestAThousandLostCallsCauseOneProbe(t *testing.T) {
	run(t, func(t *testing.T, s *server, p *health.Prober) {
		for range 1000 {
			p.Lost()
			synctest.Wait()
		}
		if n := s.count(); n != 1 {
			t.Errorf("%d probes for calls that were lost at the same time", n)
		}
		for range 1000 {
			time.Sleep(time.Millisecond)
			p.Lost()
		}
		if n := s.count(); n < 10 || n > 51 {
			t.Errorf("%d probes in a second of lost calls", n)
		}
		// While down, an answer soon causes a probe, and many answers cause no more.
		s.set(false, errDown)
		time.Sleep(gap)
		p.Lost()
		synctest.Wait()
		if p.Up() {
			t.Fatal("up")
		}
		n := s.count()
		for range 1000 {
			p.Answered()
			synctest.Wait()
		}
		s.set(false, nil)
		time.Sleep(gap)
		synctest.Wait()
		if !p.Up() || s.count() > n+2 {
			t.Errorf("up is %v after %d probes", p.Up(), s.count()-n)
		}
	})
}

func TestLateCallsAreNoOutage(t *testing.T) {
	run(t, func(t *testing.T, s *server, p *health.Prober) {
		var l told
		defer p.Notify(l.hear)()
		synctest.Wait()
		p.Late()
		p.Late()
		p.Answered()
		p.Late()
		p.Late()
		synctest.Wait()
		if s.count() != 0 {
			t.Error("a probe after two late answers")
		}
		p.Late()
		synctest.Wait()
		if s.count() != 1 {
			t.Error("no probe after three late answers")
		}
		// A probe that times out is ignored while calls are answered.
		s.set(true, nil)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			p.Late()
			p.Late()
			p.Late()
			p.Answered()
		}
		l.is(t)
	})
}

func TestAnswersReplaceProbes(t *testing.T) {
	run(t, func(t *testing.T, s *server, p *health.Prober) {
		defer p.Notify(func(bool) {})()
		for range 100 {
			p.Answered()
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.count(); n < 8 || n > 13 { // in ten seconds
			t.Errorf("%d probes", n)
		}
	})
}

// A server that answers calls and is not the right one is down.
func TestAServerThatAnswersAndIsUnusable(t *testing.T) {
	run(t, func(t *testing.T, s *server, p *health.Prober) {
		var l told
		defer p.Notify(l.hear)()
		calls := func() {
			for range 100 {
				p.Answered()
				time.Sleep(10 * time.Millisecond)
			}
		}
		calls()
		s.set(false, health.Unusable{Err: errDown})
		calls()
		l.is(t, false)
		if !errors.Is(p.Cause(), errDown) {
			t.Error(p.Cause())
		}
		s.set(false, nil)
		calls()
		l.is(t, false, true)
	})
}

func TestFewProbesWhileDown(t *testing.T) {
	run(t, func(t *testing.T, s *server, p *health.Prober) {
		s.set(false, errDown)
		p.Down(errDown)
		if p.Up() {
			t.Fatal("up")
		}
		for range 1000 {
			p.Lost()
			p.Late()
			time.Sleep(10 * time.Millisecond)
		}
		if n := s.count(); n < 10 || n > 30 {
			t.Errorf("%d probes in ten seconds", n)
		}
	})
}

func TestNoGoroutineBeforeUse(t *testing.T) {
	run(t, func(t *testing.T, s *server, p *health.Prober) {
		p.Answered()
		p.Late()
		time.Sleep(time.Hour)
		if n := s.count(); n != 0 {
			t.Errorf("%d probes", n)
		}
	})
}

func TestCloseStopsEverything(t *testing.T) {
	run(t, func(t *testing.T, s *server, p *health.Prober) {
		var l, stopped, late told
		p.Notify(l.hear)
		stop := p.Notify(stopped.hear)
		stop()
		stop()
		s.set(true, nil)
		time.Sleep(rest)
		begun := time.Now()
		p.Close() // while a probe hangs
		p.Close()
		if time.Since(begun) != 0 {
			t.Error("it took", time.Since(begun))
		}
		l.is(t, false)
		stopped.is(t)
		p.Notify(late.hear)()
		late.is(t, false)
		s.set(false, nil)
		n := s.count()
		p.Answered()
		p.Lost()
		p.Down(errDown)
		time.Sleep(time.Hour)
		if s.count() != n || p.Up() {
			t.Error("it goes on after Close")
		}
		l.is(t, false)
	})
}

const (
	rest = 300 * time.Millisecond
	gap  = 20 * time.Millisecond
)

// The cause is there when a listener is told, and is that of the last probe.
func TestCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		p := health.New(s.probe)
		defer p.Close()
		if err := p.Cause(); err != nil {
			t.Error("before the first outage:", err)
		}
		var heard error
		defer p.Notify(func(bool) { heard = p.Cause() })()
		is := func(want error) {
			t.Helper()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if err := p.Cause(); !errors.Is(err, want) {
				t.Errorf("the cause is %v, not %v", err, want)
			}
		}
		s.set(false, errDown)
		is(errDown)
		if heard != errDown {
			t.Error("the listener has heard", heard)
		}
		other := errors.New("loading")
		s.set(false, other)
		is(other)
		s.set(true, nil)
		is(context.DeadlineExceeded)
		if !strings.Contains(p.Cause().Error(), "no reply within") {
			t.Error(p.Cause())
		}
		s.set(false, nil)
		is(context.DeadlineExceeded) // that of the outage that is over
	})
}

func TestConcurrentUse(t *testing.T) {
	s := &server{}
	p := health.New(s.probe)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var l told
			stop := p.Notify(l.hear)
			for j := range 300 {
				s.set(false, []error{nil, errDown}[(i+j)%2])
				[]func(){p.Answered, p.Lost, p.Late, func() { p.Down(errDown) }}[j%4]()
				if j == 200 {
					stop()
				}
				if j == 290 && i == 0 {
					p.Close()
				}
			}
			for i, up := range l.ups {
				if up != (i%2 == 1) {
					t.Errorf("told %v", l.ups)
					break
				}
			}
		})
	}
	wg.Wait()
	p.Close()
}
