package concurrency_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Random sequences of everything that can happen to three browsers and their
// overlapping requests. The machine of spec_test.go is the model: it goes each
// step along, and after each step every id that was ever made has in the store
// what it has in the model, and every browser has the model's cookie. What a
// failure begins with is the invariant of T2 that it breaks:
//
//	I1   ids come from the generator, and none is used twice
//	I2   what has ended never comes back
//	I3   a handler sees its own session, as it was plus its own changes
//	I4   after a commit that returned nil the next reader sees it
//	I5   after one that failed the session is as before or as it should be, never half
//	I6   no cookie without a session
//	I7   a session ends when its time is over, not sooner and not later
//	I8   a request waits for a store that is down no longer than the window
//	I9   of two ids of one session at most one lives
//	I10  no value is lost, unless the policy is that the last write wins
func TestModel(t *testing.T) {
	steps := 0
	sequences(t, 1, 2500, 400, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			m := memorystore.New(nil)
			defer m.Close()
			var under core.Store = m
			untold := rapid.Bool().Draw(rt, "versions untold")
			if untold {
				under = forgetfulNotifier{forgetful{m, m, m}, m}
			}
			window := time.Duration(0)
			if rapid.Bool().Draw(rt, "patient") {
				window = 10 * time.Second
			}
			w := newWorld(rt, under, m, window)
			defer w.close()
			w.bubble = true
			rt.Repeat(w.actions())
			steps += w.steps
		})
	})
	t.Logf("%d steps", steps)
}

// runsOnServers makes the ids of each run its own: the servers, and what other
// runs left in them, stay for as long as the process, also with -count.
var runsOnServers atomic.Int64

// The same on real servers. Their clocks are not ours to turn: no time passes
// here, since a sequence would take as long as a session lives. What a server
// does with a ttl is tested by storetest.
func TestModelOnServers(t *testing.T) {
	for _, kind := range stores[1:] {
		t.Run(kind.name, func(t *testing.T) {
			store := kind.open(t)
			steps := 0
			sequences(t, len(stores)-1, 60, 33, func(rt *rapid.T) {
				w := newWorld(rt, store, store, 0)
				defer w.close()
				w.prefix = fmt.Sprintf("%d-", runsOnServers.Add(1))
				rt.Repeat(w.actions())
				steps += w.steps
			})
			t.Logf("%d steps", steps)
		})
	}
}

// sequences lets rapid make so many, always the same, or with SOAK=1 others each time,
// round by round, in one of so many parts of a test.
func sequences(t *testing.T, parts, checks, rounds int, property func(*rapid.T)) {
	set := func(name, value string) {
		was := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, was) })
	}
	set("rapid.checks", strconv.Itoa(checks))
	if !soak.On && flag.Lookup("rapid.seed").Value.String() == "0" {
		set("rapid.seed", "1")
	}
	for range soak.Rounds(parts, 1, rounds) {
		if rapid.Check(t, property); t.Failed() {
			return
		}
	}
}

// A world is the real thing and its model.
type world struct {
	*rapid.T
	bubble  bool // time is ours
	store   *storetest.Faulty
	manager *core.Manager
	watcher *core.Manager // of the store without faults
	prefix  string        // of ids
	made    []core.ID
	taken   map[string]bool  // ids that the model knows
	stored  map[core.ID]bool // ids that the store had
	sent    map[core.ID]bool // ids that somebody has been told
	ended   map[core.ID]bool // ids of them that the store has no more

	model    *spec
	browsers [3]*browser
	requests []*request // open
	answers  []*request // on their way to the browser
	turn     int        // of the signing key
	down     time.Time  // since when; zero: up
	rolling  bool
	window   time.Duration // to wait for a store that is down; zero: none, but calls fail
	steps    int

	called  bool // the store, in this step
	fault   string
	fired   bool
	told    string
	sending bool // in a commit
}

