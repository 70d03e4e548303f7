package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/bench/internal/ours"
	"github.com/gensession/gensession/bench/internal/relay"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/stall"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// roundTrips are how many round trips to the store a request makes, one after
// the other, loading included. A cell with two numbers has that of the default
// and that of KoaCompat. The columns are those of tripStores.
//
// Redis, the Cluster and memcached are counted at the connections, as
// relay.Relay.Trips says, the others at the methods of the store.
var roundTrips = []struct{ operation, cells string }{
	{"read", "1     | 1     | 1     | 1      | 1     | 1"},
	{"write", "2     | 2     | 2     | 2      | 2     | 2"},
	{"login: Login, Set", "2     | 2     | 3     | 3      | 3 / 4 | 3"},
	{"login: Set, Login", "2     | 2     | 3     | 3      | 3 / 4 | 3"},
	{"login: Login, Set, Save", "2     | 2     | 3     | 3      | 3 / 4 | 3"},
	{"Renew, Set", "3     | 3     | 4     | 5      | 4 / 5 | 4"},
	{"Set, Renew", "2     | 2     | 3     | 3      | 3 / 4 | 3"},
	{"Reset", "2     | 2     | 2     | 2      | 2     | 2"},
	{"Reset, Set", "3     | 3     | 3     | 3      | 3     | 3"},
	{"logout", "2     | 2     | 2     | 2      | 3 / 2 | 3 / 2"},
	{"rolling, due", "2     | 2     | 2     | 2      | 2     | 2"},
	{"rolling, not due", "1     | 1     | 1     | 1      | 1     | 1"},
	{"Take of nothing", "1     | 1     | 1     | 1      | 1     | 1"},
	{"Take", "2     | 2     | 2     | 2      | 2     | 1"},
	{"Take that meets a save", "4     | 4     | 4     | 4      | 4     | 1"},
	{"write that meets a save", "4     | 4     | 4     | 4      | 4     | 2"},
	{"login that meets a save", "4     | 4     | 7     | 9      | 7 / 8 | 3"},
	{"login that meets a login", "5 / 3 | 5 / 3 | 7 / 5 | 8 / 5  | 8 / 5 | 3"},
	{"logout that meets a save", "4 / 2 | 4 / 2 | 4 / 2 | 6 / 2  | 5 / 2 | 3 / 2"},
	{"late request that reads", "1     | 1     | 1     | 1      | 1     | 1"},
	{"late request that writes", "2     | 2     | 2     | 2      | 2     | 2"},
	{"late request that logs out", "4 / 1 | 4 / 1 | 4 / 1 | 4 / 1  | 5 / 1 | 4 / 1"},
	{"late request that logs in", "3 / 2 | 3 / 2 | 3 / 2 | 3 / 2  | 3 / 2 | 4 / 2"},
	{"id that is unknown, write", "2     | 2     | 2     | 2      | 2     | 2"},
	{"id that is unknown, login", "2     | 2     | 2     | 2      | 2     | 2"},
	{"first visit, read", "0     | 0     | 0     | 0      | 0     | 0"},
	{"first visit, write", "1     | 1     | 1     | 1      | 1     | 1"},
	{"first visit, login", "1     | 1     | 1     | 1      | 1     | 1"},
	{"owner: first visit, login", "1 | 1 | 2 | 2 | – | –"},
	{"owner: login", "2 | 2 | 4 | 4 | – | –"},
	{"owner: login, MaxSessions", "4 | 4 | 5 | 5 | – | –"},
	{"owner: login, RefuseMore", "5 | 5 | 6 | 6 | – | –"},
	{"owner: second login", "2 | 2 | 4 | 4 | – | –"},
	{"owner: read", "1 | 1 | 1 | 1 | – | –"},
	{"owner: write", "2 | 2 | 2 | 2 | – | –"},
	{"owner: Renew", "2 | 2 | 5 | 6 | – | –"},
	{"owner: logout", "2 | 2 | 3 | 4 | – | –"},
	{"owner: list of 10", "2 | 2 | 2 | 2 | – | –"},
}

