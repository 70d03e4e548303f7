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
	"testing"
	"time"

	"github.com/gensession/gensession/core"
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
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	samples []sample
}

// begin lets the requests come: every fourth by a new visitor, the others in
// turn by those that there are.
func begin(t *testing.T, a *app, rate int, visitors []*visitor) *load {
	l := &load{stop: make(chan struct{})}
	l.done.Go(func() {
		var requests sync.WaitGroup
		defer requests.Wait()
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-l.stop:
				return
			}
			v := visitors[i%len(visitors)]
			if i%4 == 0 {
				v = &visitor{app: a, name: "new"}
			}
			path := "/"
			if i%3 == 0 {
				path = "/read"
			}
			requests.Go(func() {
				r, err := v.get(path)
				if err != nil {
					t.Error(err)
				}
				if r.status != 200 && (r.live || r.removes) {
					t.Errorf("a failure with a cookie: %v", r)
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
	close(l.stop)
	l.done.Wait()
	slices.SortFunc(l.samples, func(a, b sample) int { return a.begun.Compare(b.begun) })
	return l.samples
}

// outage is a store whose server goes away for a while under load.
type outage struct {
	t         *testing.T
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

func runOutage(t *testing.T, store, how string, rate int, lasts time.Duration, options core.Options) *outage {
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
	visitors := make([]*visitor, 50)
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
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
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

// T17: a load while the server is gone for less than requests wait: those that
// come once the outage is noticed are all answered. One that is under way when
// the server goes can fail, since its call of the store does.
func TestAnOutageThatRequestsWaitFor(t *testing.T) {
	rate, lasts := longer(200, 500), longer(1500*time.Millisecond, 3*time.Second)
	each(t, []string{"redis killed", "memcache killed"}, func(t *testing.T, store, how string) {
		// All who waited come at once then, and a busy machine takes its time.
		o := runOutage(t, store, how, rate, lasts, core.Options{ReconnectTimeout: 10 * time.Second, OpTimeout: 3 * opTimeout})
		far := time.Now().Add(time.Hour)
		if failed, _ := o.tell("before", o.between(time.Time{}, o.down.Add(-opTimeout))); failed > 0 {
			t.Error("requests failed before the outage")
		}
		blind, _ := o.tell("until it is noticed", o.between(o.down.Add(-opTimeout), o.gone))
		if noticed := o.gone.Sub(o.down); blind > int(float64(rate)*(noticed+opTimeout).Seconds())+1 || noticed > time.Second+slack {
			t.Errorf("%d failed until it was noticed, after %v", blind, noticed)
		}
		failed, longest := o.tell("while they wait", o.between(o.gone, o.up))
		if failed > 0 {
			t.Errorf("%d requests failed though they had time to wait", failed)
		}
		if limit := lasts + time.Second + 2*slack; longest > limit {
			t.Errorf("a request took %v", longest)
		}
		o.recovered(o.between(o.up, far))
	})
}

// T17: gone for longer than requests wait: fast answers, then the return.
func TestAnOutageThatIsTooLong(t *testing.T) {
	rate := longer(200, 500)
	patience, lasts := longer(time.Second, 10*time.Second), longer(2500*time.Millisecond, 15*time.Second)
	each(t, []string{"redis paused", "memcache killed"}, func(t *testing.T, store, how string) {
		o := runOutage(t, store, how, rate, lasts, core.Options{ReconnectTimeout: patience})
		over := o.gone.Add(patience)
		failed, longest := o.tell("while they wait", o.between(o.gone, over))
		if failed == 0 || longest > patience+longer(slack, 3*slack) {
			t.Errorf("%d failed, and the longest took %v", failed, longest)
		}
		some := o.between(over.Add(50*time.Millisecond), o.up.Add(-50*time.Millisecond))
		failed, _ = o.tell("when that is over", some)
		if failed != len(some) || failed == 0 {
			t.Errorf("%d of %d failed", failed, len(some))
		}
		if typical := median(some); typical > 50*time.Millisecond {
			t.Errorf("a request in vain took %v", typical)
		}
		o.recovered(o.between(o.up, time.Now().Add(time.Hour)))
	})
}

// recovered: soon after the return all is well.
func (o *outage) recovered(some []sample) {
	o.tell("from its return on", some)
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
func each(t *testing.T, some []string, test func(t *testing.T, store, how string)) {
	for _, store := range []string{"redis", "memcache"} {
		for _, how := range []string{"killed", "paused"} {
			name := store + " " + how
			if soak || slices.Contains(some, name) {
				t.Run(name, func(t *testing.T) { test(t, store, how) })
			}
		}
	}
}