// A browser beside what the model knows of it.
type browser struct {
	real  jartest.Browser
	has   cookies
	turns [places]int // of the keys that signed them
}

// A request beside its client in the model.
type request struct {
	specClient
	browser *browser
	jar     *jartest.Jar
	visit   *core.Visit
	session *core.Session
	began   int         // with which key
	signed  [places]int // by which keys its cookies are
}

const (
	idle     = 30 * time.Minute
	absolute = idle*3/2 - time.Minute // so short that no session is prolonged because its request runs, which the model does not know
	maxAge   = 300 * 24 * time.Hour   // what SetCookie gives, at least
)

func key(turn int) []byte { return []byte(fmt.Sprintf("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6f%04d", turn)) }

func newWorld(rt *rapid.T, under, bare core.Store, window time.Duration) *world {
	w := &world{
		T: rt, taken: map[string]bool{}, stored: map[core.ID]bool{}, ended: map[core.ID]bool{}, turn: 1,
		sent:    map[core.ID]bool{},
		rolling: rapid.Bool().Draw(rt, "rolling"), window: window,
		model: newSpec(rules{policy: policies[rapid.IntRange(0, 2).Draw(rt, "policy")].policy}),
	}
	if b, ok := core.As[core.Batcher](under); ok {
		_, err := b.Batch(context.Background(), core.Write{Key: "a", Version: 1}, core.Write{Key: "b", Version: 1})
		w.model.removes, w.model.oneStep = true, !errors.Is(err, errors.ErrUnsupported)
	}
	w.model.untold = !w.model.oneStep
	w.model.ttl, w.model.absolute = idle, absolute
	w.store = storetest.NewFaulty(under)
	w.store.Before(func(context.Context, storetest.Op, string) error {
		w.called = true
		if w.fault == "refused" && !w.fired {
			w.fired = true
			return core.ErrRefused
		}
		return nil
	})
	w.store.After(func(_ context.Context, op storetest.Op, _ string) error {
		if w.fault == "answer lost" && !w.fired && op != storetest.OpGetVersion && op != storetest.OpGet {
			w.fired = true
			return core.ErrOutcomeUnknown
		}
		return nil
	})
	o := core.Options{
		Keys: [][]byte{key(1), key(0)}, AbsoluteTimeout: absolute, ReconnectTimeout: w.window, FailFast: w.window == 0,
		TouchEvery: touchEvery(w.rolling), OnConflict: w.model.policy,
		NewID: func(context.Context) (string, error) {
			id := core.ID(fmt.Sprintf("id-%s%04d-0123456789", w.prefix, len(w.made)))
			w.made = append(w.made, id)
			return string(id), nil
		},
		Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			if w.tell(e.Err); w.sending && errors.Is(e, core.ErrGone) {
				return nil
			}
			return e
		}},
	}
	if rapid.Bool().Draw(rt, "sealed") {
		o.Seal.Keys = core.Keyring{key(2)}
	}
	if w.rolling {
		o.IdleTimeout = idle
	} else {
		o.Cookie.MaxAge = idle
	}
	var err error
	if w.manager, err = core.New(w.store, &o); err != nil {
		rt.Fatal(err)
	}
	if w.watcher, err = core.New(bare, &core.Options{
		Keys: [][]byte{key(0)}, Cookie: core.CookieOptions{MaxAge: idle}, Seal: o.Seal,
		InsecureIDFrom: func(ctx context.Context, _ core.Jar) core.ID {
			id, _ := ctx.Value(watched{}).(core.ID)
			return id
		},
	}); err != nil {
		rt.Fatal(err)
	}
	for i := range w.browsers {
		w.browsers[i] = &browser{}
	}
	return w
}

func (w *world) close() {
	w.manager.Close()
	w.watcher.Close()
}

type forgetfulNotifier struct {
	forgetful
	core.Notifier
}

func (w *world) tell(err error) {
	if w.told == "" && err != nil {
		w.told = class(err)
	}
}

