package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
	"github.com/gensession/gensession/internal/stall"
)

// A phase is the moment at which a fault strikes.
type phase string

const (
	get        phase = "get"        // before the session is read
	running    phase = "running"    // while the handler runs; it is over, if it passes, before the session is saved
	set        phase = "set"        // before a new session is created
	swap       phase = "swap"       // before a changed session is saved
	destroy    phase = "destroy"    // before it is destroyed
	regenerate phase = "regenerate" // before it is replaced by an empty one
	renew      phase = "renew"      // before it gets a new id
	bury       phase = "bury"       // in the midst of that: the new id is stored, the old one not yet dead
)

var phases = []phase{get, running, set, swap, destroy, regenerate, renew, bury}

// steps is how many calls of the store may run into their time limit, one
// after the other. The load at the beginning is one of them.
func (p phase) steps() int {
	switch p {
	case get, set:
		return 1
	case regenerate, renew, bury:
		return 4
	}
	return 2
}

// An outcome is what may become of a request that met a fault.
type outcome struct {
	status int
	class  error // of what was reported; nil: nothing was
	// old is what may be under the key that the browser's id belongs to: the
	// record as it was (o), as this request wants it (n), nothing (-), or what
	// the fault put there (x). Nothing else ever is. Empty: there is no such key.
	old string
	// live says that the browser gets a cookie, with an id that works. A
	// removal it gets whenever a session is destroyed, also in vain.
	live bool
}

// done is what becomes of it without a fault.
func done(p phase) outcome {
	switch p {
	case get:
		return outcome{200, nil, "o", false}
	case set:
		return outcome{200, nil, "", true}
	case running, swap:
		return outcome{200, nil, "n", true}
	case destroy:
		return outcome{200, nil, "-", false}
	}
	return outcome{200, nil, "-", true}
}

func failed(class error, old string) outcome { return outcome{core.Status(class), class, old, false} }

// A treatment is a fault of one kind of store.
type treatment struct {
	args   []string // of the server
	proxy  bool     // there is one between store and server
	big    bool     // the request makes the session too large
	final  bool     // nothing works after it
	strike func(r *rig, key string)
	want   func(p phase) []outcome // nil: not applicable
}

func works(p phase) []outcome { return []outcome{done(p)} }

// down: the server can't be reached. What it has is as it was, or as a write
// left it whose answer did not come.
func down(p phase) []outcome { return downWith(p, "") }

// downAndLost: the same, and afterwards the server has nothing.
func downAndLost(p phase) []outcome {
	if p == running {
		return lost(p)
	}
	return downWith(p, "-")
}

func downWith(p phase, lost string) []outcome {
	late := "o-" + lost
	switch p {
	case get:
		return []outcome{failed(core.ErrUnavailable, "o"+lost)}
	case running:
		return works(p)
	case set:
		return []outcome{failed(core.ErrUnavailable, ""), failed(core.ErrOutcomeUnknown, "")}
	case swap:
		late = "on" + lost
	}
	return []outcome{failed(core.ErrUnavailable, "o"+lost), failed(core.ErrOutcomeUnknown, late)}
}

// late: the request was sent, so a write can't be known not to be applied.
func late(p phase) []outcome {
	all := down(p)
	if p == get || p == running {
		return all
	}
	return all[1:]
}

// lateAndLost: a write comes late for a session that is gone by then, or never, and
// does not bring it back.
func lateAndLost(p phase) []outcome {
	switch p {
	case get:
		return []outcome{failed(core.ErrUnavailable, "-")}
	case running:
		return lost(p)
	case set:
		return nil
	}
	return []outcome{failed(core.ErrOutcomeUnknown, "-"), failed(core.ErrUnavailable, "-")}
}

// broken: connections that broke while nobody used them. A write to Redis may
// find out by failing; see the documentation of redisstore.
func broken(p phase, after []outcome) []outcome {
	if p == get {
		return after
	}
	o := done(p)
	o.old += "o"
	if p == set {
		o.old = ""
	}
	for _, a := range after {
		o.old += a.old
	}
	return append(after, failed(core.ErrOutcomeUnknown, o.old), failed(core.ErrUnavailable, o.old))
}

