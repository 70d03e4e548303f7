// Package storetest tests an implementation of [core.Store]. The author of a store
// writes one function:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) core.Store { return mystore.New(dial(t)) })
//	}
//
// Each rule of the contract is one case. The failure of a case states the rule. A
// store without a capability skips its cases, and the message states the
// fallback of the core.
//
// [Faults] tests a store with a faulty server. The author passes functions that
// stop, pause or fill a real server or close its connections. Faults checks the
// class of every error, that each call ends in time, and the stored data
// afterwards.
//
// [Outage] tests a store that is a [core.Notifier]. [Bench] measures a store.
// [Faulty] wraps a store to make it fail in tests of code that uses a store.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// Run tests the stores that newStore returns: one subtest for each case, each with
// its own store. The stores may share a server, also with other clients, since no
// two cases use the same key. The cases that wait for a ttl run concurrently, so
// that Run takes a few seconds even for a store with a precision of seconds.
func Run(t *testing.T, newStore func(t *testing.T) core.Store) {
	t.Helper()
	var waiting sync.WaitGroup
	for _, c := range Cases() {
		one := func() {
			t.Run(c.Name, func(t *testing.T) { c.Run(t, newStore(t)) })
		}
		if c.waits {
			// Not t.Parallel, which runs only as many at once as there are processors.
			waiting.Go(one)
		} else {
			one()
		}
	}
	waiting.Wait()
}

// A Case is one rule of the contract with its test.
type Case struct {
	Name string // name of the subtest
	Rule string // text of the rule

	waits bool // mostly sleeps
	test  func(c *check)
}

// Cases returns all cases, for tests that can't use [Run]: a bubble of
// testing/synctest, in which waiting takes no time, can't have subtests.
//
//	for _, c := range storetest.Cases() {
//		t.Run(c.Name, func(t *testing.T) {
//			synctest.Test(t, func(t *testing.T) { c.Run(t, newStore(t)) })
//		})
//	}
func Cases() []Case {
	return slices.Concat(basicCases, payloadCases, ttlCases, touchCases, versionCases, batchCases, appendCases, contextCases, concurrentCases, ownerCases, ownerCoreCases, notifyCases)
}

// Run tests s, which must not be used by other code meanwhile. It may call
// t.FailNow and t.SkipNow, so it must run in the goroutine of the test.
//
// A store that has the methods View and Keep of stores/memory is tested twice, the
// second time through these methods.
func (c Case) Run(t testing.TB, s core.Store) {
	t.Helper()
	c.run(t, s)
	swapper, _ := core.As[core.Swapper](s)
	if k, ok := swapper.(keeper); ok { // not by As, since the core does not bypass the methods of a wrapper
		c.run(t, byStrings{s, k})
	}
}

func (c Case) run(t testing.TB, s core.Store) {
	t.Helper()
	k, secrets := newCheck(t, c.Rule, context.Background(), s)
	c.test(k)
	secrets.kept(k)
}

// A keeper has the methods by which core finds a store in this process that
// returns and takes payloads as strings, without copying.
type keeper interface {
	core.Swapper
	View(ctx context.Context, key string) (string, core.Version, error)
	Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error)
}

// byStrings calls View and Keep of a keeper in place of GetVersion and
// SetVersion.
type byStrings struct {
	core.Store
	keeper
}

func (s byStrings) Unwrap() core.Store { return s.Store }

func (s byStrings) Get(ctx context.Context, key string) ([]byte, error) {
	data, _, err := s.GetVersion(ctx, key)
	return data, err
}

func (s byStrings) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	text, v, err := s.View(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	return []byte(text), v, nil
}

func (s byStrings) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	return s.Keep(ctx, key+string(data), len(key), ttl, v)
}

// A check is one run of a case.
type check struct {
	testing.TB
	rule   string
	ctx    context.Context
	store  core.Store
	bare   core.Store // store, of whose errors the canary does not hear
	prefix string     // of all keys of this run
	moves  bool       // Batch supports several keys; for Faults
}

