// Package browsers_test proves what core promises to browsers: logins, logouts
// and cookies when requests overlap, answers come late or never, processes
// differ, and cookies change their scope.
//
//   - Random schedules of a few browsers, in the time of testing/synctest, with
//     invariants (model_test.go), and planted faults that they have to find
//     (planted_test.go).
//   - Random lives of one user, with pauses as long as a session lives and calls of the
//     store that fail (lives_test.go).
//   - Several processes and applications (processes_test.go), and several scopes
//     of one cookie (scopes_test.go).
//   - Sequences that were looked for to break a promise (sequences_test.go),
//     also over real HTTP (http_test.go).
//
// With SOAK=1 in the environment the schedules are as many as there is time for: see
// internal/soak.
package browsers_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	keyA = []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")
	keyB = []byte("q8Ld2Vt6Kz0RbY5wNx3HcJ7mPf1SgT9e")
	bg   = context.Background()
)

// cookieNames are those of the session's cookies, in the order in which they count.
var cookieNames = []string{"koa.sid", "koa.sid.next", "koa.sid.late"}

const (
	user   core.Key[string] = "user"
	token  core.Key[string] = "token"
	visits core.Key[int]    = "visits"
)

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

// plain hides every ability but the three methods.
type plain struct{ core.Store }

// stores are the kinds of them.
var stores = []struct {
	name string
	open func(t testing.TB) core.Store
}{
	{"memory", func(t testing.TB) core.Store { return newMemory(t) }},
	{"stepwise", func(t testing.TB) core.Store { return stepwise(newMemory(t)) }},
	{"plain", func(t testing.TB) core.Store { return plain{newMemory(t)} }},
}

func newMemory(t testing.TB) core.Store {
	s := memorystore.New(nil)
	t.Cleanup(func() { s.Close() })
	return s
}

// newManager adds a key to the options if they want one.
func newManager(t testing.TB, store core.Store, o core.Options) *core.Manager {
	t.Helper()
	if o.Keys == nil && o.Carrier == nil && o.Cookie.Signed != core.Off {
		o.Keys = [][]byte{keyA}
	}
	m, err := core.New(store, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// A handler is what runs between Begin and Commit.
type handler func(v *core.Visit, s *core.Session)

// An exchange is a request under way, or what became of it.
type exchange struct {
	jar   *jartest.Jar
	visit *core.Visit
	ctx   context.Context
	err   error // of Begin or Commit: the answer is an error page
}

// begin begins a request, and loads its session unless that is deferred.
func begin(m *core.Manager, jar *jartest.Jar) *exchange { return beginWith(m, jar, jar) }

// beginWith is begin where the core sees jar as seen.
func beginWith(m *core.Manager, jar *jartest.Jar, seen core.Jar) *exchange {
	v, _ := m.NewVisit(seen, nil)
	x := &exchange{jar: jar, visit: v, ctx: core.NewContext(bg, v)}
	if x.err = v.Begin(x.ctx); x.err != nil {
		v.Abandon()
	}
	return x
}

// run calls h with the session.
func (x *exchange) run(t testing.TB, h handler) *exchange {
	t.Helper()
	if x.err != nil || h == nil {
		return x
	}
	s, err := x.visit.Session(x.ctx)
	if err != nil {
		t.Fatal(err)
	}
	h(x.visit, s)
	return x
}

func (x *exchange) commit() *exchange {
	if x.err == nil {
		x.err = x.visit.Commit(x.ctx)
	}
	return x
}

// to delivers the answer.
func (x *exchange) to(b *jartest.Browser) *exchange {
	b.Take(x.jar.Path(), x.jar.SetCookies...)
	return x
}

// ok fails the test if the answer is an error.
func (x *exchange) ok(t testing.TB) *exchange {
	t.Helper()
	if x.err != nil {
		t.Errorf("the request failed: %v", x.err)
	}
	return x
}

// request is a whole request of b, without its answer.
func request(t testing.TB, m *core.Manager, b *jartest.Browser, h handler) *exchange {
	t.Helper()
	return begin(m, b.Jar("/")).run(t, h).commit().ok(t)
}

// visit is a whole request of b, with its answer.
func visit(t testing.TB, m *core.Manager, b *jartest.Browser, h handler) *exchange {
	t.Helper()
	return request(t, m, b, h).to(b)
}

// cookies are the names of the Set-Cookie lines, removals marked by a minus.
func (x *exchange) cookies() string {
	var names []string
	for _, line := range x.jar.SetCookies {
		name, rest, _ := strings.Cut(line, "=")
		if strings.Contains(rest, "expires=Thu, 01 Jan 1970") {
			name = "-" + name
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// loginAs is the handler of a login.
func loginAs(t testing.TB, name string) handler {
	return func(_ *core.Visit, s *core.Session) {
		t.Helper()
		must(t, s.Login(core.LoginOptions{}))
		must(t, user.Set(s, name))
	}
}

// set is a handler that sets the number of visits.
func set(t testing.TB, n int) handler {
	return func(_ *core.Visit, s *core.Session) {
		t.Helper()
		must(t, visits.Set(s, n))
	}
}

func logout(t testing.TB) handler {
	return func(_ *core.Visit, s *core.Session) {
		t.Helper()
		must(t, s.Destroy(bg))
	}
}

// who is logged in, for a request with the cookies that b has now.
func who(t testing.TB, m *core.Manager, b *jartest.Browser) (name string) {
	t.Helper()
	begin(m, b.Jar("/")).run(t, func(_ *core.Visit, s *core.Session) { name = user.Get(s) }).ok(t).visit.Abandon()
	return name
}

func wantUser(t testing.TB, m *core.Manager, b *jartest.Browser, want string) {
	t.Helper()
	if got := who(t, m, b); got != want {
		t.Errorf("user is %q, want %q", got, want)
	}
}

// copied is a browser with what b has now.
func copied(b *jartest.Browser) *jartest.Browser {
	c := &jartest.Browser{TLS: b.TLS}
	for pair := range strings.SplitSeq(b.Cookie("/"), "; ") {
		if pair != "" {
			c.Take("/", pair+"; path=/")
		}
	}
	return c
}

// lives reports whether the store has the session of id.
func lives(t testing.TB, m *core.Manager, id core.ID) bool {
	t.Helper()
	_, err := m.GetByID(bg, id)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		t.Error(err)
	}
	return err == nil
}

func idOf(b *jartest.Browser) core.ID {
	v, _ := b.Value("/", "koa.sid")
	return core.ID(v)
}

// failing is a hook of a store that fails the calls of op.
func failing(op storetest.Op, err error) storetest.Hook {
	return func(_ context.Context, called storetest.Op, _ string) error {
		if called == op {
			return err
		}
		return nil
	}
}

// seeded plays one seed after the other, in one of so many parts of a test: quick ones, a
// few under the race detector, or with SOAK=1 up to most, beginning by chance. FROM in the
// environment is where it begins.
func seeded(t *testing.T, parts, quick, underRace, most int, play func(seed uint64) (problems, log []string)) {
	t.Helper()
	if raced {
		quick = underRace
	}
	from := uint64(0)
	if first := os.Getenv("FROM"); first != "" {
		var err error
		from, err = strconv.ParseUint(first, 10, 64)
		must(t, err)
	} else if soak.On {
		from = rand.Uint64N(1 << 60)
	}
	for i := range soak.Rounds(parts, quick, most) {
		seed := from + uint64(i)
		if problems, log := play(seed); len(problems) > 0 {
			t.Fatalf("seed %d:\n%s\n\n%s", seed, strings.Join(problems, "\n"), strings.Join(log, "\n"))
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