// crowdLogin are the most calls of the store that a login makes which meets 64
// saves, and crowdWrite those that each save makes in a crowd, on average. On
// memcached two of the login's calls send nothing, and others are two round trips.
var crowdLogin = map[string]int64{"memory": 4, "redis": 4, "memcache": 9}

const crowdWrite = 5

// A tripStore is a store whose round trips are counted.
type tripStore struct {
	name string
	open func(t *testing.T) (core.Store, func() int)
}

var tripStores = []tripStore{
	{"memory", func(t *testing.T) (core.Store, func() int) {
		s := newThree(t)
		return whole{versions{s}}, s.count
	}},
	{"Redis", func(t *testing.T) (core.Store, func() int) {
		r := relay.New(t, servers.SharedRedis(t).Addr(), 0)
		return openRedis(t, r), r.Trips
	}},
	{"Redis Cluster", func(t *testing.T) (core.Store, func() int) {
		// The node names the relay as the place of its slots.
		r := relay.New(t, "", 0)
		_, port, _ := net.SplitHostPort(r.Addr())
		r.To(servers.RedisCluster(t, 1, 0, "--cluster-announce-port", port).Addrs()[0])
		return openRedis(t, r), r.Trips
	}},
	{"memcached", func(t *testing.T) (core.Store, func() int) {
		r := relay.New(t, servers.SharedMemcached(t).Addr(), 0)
		s, err := memcachestore.Open([]string{r.Addr()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s, r.Trips
	}},
	{"versions only", func(t *testing.T) (core.Store, func() int) {
		s := newThree(t)
		return versions{s}, s.count
	}},
	{"three methods", func(t *testing.T) (core.Store, func() int) {
		s := newThree(t)
		return s, s.count
	}},
}

func openRedis(t testing.TB, r *relay.Relay) core.Store {
	s, err := redisstore.Open("redis://"+r.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A three has the methods of every store, and no others.
type three struct {
	s     *memorystore.Store
	calls *atomic.Int64
}

func newThree(t *testing.T) three {
	s := memorystore.New(nil)
	t.Cleanup(func() { s.Close() })
	return three{s, new(atomic.Int64)}
}

func (s three) count() int { return int(s.calls.Load()) }

func (s three) Get(ctx context.Context, key string) ([]byte, error) {
	s.calls.Add(1)
	return s.s.Get(ctx, key)
}

func (s three) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	s.calls.Add(1)
	return s.s.Set(ctx, key, data, ttl)
}

func (s three) Destroy(ctx context.Context, key string) error {
	s.calls.Add(1)
	return s.s.Destroy(ctx, key)
}

// A versions is a Swapper, too.
type versions struct{ three }

func (s versions) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	s.calls.Add(1)
	return s.s.GetVersion(ctx, key)
}

func (s versions) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	s.calls.Add(1)
	return s.s.SetVersion(ctx, key, data, ttl, v)
}

// A whole has all abilities of the memory store, also those that only the core
// knows.
type whole struct{ versions }

func (s whole) Touch(ctx context.Context, key string, ttl time.Duration) error {
	s.calls.Add(1)
	return s.s.Touch(ctx, key, ttl)
}

func (s whole) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	s.calls.Add(1)
	return s.s.Batch(ctx, writes...)
}

func (s whole) Append(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
	s.calls.Add(1)
	return s.s.Append(ctx, key, suffix)
}

func (s whole) View(ctx context.Context, key string) (string, core.Version, error) {
	s.calls.Add(1)
	return s.s.View(ctx, key)
}

func (s whole) Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error) {
	s.calls.Add(1)
	return s.s.Keep(ctx, text, keyLen, ttl, v)
}

// The lists of owners.

func (s whole) Owned(ctx context.Context, owner string) ([]string, error) {
	s.calls.Add(1)
	return s.s.Owned(ctx, owner)
}

func (s whole) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	s.calls.Add(1)
	return s.s.Own(ctx, owner, key, ttl)
}

func (s whole) Disown(ctx context.Context, owner string, keys ...string) error {
	s.calls.Add(1)
	return s.s.Disown(ctx, owner, keys...)
}

func (s whole) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	s.calls.Add(1)
	return s.s.GetMany(ctx, keys...)
}