// newCheck returns a check of s, whose errors the canary reads, that of each call.
func newCheck(t testing.TB, rule string, ctx context.Context, s core.Store) (*check, *canary) {
	c := &check{TB: t, rule: rule, ctx: ctx, bare: s, prefix: "storetest:" + rand.Text() + ":"}
	y := &canary{secrets: []string{c.prefix, secretKey, secretPayload, oldPayload[:20], newPayload[:20], appended[:20], swappedIn, refusedPayload}}
	c.store = core.Observe(s, func(ctx context.Context, method string) (context.Context, func(error)) {
		return ctx, func(err error) { y.read(method, err) }
	})
	return c, y
}

// What the canary knows, beside the prefix of keys and the payloads of Faults.
const (
	secretKey      = "a-secret-key"
	secretPayload  = "a-secret-payload"
	swappedIn      = "what was swapped in"
	refusedPayload = "a write that should have been refused"
)

// A canary knows the keys of a run and its longer payloads, and tells which error
// contains one.
type canary struct {
	secrets []string

	mu   sync.Mutex
	leak string // the first, as a method and its error
}

// read looks at err and at what it wraps, which a log may print too.
func (y *canary) read(method string, err error) {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		y.read(method, e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			y.read(method, err)
		}
	}
	if err == nil {
		return
	}
	text := err.Error()
	if slices.ContainsFunc(y.secrets, func(secret string) bool { return strings.Contains(text, secret) }) {
		y.mu.Lock()
		defer y.mu.Unlock()
		if y.leak == "" {
			y.leak = method + ": " + text
		}
	}
}

// kept fails the run if an error contained a key or a payload.
func (y *canary) kept(c *check) {
	c.Helper()
	y.mu.Lock()
	leak := y.leak
	y.mu.Unlock()
	if leak != "" {
		c.broken("an error contains a key or a payload, or wraps one that does: %s", leak)
	}
}

// broken ends the run with a failure that states the rule.
func (c *check) broken(format string, args ...any) {
	c.Helper()
	c.Fatalf("%s\n\trule: %s", fmt.Sprintf(format, args...), c.rule)
}

func (c *check) key(name string) string { return c.prefix + name }

// ok fails the run if a call that must succeed returned an error.
func (c *check) ok(call string, err error) {
	c.Helper()
	if err != nil {
		c.broken("%s failed: %v", call, err)
	}
}

// is fails the run unless err is the sentinel.
func (c *check) is(call string, err, sentinel error) {
	c.Helper()
	if !errors.Is(err, sentinel) {
		c.broken("%s returned %s, not an error that is %q", call, said(err), sentinel)
	}
}

func said(err error) string {
	if err == nil {
		return "no error"
	}
	return fmt.Sprintf("%q", err)
}

func (c *check) set(name, data string, ttl time.Duration) span {
	c.Helper()
	w := begin()
	c.ok(fmt.Sprintf("Set with ttl %v", ttl), c.store.Set(c.ctx, c.key(name), []byte(data), ttl))
	return w.end()
}

func (c *check) destroy(name string) {
	c.Helper()
	c.ok("Destroy", c.store.Destroy(c.ctx, c.key(name)))
}

// holds fails the run unless the payload of the key is want.
func (c *check) holds(name, want string) {
	c.Helper()
	data, err := c.store.Get(c.ctx, c.key(name))
	if err != nil {
		c.broken("Get failed, want a payload of %d bytes: %v", len(want), err)
	}
	if string(data) != want {
		c.broken("Get returned %s, not %s", short(string(data)), short(want))
	}
}

// misses fails the run unless there is no such key.
func (c *check) misses(name string) {
	c.Helper()
	data, err := c.store.Get(c.ctx, c.key(name))
	if !errors.Is(err, core.ErrNotFound) {
		c.broken("Get of a missing key returned %s and %s, not an error that is %q", short(string(data)), said(err), core.ErrNotFound)
	}
}

func short(s string) string {
	if len(s) <= 40 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q… (%d bytes)", s[:40], len(s))
}

// swapper returns the ability, or skips the case.
func (c *check) swapper() core.Swapper {
	c.Helper()
	s, ok := core.As[core.Swapper](c.store)
	if !ok {
		c.Skip("no core.Swapper: the last write wins, even over a removal")
	}
	return s
}