// lost: the session is not there any more.
func lost(p phase) []outcome {
	switch p {
	case get:
		return []outcome{{200, nil, "-", false}}
	case running, swap:
		return []outcome{{200, core.ErrGone, "-", false}}
	case regenerate, renew, bury:
		return []outcome{failed(core.ErrGone, "-")}
	}
	return works(p)
}

// full: the server takes nothing more.
func full(p phase) []outcome {
	switch p {
	case get, running, destroy:
		return works(p)
	}
	return []outcome{failed(core.ErrRefused, "o")}
}

// readOnly: the server changes nothing.
func readOnly(p phase) []outcome {
	if p == get || p == running {
		return works(p)
	}
	return []outcome{failed(core.ErrRefused, "o")}
}

// demoted: the server has become a replica. The store looks for another one and is
// down meanwhile.
func demoted(p phase) []outcome {
	all := append(works(p), failed(core.ErrUnavailable, done(p).old))
	if p == get || p == running {
		return all // until it is noticed, reads work
	}
	return []outcome{failed(core.ErrUnavailable, "o")}
}

// shut: the server talks to us no more.
func shut(p phase) []outcome {
	if p == running {
		return works(p)
	}
	return []outcome{failed(core.ErrRefused, "o")}
}

// corrupt: something else stands where the session was, and stays there; a request in
// the midst of it may append blanks, which say nothing.
func corrupt(p phase) []outcome {
	switch p {
	case get:
		return []outcome{{200, core.ErrCorrupt, "x", false}} // a new session
	case set:
		return nil
	case running, swap, renew, bury:
		return []outcome{failed(core.ErrCorrupt, "x")}
	}
	return works(p)
}

// wrongType: something that is no value at all.
func wrongType(p phase) []outcome {
	if p == get {
		return []outcome{failed(core.ErrCorrupt, "x")}
	}
	return corrupt(p)
}

func tooLarge(p phase) []outcome {
	switch p {
	case running:
		return works(p)
	case set, swap:
		return []outcome{failed(core.ErrTooLarge, "o")}
	case regenerate:
		return []outcome{failed(core.ErrTooLarge, "-")}
	case renew: // it has the new id, and not what came after
		o := failed(core.ErrTooLarge, "-")
		o.live = true
		return []outcome{o}
	}
	return nil
}

// mixedUp: replies that belong to somebody else. What is seen is right or an
// error.
func mixedUp(p phase) []outcome {
	all := append(works(p), failed(core.ErrCorrupt, done(p).old))
	if p != get {
		old := done(p).old
		if p != set {
			old += "o"
		}
		all = append(all, failed(core.ErrOutcomeUnknown, old), failed(core.ErrConflict, old))
	}
	return append(all, failed(core.ErrUnavailable, "o"))
}

// undone is a strike on a server that can be taken back.
func undone(do func(r *rig) (undo func())) func(*rig, string) {
	return func(r *rig, _ string) { r.later(do(r)) }
}

func kill(r *rig) func() { r.process().Kill(); return r.process().Start }
func pause(r *rig) func() {
	r.process().Pause()
	time.Sleep(10 * time.Millisecond) // each of its threads has to take notice
	return r.process().Resume
}

func restart(r *rig, _ string) { r.process().Restart() }
func vanish(r *rig, key string) {
	if key != "" {
		r.remove(key)
	}
}

const garbage = `{"owner":"somebody","n":7`

func scribble(r *rig, key string) {
	if key != "" {
		r.overwrite(key, garbage)
	}
}

func nothing(*rig, string) {}

// network is a fault of the network.
func network(p func(r *rig), want func(phase) []outcome) treatment {
	return treatment{proxy: true, want: want, strike: func(r *rig, _ string) { p(r) }}
}

