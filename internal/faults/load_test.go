package faults_test

import (
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/soak"
	"github.com/gensession/gensession/internal/stall"
)

// visit counts the visits of a session, as most applications would.
func visit(x exchange) error {
	s, err := x.from()
	if err != nil {
		return err
	}
	if x.path == "/read" {
		x.answer(strconv.Itoa(countKey.Get(s)))
		return nil
	}
	n, err := countKey.Update(s, func(n int) int { return n + 1 })
	x.answer(strconv.Itoa(n))
	return err
}

// A sample is one request of a load.
type sample struct {
	begun  time.Time
	took   time.Duration
	status int
}

// A load is many requests, as many a second as wanted, however long they take.
type load struct {
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup
	broken atomic.Int64 // requests without an answer

	mu      sync.Mutex
	samples []sample
}

// begin lets the requests come, each by a visitor who waits for no other: every
// fourth by a new one, the others by those who have a session, as long as one
// of these is free.
func begin(t testing.TB, a *app, rate int, visitors []*visitor) *load {
	l := &load{stop: make(chan struct{})}
	free := make(chan *visitor, len(visitors))
	for _, v := range visitors {
		free <- v
	}
	l.done.Go(func() {
		var requests sync.WaitGroup
		defer requests.Wait()
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C: // a busy machine misses some
			case <-l.stop:
				return
			}
			v := &visitor{app: a, name: "new"}
			if i%4 > 0 {
				select {
				case v = <-free:
				default:
				}
			}
			path := "/"
			if i%3 == 0 {
				path = "/read"
			}
			requests.Go(func() {
				r, err := v.get(path)
				if err != nil && l.broken.Add(1) == 1 {
					t.Error(err)
				}
				if r.status != 200 && (r.live || r.removes) {
					t.Errorf("a failure with a cookie: %v", r)
				}
				if v.name == "old" {
					free <- v
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				l.samples = append(l.samples, sample{r.begun, r.took, r.status})
			})
		}
	})
	return l
}

// end returns what happened, in the order in which the requests came.
func (l *load) end() []sample {
	l.once.Do(func() { close(l.stop) })
	l.done.Wait()
	slices.SortFunc(l.samples, func(a, b sample) int { return a.begun.Compare(b.begun) })
	return l.samples
}

// outage is a store whose server goes away for a while under load.
type outage struct {
	t         testing.TB
	down, up  time.Time // when the server was told to go and to come
	gone, was time.Time // when the store noticed
	samples   []sample
	app       *app
}

// digits are what makes one error look like many.
var digits = regexp.MustCompile(`[0-9]+`)

// reported are the errors of the app since the last time, and how many of each.
func (a *app) reported() string {
	count := map[string]int{}
	if err := a.errs.take(); err != nil {
		for line := range strings.Lines(err.Error()) {
			count[digits.ReplaceAllString(strings.TrimSpace(line), "#")]++
		}
	}
	var b strings.Builder
	for _, line := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&b, "\n%6d %s", count[line], line)
	}
	return b.String()
}

func runOutage(t testing.TB, store, how string, rate int, lasts time.Duration, options core.Options) *outage {
	var args []string
	if store == "redis" {
		args = durable
	}
	s := startServer(t, store, args...)
	r := newRig(t, s, false)
	notifier, _ := core.As[core.Notifier](r.store)
	var e ear
	t.Cleanup(notifier.Notify(e.hear))
	a := start(t, "nethttp", r.store, options, visit)
	visitors := make([]*visitor, rate)
	for i := range visitors {
		visitors[i] = &visitor{app: a, name: "old"}
		if r, err := visitors[i].get("/"); err != nil || r.status != 200 {
			t.Fatal(r, err)
		}
	}
	down, up := s.process().Kill, s.process().Start
	if how == "paused" {
		down, up = s.process().Pause, s.process().Resume
	}
	a.client.CloseIdleConnections()
	calm := runtime.NumGoroutine()
	l := begin(t, a, rate, visitors)
	t.Cleanup(func() { l.end() }) // if the test ends early
	time.Sleep(opTimeout + 300*time.Millisecond)
	o := &outage{t: t, down: time.Now(), app: a}
	down()
	o.gone = e.next(t, 0).at
	t.Log("until it was noticed:", a.reported())
	time.Sleep(time.Until(o.down.Add(lasts)))
	t.Log("while it was known:", a.reported())
	up()
	o.up = time.Now()
	o.was = e.next(t, 1).at
	time.Sleep(time.Second)
	o.samples = l.end()
	t.Log("from its return on:", a.reported())
	a.client.CloseIdleConnections()
	// The store may have connections now that it had not; what waited is gone.
	most, n := calm+30, 0
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if n = runtime.NumGoroutine(); n <= most {
			break
		}
	}
	if n > most {
		t.Errorf("%d goroutines before the load, %d after it", calm, n)
	}
	return o
}

// between are the requests that came then.
func (o *outage) between(from, to time.Time) (some []sample) {
	for _, s := range o.samples {
		if !s.begun.Before(from) && s.begun.Before(to) {
			some = append(some, s)
		}
	}
	return some
}