// toucher returns the ability, or skips the case.
func (c *check) toucher() core.Toucher {
	c.Helper()
	t, ok := core.As[core.Toucher](c.store)
	if !ok {
		c.Skip("no core.Toucher: the core writes the payload again to renew a ttl")
	}
	return t
}

// notifier returns the ability, or skips the case.
func (c *check) notifier() core.Notifier {
	c.Helper()
	n, ok := core.As[core.Notifier](c.store)
	if !ok {
		c.Skip("no core.Notifier: requests do not wait for the store, and get its errors")
	}
	return n
}

// version returns the version of a key that must exist.
func (c *check) version(name string) core.Version {
	c.Helper()
	_, v, err := c.swapper().GetVersion(c.ctx, c.key(name))
	c.ok("GetVersion", err)
	if v == 0 {
		c.broken("GetVersion returned 0, which is not a version")
	}
	return v
}

// swap is a SetVersion that must succeed.
func (c *check) swap(name, data string, ttl time.Duration, v core.Version) (core.Version, span) {
	c.Helper()
	w := begin()
	now, err := c.swapper().SetVersion(c.ctx, c.key(name), []byte(data), ttl, v)
	w = w.end()
	c.ok("SetVersion", err)
	if now == 0 { // allowed: the server does not report the version
		_, v, err := c.swapper().GetVersion(c.ctx, c.key(name))
		if ttl > 0 {
			c.inTime(w, ttl)
		}
		c.ok("GetVersion", err)
		now = v
	}
	return now, w
}

// refuses is a SetVersion that must fail and change nothing.
func (c *check) refuses(name string, v core.Version, sentinel error) {
	c.Helper()
	_, err := c.swapper().SetVersion(c.ctx, c.key(name), []byte(refusedPayload), time.Hour, v)
	c.is("SetVersion", err, sentinel)
}

func (c *check) touch(name string, ttl time.Duration) span {
	c.Helper()
	w := begin()
	c.ok(fmt.Sprintf("Touch with ttl %v", ttl), c.toucher().Touch(c.ctx, c.key(name), ttl))
	return w.end()
}

// A span is the time from the begin to the end of a call. The ttl that the call
// set counts from some moment within it.
type span struct{ from, to time.Time }

func begin() span        { return span{from: time.Now()} }
func (s span) end() span { s.to = time.Now(); return s }

const (
	// shortTTL is for cases that wait for its end. It is not a whole second, so
	// that a store that rounds down fails.
	shortTTL = 300 * time.Millisecond
	// touchTTL is for a ttl that must not end before the next call.
	touchTTL = 1300 * time.Millisecond
	// coarse is how late a key may expire: a store whose clock ticks once a second
	// keeps a key for up to two more seconds. So does that of memcached, but it ticks
	// late when the machine stands still, and goes wrong by that and a second.
	coarse = 6 * time.Second
	step   = 10 * time.Millisecond
)

// expires waits until the ttl that was set in w ends. The run fails if the key
// expires too early or does not expire.
func (c *check) expires(name string, w span, ttl time.Duration) {
	c.Helper()
	for {
		asked := begin()
		_, err := c.store.Get(c.ctx, c.key(name))
		asked = asked.end()
		switch early, late := ttl-asked.to.Sub(w.from), asked.from.Sub(w.to)-ttl; {
		case err == nil && late > coarse:
			c.broken("the key was there %v after its ttl of %v had been over", late, ttl)
		case err == nil:
			time.Sleep(step)
		case !errors.Is(err, core.ErrNotFound):
			c.broken("Get failed: %v", err)
		case early > 0:
			c.broken("the key was gone %v before its ttl of %v was over", early, ttl)
		default:
			return
		}
	}
}

// outlive waits until a ttl that was set earlier has ended by the clock of the
// store: until other keys that get the same ttl now are gone. They are so many that each
// server has some, if there are several: each has a clock of its own.
func (c *check) outlive(ttl time.Duration) {
	c.Helper()
	const keys = 20
	var w [keys]span
	for i := range w {
		w[i] = c.set(fmt.Sprint("waited-for", i), "x", ttl)
	}
	for i := range w {
		c.expires(fmt.Sprint("waited-for", i), w[i], ttl)
	}
	time.Sleep(step) // lets the store finish what it does at the same moment
}