// refusing is a fault of Redis that can be switched on and off.
func refusing(do func(*servers.RedisServer) (undo func()), want func(phase) []outcome) map[string]treatment {
	return map[string]treatment{"redis": {want: want, strike: undone(func(r *rig) func() { return do(r.redis) })}}
}

// A cell is one request that meets one fault.
type cell struct {
	t     testing.TB
	phase phase
	treat treatment
	rig   *rig
	key   string // of the session that was there before, if any

	struck bool
	lost   time.Duration // what striking took
}

const (
	ownerKey core.Key[string] = "owner"
	countKey core.Key[int]    = "n"
	fillKey  core.Key[string] = "fill"
)

// filling tells whether a record is whole: it repeats what the others say.
func filling(owner string, n int) string { return strings.Repeat(fmt.Sprintf("%s:%d;", owner, n), 20) }

func put(s *core.Session, owner string, n int) error {
	return errors.Join(ownerKey.Set(s, owner), countKey.Set(s, n), fillKey.Set(s, filling(owner, n)))
}

// state is what stands under key: see outcome.old.
func (c *cell) state(key string) string {
	c.t.Helper()
	data, ok := c.rig.read(key)
	if !ok || tombstone(data) {
		return "-"
	}
	var r struct {
		Owner, Fill string
		N           int
	}
	err := json.Unmarshal([]byte(data), &r)
	switch {
	case strings.TrimRight(data, " \t") == garbage, strings.Contains(data, "WRONGTYPE"):
		return "x"
	case err == nil && r.Owner == "alice" && r.Fill == filling("alice", r.N) && r.N == 1:
		return "o"
	case err == nil && r.Owner == "alice" && r.Fill == filling("alice", r.N) && r.N == 2:
		return "n"
	}
	return fmt.Sprintf("half a record, or a foreign one, of %d bytes", len(data))
}

// tombstone reports whether data is what the core leaves in the place of a session
// whose id was given up.
func tombstone(data string) bool {
	first, _, _ := strings.Cut(data, "\n")
	return strings.TrimRight(first, " \t") == "null"
}

// A oneKey is a store that changes one key at a time, as in a Cluster and in
// memcached: there a Renew has two steps.
type oneKey struct{ *storetest.Faulty }

func (s oneKey) Unwrap() core.Store { return s.Faulty }

// As of the wrapped store, but for several keys.
func (s oneKey) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	w, _ := core.As[core.Swapper](s.Faulty)
	return w.GetVersion(ctx, key)
}

func (s oneKey) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	w, _ := core.As[core.Swapper](s.Faulty)
	return w.SetVersion(ctx, key, data, ttl, v)
}

func (s oneKey) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if len(writes) > 1 {
		return nil, errors.ErrUnsupported
	}
	b, _ := core.As[core.Batcher](s.Faulty)
	return b.Batch(ctx, writes...)
}

func (s oneKey) Append(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
	b, _ := core.As[core.Batcher](s.Faulty)
	return b.Append(ctx, key, suffix)
}

func (c *cell) strike() {
	begun := time.Now()
	c.struck = true
	c.treat.strike(c.rig, c.key)
	c.lost += time.Since(begun)
}

func (c *cell) heal() {
	begun := time.Now()
	c.rig.heal()
	c.lost += time.Since(begun)
}