func (o *outage) tell(what string, some []sample) (failed int, longest time.Duration) {
	for _, s := range some {
		longest = max(longest, s.took)
		if s.status != 200 {
			failed++
			if s.status != 503 {
				o.t.Errorf("%s: a request was answered %d", what, s.status)
			}
		}
	}
	o.t.Logf("%s: %d requests, %d failed, the longest took %v", what, len(some), failed, longest.Round(time.Millisecond))
	return failed, longest
}

// T17: a load while the server is gone for less than requests wait. None fails:
// those that come during the outage wait, and a call that is under way when the
// server goes is made once more. memcached has lost its sessions then, and
// requests begin new ones.
func TestAnOutageThatRequestsWaitFor(t *testing.T) {
	rate, lasts := fullRate(), soak.Longer(1500*time.Millisecond, 3*time.Second)
	each(t, []string{"redis killed", "memcache killed"}, func(t testing.TB, store, how string) {
		// All who waited come at once then, and a busy machine takes its time.
		o := runOutage(t, store, how, rate, lasts, core.Options{ReconnectTimeout: 10 * time.Second, OpTimeout: 3 * opTimeout})
		if noticed := o.gone.Sub(o.down); noticed > time.Second+slack {
			t.Errorf("it was noticed after %v", noticed)
		}
		for _, part := range []struct {
			name     string
			from, to time.Time
		}{
			{"before", time.Time{}, o.down},
			{"until it is noticed", o.down, o.gone},
			{"while they wait", o.gone, o.up},
		} {
			failed, longest := o.tell(part.name, o.between(part.from, part.to))
			if failed > 0 {
				t.Errorf("%s: %d requests failed", part.name, failed)
			}
			if limit := lasts + time.Second + 4*slack; longest > limit {
				t.Errorf("%s: a request took %v", part.name, longest)
			}
		}
		if failed := o.recovered(); failed > 0 {
			t.Errorf("%d requests failed though the server was back", failed)
		}
	})
}

// T17: gone for longer than requests wait: fast answers, then the return.
func TestAnOutageThatIsTooLong(t *testing.T) {
	rate := fullRate()
	patience, lasts := soak.Longer(time.Second, 10*time.Second), soak.Longer(2500*time.Millisecond, 15*time.Second)
	each(t, []string{"redis paused", "memcache killed"}, func(t testing.TB, store, how string) {
		o := runOutage(t, store, how, rate, lasts, core.Options{ReconnectTimeout: patience})
		over := o.gone.Add(patience)
		// Clocks differ, since the core is not told at the same moment as we.
		const apart = 200 * time.Millisecond
		some := o.between(o.gone.Add(apart), over.Add(-apart))
		failed, _ := o.tell("while they wait", some)
		if failed != len(some) || failed == 0 {
			t.Errorf("%d of %d failed", failed, len(some))
		}
		for _, s := range some {
			if end := s.begun.Add(s.took); end.Before(over.Add(-apart)) || end.After(over.Add(soak.Longer(2*slack, 5*slack))) {
				t.Errorf("a request waited until %v after the time was over", end.Sub(over))
				break
			}
		}
		some = o.between(over.Add(apart), o.up)
		some = slices.DeleteFunc(some, func(s sample) bool { return s.begun.Add(s.took).After(o.up) })
		failed, _ = o.tell("when that is over", some)
		if failed != len(some) || failed == 0 {
			t.Errorf("%d of %d failed", failed, len(some))
		}
		// The waiters are all answered at once, and keep the machine busy.
		if typical := median(some); typical > opTimeout/2 {
			t.Errorf("a request in vain took %v", typical)
		}
		o.recovered()
	})
}

// recovered: soon after the return all is well. It returns how many failed
// until then.
func (o *outage) recovered() (failed int) {
	some := o.between(o.up, time.Now().Add(time.Hour))
	failed, _ = o.tell("from its return on", some)
	o.t.Logf("its return was noticed after %v", o.was.Sub(o.up).Round(time.Millisecond))
	if took := o.was.Sub(o.up); took > time.Second+slack {
		o.t.Errorf("its return was noticed after %v", took)
	}
	last := o.up
	for _, s := range some {
		if s.status != 200 {
			last = s.begun.Add(s.took)
		}
	}
	o.t.Logf("the last failure was %v after it", last.Sub(o.up).Round(time.Millisecond))
	if took := last.Sub(o.up); took > time.Second+slack {
		o.t.Errorf("a request failed %v after the return", took)
	}
	if len(some) == 0 || some[len(some)-1].status != 200 {
		o.t.Error("there was no recovery")
	}
	return failed
}

// fullRate is how many requests come in a second. The race detector makes a
// small machine too slow for all that the promise is about.
func fullRate() int {
	if raceDetector {
		return 200
	}
	return soak.Longer(200, 500)
}

func median(some []sample) time.Duration {
	all := make([]time.Duration, len(some))
	for i, s := range some {
		all[i] = s.took
	}
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)/2]
}

// each runs a test for the stores that have a server and for the ways in which
// that can be gone: for all of them with SOAK=1, else for some.
func each(t *testing.T, some []string, test func(t testing.TB, store, how string)) {
	for _, store := range []string{"redis", "memcache"} {
		for _, how := range []string{"killed", "paused"} {
			name := store + " " + how
			if soak.On || slices.Contains(some, name) {
				t.Run(name, func(t *testing.T) { stall.Retry(t, func(t testing.TB) { test(t, store, how) }) })
			}
		}
	}
}