// actions are what can happen next.
func (w *world) actions() map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){
		"": func(*rapid.T) { w.check() },
		"begin": func(rt *rapid.T) {
			if len(w.requests) == 4 {
				rt.Skip("enough requests are under way")
			}
			w.begin(w.browsers[rapid.IntRange(0, 2).Draw(rt, "browser")], w.drawFault(rt))
		},
		"commit": func(rt *rapid.T) {
			r := w.open(rt)
			w.commit(r, w.drawFault(rt))
		},
		"abandon": func(rt *rapid.T) {
			r := w.open(rt)
			r.visit.Abandon()
			w.end(r)
			if err := r.session.Set("late", 1); !errors.Is(err, core.ErrCommitted) && !errors.Is(err, core.ErrGone) {
				w.Fatalf("Set after the end: %v", err)
			}
		},
		"answer": func(rt *rapid.T) {
			if len(w.answers) == 0 {
				rt.Skip("no answer is under way")
			}
			r := w.answers[rapid.IntRange(0, len(w.answers)-1).Draw(rt, "answer")]
			w.answers = slices.DeleteFunc(w.answers, func(o *request) bool { return o == r })
			w.arrive(r)
		},
		"lose an answer": func(rt *rapid.T) {
			if len(w.answers) == 0 {
				rt.Skip("no answer is under way")
			}
			i := rapid.IntRange(0, len(w.answers)-1).Draw(rt, "answer")
			w.answers = slices.Delete(w.answers, i, i+1)
		},
		"rotate keys": func(rt *rapid.T) {
			if slices.ContainsFunc(w.requests, func(r *request) bool { return r.began < w.turn }) {
				rt.Skip("the keys of a request that is under way are kept")
			}
			w.turn++
			if err := w.manager.RotateKeys([][]byte{key(w.turn), key(w.turn - 1)}); err != nil {
				w.Fatal(err)
			}
		},
		"down or up": func(rt *rapid.T) {
			if w.down.IsZero() {
				w.store.Down()
				w.down = time.Now()
			} else {
				w.store.Up()
				w.down = time.Time{}
			}
		},
	}
	if w.bubble {
		all["advance"] = func(rt *rapid.T) {
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, idle / 2, idle - time.Second, idle, absolute - idle, absolute}).Draw(rt, "time"))
			synctest.Wait()
		}
		all["to the end of a session"] = func(rt *rapid.T) { w.outlive(rt) }
	}
	for a := range acts {
		if a == touch || a == expire || a == revoke || a >= replaceThen {
			continue // renewals and advance are these here
		}
		all[a.String()] = func(rt *rapid.T) {
			r := w.open(rt)
			w.act(r, a, w.drawFault(rt))
		}
	}
	return all
}

// touchEvery makes each request of a rolling session renew it.
func touchEvery(rolling bool) time.Duration {
	if rolling {
		return 1
	}
	return 0
}

// drawFault makes calls fail only where core does not wait for the store
// after that.
func (w *world) drawFault(rt *rapid.T) string {
	if w.window > 0 {
		return ""
	}
	return rapid.SampledFrom([]string{"", "", "", "", "refused", "answer lost"}).Draw(rt, "fault")
}

func (w *world) open(rt *rapid.T) *request {
	if len(w.requests) == 0 {
		rt.Skip("no request is under way")
	}
	return w.requests[rapid.IntRange(0, len(w.requests)-1).Draw(rt, "request")]
}

func (w *world) end(r *request) {
	w.requests = slices.DeleteFunc(w.requests, func(o *request) bool { return o == r })
}