// handle is the application.
func (c *cell) handle(x exchange) error {
	s, err := x.from()
	if err != nil {
		return err
	}
	if got := ownerKey.Get(s); got != "" && got != x.user {
		c.t.Errorf("%s sees the session of %s", x.user, got)
	}
	change := func() error {
		if !c.treat.big {
			return put(s, x.user, 2)
		}
		return errors.Join(put(s, x.user, 2), fillKey.Set(s, strings.Repeat("x", 2*largest)))
	}
	switch phase(strings.TrimPrefix(x.path, "/")) {
	case "begin":
		err = put(s, x.user, 1)
	case "next":
		err = put(s, x.user, countKey.Get(s)+1)
	case get:
	case running:
		err = change()
		c.strike()
		c.heal()
		err = errors.Join(err, put(s, x.user, 2))
	case set, swap:
		c.strike()
		err = change()
	case destroy:
		c.strike()
		err = s.Destroy(x.ctx)
	case regenerate:
		c.strike()
		if err = s.Reset(x.ctx); err == nil {
			err = change()
		}
	case renew:
		c.strike()
		if err = s.Renew(x.ctx); err == nil {
			err = change()
		}
	case bury:
		c.rig.faulty.After(func(_ context.Context, op storetest.Op, _ string) error {
			if op == storetest.OpSetVersion && !c.struck {
				c.strike()
			}
			return nil
		})
		if err = s.Renew(x.ctx); err == nil {
			err = change()
		}
	}
	if err == nil {
		x.answer(strconv.Itoa(countKey.Get(s)))
	}
	return err
}

// run is the whole cell.
func (c *cell) run(adapter string) {
	t := c.t
	var store core.Store = c.rig.faulty
	if c.phase == bury {
		store = oneKey{c.rig.faulty}
	}
	a := start(t, adapter, store, core.Options{
		OpTimeout: opTimeout, ReconnectTimeout: reconnect, MaxSize: 8 * largest,
	}, c.handle)
	alice := &visitor{app: a, name: "alice"}
	if c.phase != set {
		if r, err := alice.get("/begin"); err != nil || r.status != 200 || !r.live {
			t.Fatalf("before the fault: %v, %v, %v", r, err, a.errs.take())
		}
		if k := c.rig.known(); len(k) != 1 {
			t.Fatalf("the first request used %d keys", len(k))
		}
		c.key = c.rig.known()[0]
		if got := c.state(c.key); got != "o" {
			t.Fatalf("before the fault there is %s", got)
		}
	}
	a.errs.take()

	if c.phase == get {
		c.strike()
		c.lost = 0
	}
	r, err := alice.get("/" + string(c.phase))
	if err != nil {
		t.Fatal(err)
	}
	seen := a.errs.take()
	c.rig.faulty.After(nil)
	if !c.struck {
		t.Fatal("the fault did not strike")
	}
	limit := time.Duration(c.phase.steps())*opTimeout + reconnect + slack
	if took := r.took - c.lost; took > limit {
		t.Errorf("it took %v, more than %v", took, limit)
	}
	c.rig.heal()
	if !c.treat.final {
		c.rig.settle()
	}
	for _, k := range c.rig.known() {
		if seen != nil && strings.Contains(seen.Error(), k) {
			t.Error("an error shows a key of the store")
		}
	}

	old := ""
	if c.key != "" {
		old = c.state(c.key)
	}
	fits := func(o outcome) bool {
		return r.status == o.status && r.live == o.live && (o.class == nil && seen == nil || o.class != nil && errors.Is(seen, o.class)) &&
			(c.key == "" || len(old) == 1 && strings.Contains(o.old, old))
	}
	wants := c.treat.want(c.phase)
	if !slices.ContainsFunc(wants, fits) {
		t.Errorf("answered %v\nreported: %v\nstored: %s\nwant one of", r, seen, old)
		for _, w := range wants {
			t.Errorf("\t%d, live cookie: %t, stored: %s, reported: %v", w.status, w.live, w.old, w.class)
		}
	}
	if r.removes && c.phase != destroy && c.phase != regenerate {
		t.Error("the cookie was removed")
	}
	if !r.removes && c.phase == destroy {
		t.Error("the cookie was not removed")
	}
	next := 1 // the count that the browser should see next
	others := ""
	for _, k := range c.rig.known() {
		if k != c.key {
			others += c.state(k)
		}
	}
	if strings.Trim(others, "on-") != "" {
		t.Errorf("besides there is %s", others)
	}
	switch {
	case r.live && (c.phase == swap || c.phase == running):
		next = 3
	case r.live:
		switch strings.ReplaceAll(others, "-", "") {
		case "o":
			next = 2
		case "n":
			next = 3
		default:
			t.Errorf("the browser got a cookie, and the new keys have %q", others)
		}
	case old == "o" && !r.removes:
		next = 2
	case old == "n" && !r.removes:
		next = 3
	}
	if c.treat.final {
		return
	}
	if old == "x" && c.rig.redis != nil {
		c.rig.remove(c.key) // a list would stay in the way for ever
	}
	if r, err := alice.get("/next"); err != nil || r.status != 200 || r.body != strconv.Itoa(next) {
		t.Errorf("after the fault: %v, %v, want %d\nreported: %v", r, err, next, a.errs.take())
	}
}