func (s whole) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	s.calls.Add(1)
	return s.s.Keys(ctx, prefix, f)
}

// A site is an application with sessions.
type site struct {
	t       testing.TB
	manager *core.Manager
	trips   func() int // so far
}

type handler func(ctx context.Context, s *core.Session) error

// visit runs one request with a Cookie field, and returns the round trips that
// it made, without those that inner requests made.
func (s *site) visit(b *jartest.Browser, field string, h handler) int {
	s.t.Helper()
	jar := &jartest.Jar{}
	if field != "" {
		jar.Cookies = []string{field}
	}
	before := s.trips()
	inner := 0
	v, _ := s.manager.NewVisit(jar, nil)
	ctx := core.NewContext(context.WithValue(context.Background(), innerKey{}, &inner), v)
	if err := v.Begin(ctx); err != nil {
		s.t.Fatal(err)
	}
	session, err := v.Session(ctx)
	if err == nil {
		err = h(ctx, session)
	}
	if err == nil {
		err = v.Commit(ctx)
	}
	if err != nil {
		s.t.Error(err)
	}
	b.Take("/", jar.SetCookies...)
	return s.trips() - before - inner
}

// innerKey leads to where a handler adds the round trips of another request.
type innerKey struct{}

// meanwhile is a handler that first runs another request of the browser to its
// end.
func (s *site) meanwhile(field string, other, h handler) handler {
	return func(ctx context.Context, session *core.Session) error {
		*ctx.Value(innerKey{}).(*int) += s.visit(new(jartest.Browser), field, other)
		return h(ctx, session)
	}
}

const tripUser core.Key[string] = "user"

var userNumber atomic.Int64

// The things that handlers do.
func reads(_ context.Context, s *core.Session) error { tripUser.Get(s); return nil }

// sets sets another value each time: a write of what is there is none.
func sets(_ context.Context, s *core.Session) error {
	return tripUser.Set(s, "user"+strconv.FormatInt(userNumber.Add(1), 10))
}
func logsIn(_ context.Context, s *core.Session) error    { return s.Login(core.LoginOptions{}) }
func saves(ctx context.Context, s *core.Session) error   { return s.Save(ctx) }
func renews(ctx context.Context, s *core.Session) error  { return s.Renew(ctx) }
func resets(ctx context.Context, s *core.Session) error  { return s.Reset(ctx) }
func logsOut(ctx context.Context, s *core.Session) error { return s.Destroy(ctx) }

// logsInAs is a handler that logs in as an owner.
func logsInAs(owner string, o core.LoginOptions) handler {
	o.Owner = owner
	return func(_ context.Context, s *core.Session) error { return s.Login(o) }
}

// takes is a handler that takes the value of k. A store without versions refuses it.
func takes(k core.Key[string]) handler {
	return func(ctx context.Context, s *core.Session) error {
		if v, err := k.Take(ctx, s); err != nil && !errors.Is(err, errors.ErrUnsupported) || err == nil && (v == "") != (k == "nothing") {
			return fmt.Errorf("took %q: %w", v, err)
		}
		return nil
	}
}

