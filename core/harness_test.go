package core_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

var testKey = []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")

// An app is a manager on a memory store whose calls the test can count, fail
// and stop, and one browser.
type app struct {
	t       *testing.T
	manager *core.Manager
	store   *storetest.Faulty
	browser *jartest.Browser
}

// newApp makes one with the options, to which it adds a key.
func newApp(t *testing.T, o *core.Options) *app {
	t.Helper()
	return newAppOn(t, newMemory(t), o)
}

func newMemory(t *testing.T) *memorystore.Store {
	s := memorystore.New(nil)
	t.Cleanup(func() { s.Close() })
	return s
}

func newAppOn(t *testing.T, store core.Store, o *core.Options) *app {
	t.Helper()
	if o == nil {
		o = &core.Options{}
	}
	if o.Keys == nil && o.Carrier == nil && o.Cookie.Signed != core.Off {
		o.Keys = [][]byte{testKey}
	}
	c := leaksOf(t)
	a := &app{t: t, store: storetest.NewFaulty(c.wrap(store)), browser: &jartest.Browser{}}
	m, err := core.New(a.store, c.watch(*o))
	if c.sayError(err); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	a.manager = m
	return a
}

// A handler is what runs between Begin and Commit.
type handler func(v *core.Visit, s *core.Session)

// get runs one request of the browser: the handler gets the session, and the
// response's cookies go back to the browser.
func (a *app) get(target string, h handler) *exchange {
	a.t.Helper()
	e := a.send(a.browser.Jar(target), h)
	a.browser.Take(e.jar.Path(), e.jar.SetCookies...)
	return e
}

// An exchange is what became of a request.
type exchange struct {
	jar    *jartest.Jar
	begin  error // the handler did not run
	commit error
}

// err is what the adapter would have answered with.
func (e *exchange) err() error { return errors.Join(e.begin, e.commit) }

// send runs one request with a jar of the test's own.
func (a *app) send(jar *jartest.Jar, h handler) *exchange {
	a.t.Helper()
	return serve(a.t, a.manager, jar, h)
}

func serve(t *testing.T, m *core.Manager, jar *jartest.Jar, h handler) *exchange {
	t.Helper()
	v, ok := m.NewVisit(jar, nil)
	if !ok {
		t.Fatal("NewVisit: not ok without an outer visit")
	}
	e := &exchange{jar: jar}
	defer e.tell(leaksOf(t))
	ctx := core.NewContext(context.Background(), v)
	if e.begin = v.Begin(ctx); e.begin != nil {
		v.Abandon()
		return e
	}
	if h != nil {
		s, err := v.Session(ctx)
		if err != nil {
			t.Fatalf("Session: %v", err)
		}
		h(v, s)
	}
	e.commit = v.Commit(ctx)
	return e
}

// tell lets the canary of the test know of e.
func (e *exchange) tell(c *leaks) {
	c.cookies(e.jar.Cookie())
	c.cookies(e.jar.SetCookies...)
	c.sayError(e.begin)
	c.sayError(e.commit)
}

// ok fails the test if the exchange has failed.
func (a *app) ok(e *exchange) *exchange {
	a.t.Helper()
	if err := e.err(); err != nil {
		a.t.Fatalf("the request failed: %v", err)
	}
	return e
}

// fails fails the test unless the commit of the exchange failed with target.
func (a *app) fails(target error, e *exchange) *exchange {
	a.t.Helper()
	must(a.t, e.begin)
	wantIs(a.t, e.commit, target)
	return e
}

const visits core.Key[int] = "visits"

// count is the handler of a visit counter.
func count(t *testing.T) handler {
	return func(_ *core.Visit, s *core.Session) {
		t.Helper()
		if _, err := visits.Update(s, func(n int) int { return n + 1 }); err != nil {
			t.Errorf("Update: %v", err)
		}
	}
}

// wantVisits sends a request that reads the counter.
func (a *app) wantVisits(want int) {
	a.t.Helper()
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		a.t.Helper()
		if got := visits.Get(s); got != want {
			a.t.Errorf("visits = %d, want %d", got, want)
		}
	}))
}

// cookies are the names of the Set-Cookie lines, removals marked by a minus. The
// copy of the id in a cookie beside the first is left out: see spare.
func (e *exchange) cookies() string {
	var names []string
	copies := map[bool]string{true: "koa.sid.next", false: "koa.sid.late"}[e.spare()]
	values := e.values()
	copied := values[copies] != "" && values[copies] == values["koa.sid"]
	for _, line := range e.jar.SetCookies {
		name, rest, _ := strings.Cut(line, "=")
		if copied && strings.HasPrefix(name, copies) {
			continue
		}
		if strings.Contains(rest, "expires=Thu, 01 Jan 1970") {
			name = "-" + name
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// spare reports whether NAME.next has a copy of the id in the first cookie.
func (e *exchange) spare() bool {
	values := e.values()
	return values["koa.sid.next"] != "" && values["koa.sid.next"] == values["koa.sid"]
}

// values are those of the Set-Cookie lines.
func (e *exchange) values() map[string]string {
	values := map[string]string{}
	for _, line := range e.jar.SetCookies {
		name, rest, _ := strings.Cut(line, "=")
		values[name], _, _ = strings.Cut(rest, ";")
	}
	return values
}

// wantCookies checks them.
func (e *exchange) wantCookies(t *testing.T, want string) {
	t.Helper()
	if got := e.cookies(); got != want {
		t.Errorf("Set-Cookie: %q, want %q", got, want)
	}
}

const pair = "koa.sid koa.sid.sig"

// calls are the calls of the store since the last time, such as "get-version 1".
func (a *app) wantCalls(want map[storetest.Op]int) {
	a.t.Helper()
	for _, op := range []storetest.Op{storetest.OpGet, storetest.OpGetVersion, storetest.OpSet, storetest.OpSetVersion, storetest.OpTouch, storetest.OpDestroy, storetest.OpBatch, storetest.OpAppend} {
		if got := a.store.Calls(op); got != want[op] {
			a.t.Errorf("calls of %s: %d, want %d", op, got, want[op])
		}
	}
}

// value is the id in the browser's cookie.
func (a *app) value() string {
	v, _ := a.browser.Value("/", "koa.sid")
	return v
}

// stepwise hides that a store can change several keys in one step.
func stepwise(s core.Store) core.Store {
	swapper, _ := core.As[core.Swapper](s)
	toucher, _ := core.As[core.Toucher](s)
	notifier, _ := core.As[core.Notifier](s)
	return struct {
		core.Store
		core.Swapper
		core.Toucher
		core.Notifier
	}{s, swapper, toucher, notifier}
}

// plainStore hides every ability but the three methods.
type plainStore struct{ core.Store }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	leaksOf(t).sayError(err)
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want %v", err, target)
	}
}

var bg = context.Background()

type profile struct {
	Name string            `json:"name"`
	Tags []string          `json:"tags"`
	More map[string]string `json:"more"`
}