// reconnect is how long the requests of a cell wait for the server.
const reconnect = 300 * time.Millisecond

func TestMatrix(t *testing.T) {
	count := map[string]int{}
	total, turn := 0, 0
	if soak.On {
		turn = rand.IntN(len(adapters))
	}
	for round := range soak.Rounds(1, 1, len(adapters)) { // each with another adapter in each cell
		pair := 0
		for _, f := range faultList {
			t.Run(f.name, func(t *testing.T) {
				for _, store := range []string{"redis", "memcache", "memory", "redis by New", "memcache by New"} {
					base, byNew := strings.CutSuffix(store, " by New")
					treat, ok := f.stores[base]
					if byNew {
						ok = ok && f.name != "no DNS" // a setting of the client, which is to have none
						treat.want = byNewWants(f.name, base, treat.want)
					}
					if !ok {
						continue
					}
					pair++
					if byNew && !soak.On && pair%4 > 0 {
						continue
					}
					for i, p := range phases {
						if treat.want(p) == nil || !soak.On && !quick(pair, i) {
							continue
						}
						t.Run(string(p)+"/"+store, func(t *testing.T) {
							s := startServer(t, base, treat.args...)
							for j, a := range adapters {
								if j != (pair+i+turn+round)%len(adapters) {
									continue
								}
								t.Run(a.name, func(t *testing.T) {
									count[store]++
									total++
									stall.Retry(t, func(t testing.TB) { // a call has half a second
										before := append(lasting(), goleak.IgnoreCurrent(), servers.IgnoreServers())
										t.Cleanup(func() { leakless(t, before) })
										c := &cell{t: t, phase: p, treat: treat}
										c.rig = newRigBy(t, s, treat.proxy, byNew)
										c.run(a.name)
									})
								})
							}
						})
					}
				}
			})
		}
	}
	t.Logf("%d cells: %v", total, count)
}

// byNewWants is what becomes of a fault for a store that uses a client of the
// user's with its default settings.
func byNewWants(fault, store string, want func(phase) []outcome) func(phase) []outcome {
	var more func(phase, []outcome) []outcome
	switch {
	case store == "memcache" && (fault == "kill" || fault == "restart" || fault == "refused"):
		// The first write over a connection that has died may find that out by
		// failing: see the documentation of memcachestore.
		more = broken
	case store == "redis" && fault == "NOPERM":
		// A new connection is refused already, as the default settings ask for
		// a cache.
		more = func(_ phase, all []outcome) []outcome {
			for _, o := range all {
				if o.class == core.ErrRefused {
					all = append(all, failed(core.ErrUnavailable, o.old), failed(core.ErrOutcomeUnknown, o.old))
				}
			}
			return all
		}
	default:
		return want
	}
	return func(p phase) []outcome {
		all := want(p)
		if all == nil {
			return nil
		}
		return more(p, all)
	}
}

// leakless waits until the goroutines are those that there were. Rueidis has
// one that sleeps for up to a second and then looks at the cluster again,
// closed or not.
func leakless(t testing.TB, before []goleak.Option) {
	t.Helper()
	var err error
	for range 5 {
		if err = goleak.Find(before...); err == nil {
			return
		}
	}
	t.Error(err)
}

// quick chooses the phases of a fault and a store that are tested without
// SOAK=1: each has one, and the choice goes round.
func quick(pair, phase int) bool { return phase == pair*3%len(phases) }

func itoa(n int) string { return strconv.Itoa(n) }