func then(all ...handler) handler {
	return func(ctx context.Context, s *core.Session) error {
		for _, h := range all {
			if err := h(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

// tripScenarios return how many round trips an operation took. field is the
// cookie of a session.
func tripScenarios() map[string]func(s *site, field string) int {
	one := func(h handler) func(s *site, field string) int {
		return func(s *site, field string) int { return s.visit(new(jartest.Browser), field, h) }
	}
	meets := func(other, h handler) func(s *site, field string) int {
		return func(s *site, field string) int {
			return s.visit(new(jartest.Browser), field, s.meanwhile(field, other, h))
		}
	}
	late := func(h handler) func(s *site, field string) int {
		return func(s *site, field string) int {
			s.visit(new(jartest.Browser), field, then(logsIn, sets))
			return s.visit(new(jartest.Browser), field, h)
		}
	}
	// The session is gone, and leaves nothing: it was removed by its id.
	unknown := func(h handler) func(s *site, field string) int {
		return func(s *site, field string) int {
			var id core.ID
			s.visit(new(jartest.Browser), field, func(_ context.Context, session *core.Session) error { id = session.ID(); return nil })
			if err := s.manager.DestroyByID(context.Background(), id); err != nil {
				s.t.Fatal(err)
			}
			return s.visit(new(jartest.Browser), field, h)
		}
	}
	first := func(h handler) func(s *site, field string) int {
		return func(s *site, _ string) int { return s.visit(new(jartest.Browser), "", h) }
	}
	// The session of field is ada's, or there are ten of bob's.
	owned := func(h handler) func(s *site, field string) int {
		return func(s *site, field string) int {
			b := new(jartest.Browser)
			s.visit(b, field, logsInAs("ada", core.LoginOptions{}))
			return s.visit(new(jartest.Browser), b.Cookie("/"), h)
		}
	}
	ofBob := func(do func(m *core.Manager) error) func(s *site, field string) int {
		return func(s *site, _ string) int {
			if err := s.manager.DestroyByOwner(context.Background(), "bob", nil); err != nil {
				s.t.Fatal(err)
			}
			for range 10 {
				s.visit(new(jartest.Browser), "", logsInAs("bob", core.LoginOptions{}))
			}
			before := s.trips()
			if err := do(s.manager); err != nil {
				s.t.Fatal(err)
			}
			return s.trips() - before
		}
	}
	return map[string]func(s *site, field string) int{
		"owner: first visit, login": first(logsInAs("ada", core.LoginOptions{})),
		"owner: login":              one(logsInAs("ada", core.LoginOptions{})),
		"owner: login, MaxSessions": one(logsInAs("ada", core.LoginOptions{MaxSessions: 100})),
		"owner: login, RefuseMore":  one(logsInAs("ada", core.LoginOptions{MaxSessions: 100, RefuseMore: true})),
		"owner: second login":       owned(logsInAs("ada", core.LoginOptions{})),
		"owner: read":               owned(reads),
		"owner: write":              owned(sets),
		"owner: Renew":              owned(renews),
		"owner: logout":             owned(logsOut),
		"owner: list of 10": ofBob(func(m *core.Manager) error {
			all, err := m.ListByOwner(context.Background(), "bob", nil)
			if err == nil && len(all) != 10 {
				err = fmt.Errorf("%d are listed", len(all))
			}
			return err
		}),

		"read":                       one(reads),
		"write":                      one(sets),
		"login: Login, Set":          one(then(logsIn, sets)),
		"login: Set, Login":          one(then(sets, logsIn)),
		"login: Login, Set, Save":    one(then(logsIn, sets, saves)),
		"Renew, Set":                 one(then(renews, sets)),
		"Set, Renew":                 one(then(sets, renews)),
		"Reset":                      one(resets),
		"Reset, Set":                 one(then(resets, sets)),
		"logout":                     one(logsOut),
		"rolling, due":               one(reads),
		"rolling, not due":           one(reads),
		"Take of nothing":            one(takes("nothing")),
		"Take":                       one(takes(tripUser)),
		"Take that meets a save":     meets(sets, takes(tripUser)),
		"write that meets a save":    meets(sets, sets),
		"login that meets a save":    meets(sets, then(logsIn, sets)),
		"login that meets a login":   meets(logsIn, then(logsIn, sets)),
		"logout that meets a save":   meets(sets, logsOut),
		"late request that reads":    late(reads),
		"late request that writes":   late(sets),
		"late request that logs out": late(logsOut),
		"late request that logs in":  late(then(logsIn, sets)),
		"id that is unknown, write":  unknown(sets),
		"id that is unknown, login":  unknown(then(logsIn, sets)),
		"first visit, read":          first(reads),
		"first visit, write":         first(sets),
		"first visit, login":         first(then(logsIn, sets)),
	}
}

// tripOptions are those of an operation.
func tripOptions(operation string, koa bool) *core.Options {
	o := &core.Options{}
	if koa {
		o = core.KoaCompat()
	}
	o.Keys = ours.Keys()
	o.Owners = strings.HasPrefix(operation, "owner: ")
	switch operation {
	case "rolling, due":
		o.TouchEvery = 1
	case "rolling, not due":
		o.TouchEvery = time.Hour
	}
	switch {
	case o.TouchEvery == 0:
	case koa:
		o.Rolling = true
	default:
		o.IdleTimeout = core.DefaultMaxAge
	}
	return o
}

// TestRoundTrips guards (P27, too) the number of round trips, as TestAllocs does that of
// allocations.
func TestRoundTrips(t *testing.T) {
	scenarios := tripScenarios()
	for column, s := range tripStores {
		t.Run(s.name, func(t *testing.T) {
			store, count := s.open(t)
			for _, row := range roundTrips {
				want := tripCells(row.cells)[column]
				got := measureTrips(t, store, count, row.operation, scenarios[row.operation])
				if got != want { // two new ids may be in one slot of the Cluster
					got = measureTrips(t, store, count, row.operation, scenarios[row.operation])
				}
				if got != want {
					t.Errorf("%s: %s round trips, want %s", row.operation, got, want)
				}
			}
		})
	}
}

// measureTrips returns a cell.
func measureTrips(t *testing.T, store core.Store, count func() int, operation string, scenario func(s *site, field string) int) string {
	var measured [2]string
	for i, koa := range []bool{false, true} {
		m, err := core.New(store, tripOptions(operation, koa))
		if errors.Is(err, errors.ErrUnsupported) {
			return "–"
		}
		if koa && strings.HasPrefix(operation, "owner: ") { // not available
			measured[i] = measured[0]
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		site := &site{t, m, count}
		for range 2 { // once before, so that servers know the scripts
			b := new(jartest.Browser)
			site.visit(b, "", sets)
			measured[i] = strconv.Itoa(scenario(site, b.Cookie("/")))
		}
		m.Close()
	}
	if measured[1] != measured[0] {
		return measured[0] + " / " + measured[1]
	}
	return measured[0]
}

// tripCells are the cells of a row.
func tripCells(row string) []string {
	cells := strings.Split(row, "|")
	for len(cells) < len(tripStores) {
		cells = append(cells, "")
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

// TestRoundTripsInResults checks that the table in RESULTS.md is this one. With
// UPDATE=1 it writes it there.
func TestRoundTripsInResults(t *testing.T) {
	// The report of the benchmarks keeps what is between these lines.
	const begin, end = "<!-- round trips: bench/trips_test.go writes them with UPDATE=1 -->\n", "<!-- end of round trips -->\n"
	var table strings.Builder
	table.WriteString("\n| request |")
	for _, s := range tripStores {
		table.WriteString(" " + s.name + " |")
	}
	table.WriteString("\n|" + strings.Repeat("---|", len(tripStores)+1) + "\n")
	for _, row := range roundTrips {
		fmt.Fprintf(&table, "| %s | %s |\n", row.operation, strings.Join(tripCells(row.cells), " | "))
	}
	fmt.Fprintf(&table, `
What an owner costs beside the same without one, by BenchmarkOwners, once, on a busy machine (allocations of the request, jar included; the time by that without an owner):

| | memory | Redis | memcached |
|---|---|---|---|
| login | 29 → 38 | 45 → 65, 1.3× | 49 → 67, 1.3× |
| read | 17 → 17, 1.0× | 20 → 20, 1.0× | 23 → 23, 1.0× |
| write | 26 → 33, 1.2× | 34 → 59 | 38 → 45, 1.1× |
| logout | 24 → 28, 1.1× | 36 → 41 | 37 → 85, 1.9× |
| list of 10 | 80, 29 µs | 119, 176 µs | 149, 136 µs |

Redis writes of a session with an owner are the script of a batch, which is one round trip as before.

The rows of an owner are with Options.Owners; it needs a store with lists. On memcached the first login of an owner makes one more, and ending many at once asks for some at a time.

A login that meets 64 saves makes at most %d calls of the store in memory, %d on Redis, %d on memcached. Of 400 requests that save one session at once, on a Redis 2.2 ms away, none is refused, and each makes at most %d calls on average.

`, crowdLogin["memory"], crowdLogin["redis"], crowdLogin["memcache"], crowdWrite)
	text, err := os.ReadFile("RESULTS.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("RESULTS.md has no %q and %q", begin, end)
	}
	if was == table.String() {
		return
	}
	if os.Getenv("UPDATE") != "1" {
		t.Fatal("the table of round trips in RESULTS.md is not that of trips_test.go: UPDATE=1 writes it")
	}
	if err := os.WriteFile("RESULTS.md", []byte(before+begin+table.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A crowd is a session that many requests save at the same time.
type crowd struct {
	logins, writers int
	refused         atomic.Int64
	login           atomic.Int64 // calls of the store that logins made
	write           atomic.Int64 // and others
}

// callsKey leads to the number of calls that a request makes.
type callsKey struct{}

// run lets all requests load the session, and then lets all go on at once.
func (c *crowd) run(t testing.TB, store core.Store) {
	faulty := storetest.NewFaulty(store)
	faulty.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
		if n, ok := ctx.Value(callsKey{}).(*atomic.Int64); ok {
			n.Add(1)
		}
		return nil
	})
	// Calls are counted here, so a machine that is slow today may take its time.
	m, err := core.New(faulty, &core.Options{Keys: ours.Keys(), OpTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := new(jartest.Browser)
	s := &site{t, m, func() int { return 0 }}
	s.visit(b, "", sets)
	field := b.Cookie("/")

	var all, loaded sync.WaitGroup
	begin := make(chan struct{})
	loaded.Add(c.logins + c.writers)
	for i := range c.logins + c.writers {
		all.Go(func() {
			calls, h := &c.write, handler(func(_ context.Context, s *core.Session) error {
				return s.Set("writer"+strconv.Itoa(i), i)
			})
			if i < c.logins {
				calls, h = &c.login, then(logsIn, sets)
			}
			v, _ := m.NewVisit(&jartest.Jar{Cookies: []string{field}}, nil)
			ctx := core.NewContext(context.WithValue(context.Background(), callsKey{}, calls), v)
			err := v.Begin(ctx)
			loaded.Done()
			<-begin
			if err == nil {
				session, _ := v.Session(ctx)
				if err = h(ctx, session); err == nil {
					err = v.Commit(ctx)
				}
			}
			// After the login the others have no session to save.
			if err != nil && !(c.logins > 0 && errors.Is(err, core.ErrGone)) {
				c.refused.Add(1)
				t.Log(err)
			}
		})
	}
	loaded.Wait()
	close(begin)
	all.Wait()
}

// TestCrowd holds a login, and those that save, to a number of calls however many
// others save the same session. One call is a round trip on Redis.
func TestCrowd(t *testing.T) {
	for _, s := range stores() {
		t.Run(s.name, func(t *testing.T) {
			store, err := s.open(t)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			for range 5 {
				c := &crowd{logins: 1, writers: 64}
				c.run(t, store)
				t.Logf("the login made %d calls, each of %d writers %.1f", c.login.Load(), c.writers, float64(c.write.Load())/float64(c.writers))
				if n := c.refused.Load(); n > 0 {
					t.Errorf("%d requests were refused", n)
				}
				if n := c.login.Load(); n > crowdLogin[s.name] {
					t.Errorf("the login made %d calls, at most %d are allowed", n, crowdLogin[s.name])
				}
				if n := c.write.Load(); n > crowdWrite*int64(c.writers) {
					t.Errorf("%d writers made %d calls, at most %d each are allowed", c.writers, n, crowdWrite)
				}
			}
		})
	}
}

// TestFarCrowd lets 400 requests save one session on a Redis that is 2.2 ms away.
func TestFarCrowd(t *testing.T) { stall.Retry(t, farCrowd) }

func farCrowd(t testing.TB) {
	store := openRedis(t, relay.New(t, servers.SharedRedis(t).Addr(), 2100*time.Microsecond))
	c := &crowd{writers: 400}
	began := time.Now()
	c.run(t, store)
	each := float64(c.write.Load()) / float64(c.writers)
	t.Logf("%d refused, %.2f calls each, all done after %v", c.refused.Load(), each, time.Since(began))
	if n := c.refused.Load(); n > 0 {
		t.Errorf("%d requests were refused", n)
	}
	if each > crowdWrite {
		t.Errorf("%.2f calls each, at most %d are allowed", each, crowdWrite)
	}
}