// step does one thing to the real request and then to the model's, which only
// learns whether a call of the store was made to fail.
func (w *world) step(r *request, fault string, real func() error, model func()) {
	w.steps++
	began := time.Now()
	w.called, w.fired, w.fault, w.told, r.told = false, false, fault, "", ""
	w.tell(real())
	w.fault = ""
	r.fault, r.late = 0, fault == "answer lost" && w.fired
	if w.fired || w.called && !w.down.IsZero() {
		r.fault = r.calls + 1
	}
	w.model.sweep()
	r.down = !w.down.IsZero()
	sets := r.sets
	w.model.began = began
	model()
	for at, n := range r.sets {
		if n != sets[at] {
			r.signed[at] = w.turn
			w.sent[core.ID(r.sends[at])] = true
		}
	}
	if w.told != r.told {
		w.Fatalf("told %q, want %q", w.told, r.told)
	}
	if r.fault > r.calls {
		w.Fatalf("a call that the model does not know")
	}
}

func (w *world) begin(b *browser, fault string) {
	r := &request{browser: b, jar: b.real.Jar("/"), began: w.turn}
	r.letter, r.rolling, r.came = "AB"[len(w.made)%2], w.rolling, b.has
	var has cookies // those that it trusts
	for at, id := range b.has {
		if b.turns[at] >= w.turn-1 {
			has[at] = id
		}
	}
	waits := !w.down.IsZero()
	start := time.Now()
	w.step(r, fault, func() (err error) {
		r.visit, _ = w.manager.NewVisit(r.jar, nil)
		r.session, err = r.visit.Session(context.Background())
		w.called = w.called || waits
		return err
	}, func() {
		r.next = func() string { return w.adopt(r) }
		r.reissue = has[atName] != "" && b.turns[atName] < w.turn
		if has == (cookies{}) && !waits {
			r.unloaded() // the store is not asked
			return
		}
		if r.load(w.model, has); r.place == atLate && r.state == specLive {
			r.reissue = b.turns[atLate] < w.turn
		}
	})
	if waits {
		took, want := time.Since(start), max(0, w.window-start.Sub(w.down))
		if took < want-time.Millisecond || w.bubble && took != want || took > want+10*time.Second {
			w.Fatalf("I8: waited %v for the store, want %v", took, want)
		}
	}
	if r.state == specAbandoned {
		r.visit.Abandon()
		w.answers = append(w.answers, r)
		return
	}
	w.requests = append(w.requests, r)
	w.read(r)
}

// adopt is how the model gets to know a new id: it must be the generator's,
// and not in use (I1).
func (w *world) adopt(r *request) string {
	id := r.session.ID()
	if !slices.Contains(w.made, id) || w.taken[string(id)] {
		w.Fatalf("I1: an id that is not from the generator, or in use")
	}
	w.taken[string(id)] = true
	return string(id)
}

func (w *world) act(r *request, a act, fault string) {
	p := player{letter: r.letter, base: maxAge}
	was, known := core.ID(r.id), r.state == specLive
	w.step(r, fault, func() error { return p.act(context.Background(), r.session, a) }, func() { r.do(w.model, a) })
	if (a == renew || a == regenerate) && w.told == "" && known && was != core.ID(r.id) && w.look(was) != nil {
		w.Fatalf("I9: the old id lives beside the new one")
	}
	w.read(r)
}

// outlive waits for the last nanosecond of a session, and for the next one.
func (w *world) outlive(rt *rapid.T) {
	w.model.sweep()
	ids := slices.Sorted(maps.Keys(w.model.live))
	if len(ids) == 0 {
		rt.Skip("no session to outlive")
	}
	id := rapid.SampledFrom(ids).Draw(rt, "id")
	time.Sleep(time.Until(w.model.lives[id].ends) - 1)
	synctest.Wait()
	if w.look(core.ID(id)) == nil {
		w.Fatalf("I7: a session ends before its time")
	}
	time.Sleep(time.Nanosecond)
	synctest.Wait()
	if w.look(core.ID(id)) != nil {
		w.Fatalf("I7: a session outlives its time")
	}
}

func (w *world) commit(r *request, fault string) {
	if w.bubble {
		time.Sleep(time.Millisecond) // core renews no session twice in the same instant
		synctest.Wait()
	}
	w.sending = true
	w.step(r, fault, func() error { return r.visit.Commit(context.Background()) }, func() { r.commit(w.model) })
	w.sending = false
	w.end(r)
	for at, name := range cookieNames {
		if got := realCookie(r.jar, name+"="); got != r.sends[at] {
			w.Fatalf("the response sets %s=%q, want %q", name, got, r.sends[at])
		}
		if c := core.ID(r.sends[at]); c != "" && c != "-" && !w.stored[c] && w.look(c) == nil {
			w.Fatalf("I6: a cookie whose session was never stored")
		}
	}
	if w.told == "" && r.state == specLive {
		if got, want := w.look(core.ID(r.id)), w.model.live[r.id]; !maps.Equal(got, want) {
			w.Fatalf("I4: after the commit there is %v, want %v", got, want)
		}
	}
	w.answers = append(w.answers, r)
}

// arrive gives the response to the browser.
func (w *world) arrive(r *request) {
	b := r.browser
	// Its clock is slow: the store's limits are what is looked at here.
	lines := slices.Clone(r.jar.SetCookies)
	for i, line := range lines {
		if before, after, found := strings.Cut(line, "; expires="); found && !strings.HasPrefix(after, "Thu, 01 Jan 1970") {
			_, after, _ = strings.Cut(after, ";")
			lines[i] = before + ";" + after
		}
	}
	b.real.Take("/", lines...)
	for at, id := range r.sends {
		switch id {
		case "":
		case "-":
			b.has[at], b.turns[at] = "", 0
		default:
			b.has[at], b.turns[at] = id, r.signed[at]
		}
	}
}

// read compares what a handler sees with the model.
func (w *world) read(r *request) {
	if r.state == specEnded {
		return // with the values that it had, or none after Destroy
	}
	if got, want := see(w, r.session, maxAge), r.over(r.base); !maps.Equal(got, want) {
		w.Fatalf("I3: a handler sees %v, want %v", got, want)
	}
}

// look returns the values that are stored, nil for none.
func (w *world) look(id core.ID) values {
	v, _ := w.watcher.NewVisit(&jartest.Jar{}, nil)
	defer v.Abandon()
	s, err := v.Session(context.WithValue(context.Background(), watched{}, id))
	if err != nil {
		w.Fatal(err)
	}
	if s.IsNew() {
		return nil
	}
	return see(w, s, maxAge)
}

// check compares everything that is stored with the model.
func (w *world) check() {
	w.model.sweep()
	for _, id := range w.made {
		got := w.look(id)
		want, lives := w.model.live[string(id)]
		broken := "I10"
		if w.told != "" {
			broken = "I5" // by a step that failed
		}
		switch {
		case got != nil && w.ended[id]:
			w.Fatalf("I2: %s has come back with %v", string(id), got)
		case got == nil && lives:
			w.Fatalf("%s: %s is gone, but the model has %v", broken, string(id), want)
		case got == nil, !w.taken[string(id)]: // of a Renew that failed; nobody knows it
		case !lives:
			w.Fatalf("I2: %s lives on with %v", string(id), got)
		case !maps.Equal(got, want):
			w.Fatalf("%s: %s has %v, want %v", broken, string(id), got, want)
		}
		if got != nil {
			w.stored[id] = true
		} else if w.stored[id] && w.sent[id] { // else its request may still store it anew
			w.ended[id] = true
		}
	}
	for i, b := range w.browsers {
		for at, name := range cookieNames {
			if value, _ := b.real.Value("/", name); value != b.has[at] {
				w.Fatalf("browser %d has %s=%q, want %q", i, name, value, b.has[at])
			}
		}
	}
}

// realCookie is what a response does to the cookie of that name, as
// specClient.sends.
func realCookie(jar *jartest.Jar, name string) string {
	for _, l := range jar.SetCookies {
		if value, ok := strings.CutPrefix(l, name); ok {
			if value, _, _ = strings.Cut(value, ";"); value == "" {
				return "-"
			}
			return value
		}
	}
	return ""
}
