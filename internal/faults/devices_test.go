package faults_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

// Owners with ten sessions each: random logins, logouts, ends of all and expiries,
// while processes and the server are killed. Afterwards the lists and the sessions
// agree, and no request was answered for a session after its end was acknowledged.

// A devicePlace is a store of that test.
type devicePlace struct {
	open func() core.Store // a new process
	kill func()            // the server, which then comes back; nil: there is none
	vex  func()            // nil, or what is done to it again and again
	// forgets says that a killed server has nothing when it comes back. A login that it
	// interrupts between its two steps may lose its list and make its session.
	forgets bool
}

// A device is a browser of an owner. Who holds mu uses it.
type device struct {
	owner, name string

	mu      sync.Mutex
	browser jartest.Browser
	label   string // of its login, "" if it has none
	began   int64  // when that was done, as the count of acts
	logins  int
}

type deviceLoad struct {
	t       *testing.T
	place   devicePlace
	devices map[string][]*device
	owners  []string

	process atomic.Pointer[deviceProcess]
	acts    atomic.Int64

	mu    sync.Mutex
	dead  []string // cookies of sessions whose end was acknowledged
	lists map[string]bool

	logins, ends, saves, probes, failures, answered atomic.Int64
}

type deviceProcess struct {
	store *storetest.Faulty
	under core.Store
	m     *core.Manager
}

// start begins a new process, and ends the one of before in the middle of what it
// does.
func (l *deviceLoad) start() {
	p := &deviceProcess{under: l.place.open()}
	p.store = storetest.NewFaulty(p.under)
	p.store.Before(func(_ context.Context, op storetest.Op, key string) error {
		if op == storetest.OpOwned || op == storetest.OpOwn {
			l.mu.Lock()
			l.lists[key] = true
			l.mu.Unlock()
		}
		return nil
	})
	var err error
	p.m, err = core.New(p.store, &core.Options{Keys: keys, Owners: true, IdleTimeout: time.Hour, OpTimeout: opTimeout, ReconnectTimeout: 20 * time.Second})
	if err != nil {
		l.t.Fatal(err)
	}
	if was := l.process.Swap(p); was != nil {
		was.end(l.place.kill != nil)
	}
}

func (p *deviceProcess) end(store bool) {
	p.m.Close()
	if s, ok := p.under.(interface{ Close() error }); ok && store {
		s.Close()
	}
}

// request runs a request with a Cookie field.
func (l *deviceLoad) request(b *jartest.Browser, h func(ctx context.Context, s *core.Session) error) error {
	jar := b.Jar("/")
	v, _ := l.process.Load().m.NewVisit(jar, nil)
	ctx := core.NewContext(context.Background(), v)
	err := v.Begin(ctx)
	if err == nil {
		var s *core.Session
		if s, err = v.Session(ctx); err == nil {
			err = h(ctx, s)
		}
		err = errors.Join(err, v.Commit(ctx))
	}
	b.Take("/", jar.SetCookies...)
	return err
}

// buried notes that the session of d has ended for good. d.mu is held.
func (l *deviceLoad) buried(d *device) {
	if d.label == "" {
		return
	}
	l.mu.Lock()
	l.dead = append(l.dead, d.browser.Cookie("/"))
	l.mu.Unlock()
	d.label, d.browser = "", jartest.Browser{}
}

// lost is what follows from an act that failed: nobody knows what it did, so the
// browser begins anew. What it had may live, in its list.
func (l *deviceLoad) lost(d *device, err error) {
	if err != nil {
		l.failures.Add(1)
		d.label, d.browser = "", jartest.Browser{}
	}
}

// act does something by chance.
func (l *deviceLoad) act(r *rand.Rand) {
	owner := l.owners[r.IntN(len(l.owners))]
	all := l.devices[owner]
	switch d := all[r.IntN(len(all))]; r.IntN(20) {
	case 0: // all, or all but one
		l.endAll(owner, d, r.IntN(2) == 0)
	case 1, 2: // a cookie whose session has ended
		l.mu.Lock()
		var cookie string
		if len(l.dead) > 0 {
			cookie = l.dead[r.IntN(len(l.dead))]
		}
		l.mu.Unlock()
		if cookie != "" {
			l.probe(cookie)
		}
	case 3: // one by its handle
		devices, err := l.process.Load().m.ListByOwner(context.Background(), owner, nil)
		if err == nil && len(devices) > 0 {
			one := devices[r.IntN(len(devices))]
			if err := l.process.Load().m.DestroyByHandle(context.Background(), owner, one.Handle); err == nil {
				l.ends.Add(1)
				for _, d := range all {
					d.mu.Lock()
					if d.label == one.Label {
						l.buried(d)
					}
					d.mu.Unlock()
				}
			}
		}
	case 4, 5, 6: // a logout
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.label == "" {
			return
		}
		cookie := d.browser.Cookie("/")
		err := l.request(&d.browser, func(ctx context.Context, s *core.Session) error { return s.Destroy(ctx) })
		if err != nil {
			l.lost(d, err)
			return
		}
		l.ends.Add(1)
		l.mu.Lock()
		l.dead = append(l.dead, cookie)
		l.mu.Unlock()
		d.label, d.browser = "", jartest.Browser{}
	case 7, 8, 9, 10: // a save
		d.mu.Lock()
		defer d.mu.Unlock()
		l.saves.Add(1)
		if err := l.request(&d.browser, func(_ context.Context, s *core.Session) error {
			if s.Owner() != "" && s.Owner() != owner {
				l.t.Errorf("a session of another owner")
			}
			return s.Set("n", r.IntN(1000))
		}); err != nil && !errors.Is(err, core.ErrGone) {
			l.failures.Add(1)
		}
	default: // a login, mostly of a browser that has none
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.label != "" && r.IntN(4) > 0 {
			return
		}
		was := d.browser.Cookie("/")
		d.logins++
		label := fmt.Sprintf("%s-%d", d.name, d.logins)
		o := core.LoginOptions{Owner: owner, Label: label}
		if short := r.IntN(8) == 0; short {
			o.Lifetime.IdleTimeout = time.Second
		}
		had := d.label != ""
		err := l.request(&d.browser, func(_ context.Context, s *core.Session) error { return s.Login(o) })
		if err != nil {
			l.lost(d, err)
			return
		}
		l.logins.Add(1)
		d.label, d.began = label, l.acts.Add(1)
		if o.Lifetime.IdleTimeout > 0 { // nobody expects anything of it
			d.label, d.browser = "", jartest.Browser{}
		}
		if had {
			l.mu.Lock()
			l.dead = append(l.dead, was)
			l.mu.Unlock()
		}
	}
}

// endAll ends the sessions of an owner, perhaps but that of keep.
func (l *deviceLoad) endAll(owner string, keep *device, others bool) {
	at := l.acts.Add(1) // logins from now on may come later than the end
	end := func(ctx context.Context, s *core.Session) error {
		return l.process.Load().m.DestroyByOwner(ctx, owner, s)
	}
	if !others {
		if err := end(context.Background(), nil); err != nil {
			l.failures.Add(1)
			return
		}
		keep = nil
	} else {
		keep.mu.Lock()
		if keep.label == "" {
			keep.mu.Unlock()
			return
		}
		kept := false
		err := l.request(&keep.browser, func(ctx context.Context, s *core.Session) error {
			kept = s.Owner() == owner
			return end(ctx, s)
		})
		l.lost(keep, err)
		keep.mu.Unlock()
		if err != nil || !kept {
			return
		}
	}
	l.ends.Add(1)
	for _, d := range l.devices[owner] {
		d.mu.Lock()
		if d != keep && d.began < at {
			l.buried(d)
		}
		d.mu.Unlock()
	}
}

// probe asks with the cookie of a session whose end was acknowledged.
func (l *deviceLoad) probe(cookie string) {
	l.probes.Add(1)
	jar := &jartest.Jar{Cookies: []string{cookie}}
	v, _ := l.process.Load().m.NewVisit(jar, nil)
	ctx := core.NewContext(context.Background(), v)
	if v.Begin(ctx) != nil {
		return
	}
	if s, err := v.Session(ctx); err == nil && s.Owner() != "" && l.answered.Add(1) == 1 {
		l.t.Errorf("a request was answered for a session after its end was acknowledged")
	}
	_ = v.Commit(ctx)
}

// P27: on every store.
func TestOwnersUnderLoad(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) devicePlace{
		"memory": func(t *testing.T) devicePlace {
			s := memorystore.New(nil)
			t.Cleanup(func() { s.Close() })
			return devicePlace{open: func() core.Store { return s }}
		},
		"Redis": func(t *testing.T) devicePlace {
			server := servers.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
			return devicePlace{open: openRedisPlace(t, server.URL()), kill: func() { server.Kill(); server.Start() }}
		},
		"Redis Cluster": func(t *testing.T) devicePlace {
			cluster := servers.RedisCluster(t, 3, 0)
			addrs := cluster.Addrs()
			return devicePlace{open: openRedisPlace(t, "redis://"+addrs[0]+"?addr="+addrs[1]+"&addr="+addrs[2]), kill: func() {}}
		},
		"memcached": func(t *testing.T) devicePlace {
			server := servers.Memcached(t)
			return devicePlace{open: func() core.Store {
				s, err := memcachestore.Open([]string{server.Addr()}, nil)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}, kill: server.Restart, forgets: true}
		},
		"PostgreSQL": postgresPlace,
		"SQLite":     sqlitePlace,
	} {
		t.Run(name, func(t *testing.T) {
			if !soak.On {
				t.Parallel()
			}
			ownersUnderLoad(t, open(t))
		})
	}
}

// A pooled store closes its pool too.
type pooled struct {
	*sqlstore.Store
	db *sql.DB
}

func (s pooled) Close() error { return errors.Join(s.Store.Close(), s.db.Close()) }

// postgresPlace is a server that ends connections in the middle of what they do.
func postgresPlace(t *testing.T) devicePlace {
	server := servers.Postgres(t)
	config, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	open := func() core.Store {
		db := stdlib.OpenDB(*config)
		db.SetMaxIdleConns(16)
		s, err := sqlstore.New(db, sqlstore.PostgreSQL, &sqlstore.Options{SweepEvery: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return pooled{s, db}
	}
	s := open().(pooled)
	defer s.Close()
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin := stdlib.OpenDB(*config)
	t.Cleanup(func() { admin.Close() })
	return devicePlace{open: open, kill: func() { server.Kill(); server.Start() }, vex: func() {
		_, _ = admin.Exec("SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 2) some") // it may be down
	}}
}

// sqlitePlace is a file that several processes share, and that another one locks.
func sqlitePlace(t *testing.T) devicePlace {
	path := filepath.Join(t.TempDir(), "sessions.db")
	lock := func(d time.Duration) {
		db, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Error(err)
			return
		}
		defer db.Close()
		c, err := db.Conn(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.ExecContext(context.Background(), "PRAGMA busy_timeout = 10000; BEGIN EXCLUSIVE"); err != nil {
			t.Error("the file can't be locked:", err)
			return
		}
		time.Sleep(d)
		_, _ = c.ExecContext(context.Background(), "ROLLBACK")
	}
	return devicePlace{open: func() core.Store {
		s, err := sqlitestore.Open(path, &sqlstore.Options{SweepEvery: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, kill: func() { lock(2 * opTimeout) }, vex: func() { lock(5 * time.Millisecond) }}
}

func openRedisPlace(t *testing.T, url string) func() core.Store {
	return func() core.Store {
		s, err := redisstore.Open(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// deviceWorkers are how many do something at the same time.
const deviceWorkers = 16

func ownersUnderLoad(t *testing.T, place devicePlace) {
	l := &deviceLoad{t: t, place: place, devices: map[string][]*device{}, lists: map[string]bool{}}
	for i := range soak.Longer(20, 1000) {
		owner := fmt.Sprintf("owner-%d", i)
		l.owners = append(l.owners, owner)
		for j := range 10 {
			l.devices[owner] = append(l.devices[owner], &device{owner: owner, name: fmt.Sprintf("device-%d", j)})
		}
	}
	l.start()
	var workers sync.WaitGroup
	stop := make(chan struct{})
	for i := range deviceWorkers {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1)) // #nosec G404 -- test data
			for {
				select {
				case <-stop:
					return
				default:
					l.act(r)
				}
			}
		})
	}
	if place.vex != nil {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					place.vex()
				}
			}
		})
	}
	lasts := soak.Longer(500*time.Millisecond, soak.Time/4)
	time.Sleep(lasts)
	l.start() // a process is killed, and another one goes on
	time.Sleep(lasts)
	if place.kill != nil {
		place.kill()
		time.Sleep(lasts)
	}
	close(stop)
	workers.Wait()
	defer func() { l.process.Load().end(place.kill != nil) }()
	time.Sleep(2100 * time.Millisecond) // the short ones are over, memcached counts seconds
	l.compare()
	t.Logf("%d logins, %d ends, %d saves, %d requests with the cookie of an ended session, %d failures", l.logins.Load(), l.ends.Load(), l.saves.Load(), l.probes.Load(), l.failures.Load())
	if l.logins.Load() == 0 || l.ends.Load() == 0 || l.probes.Load() == 0 {
		t.Error("nothing happened")
	}
}

// patiently calls f again while the store does not answer: a machine may be busy.
func patiently(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for range 20 {
		if err = f(); !errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrOutcomeUnknown) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// compare compares the lists with the sessions.
func (l *deviceLoad) compare() {
	t, m := l.t, l.process.Load().m
	for _, cookie := range l.dead {
		l.probe(cookie)
	}
	missing, dangling := 0, 0
	for _, owner := range l.owners {
		var devices []core.Device
		patiently(t, func() (err error) {
			devices, err = m.ListByOwner(context.Background(), owner, nil)
			return err
		})
		for _, d := range l.devices[owner] {
			if d.label == "" {
				continue
			}
			lives := false
			patiently(t, func() error {
				return l.request(&d.browser, func(_ context.Context, s *core.Session) error {
					lives = s.Owner() == owner
					return nil
				})
			})
			// One that logged in while all were ended may be gone.
			if lives && !slices.ContainsFunc(devices, func(o core.Device) bool { return o.Label == d.label }) {
				missing++
			}
		}
	}
	index, _ := core.As[core.Indexer](l.process.Load().under)
	listed := map[string]bool{}
	var all []string
	for list := range l.lists {
		patiently(t, func() error {
			some, err := index.Owned(context.Background(), list)
			all = append(all, some...)
			return err
		})
	}
	var found []core.Payload
	patiently(t, func() (err error) {
		found, err = index.GetMany(context.Background(), all...)
		return err
	})
	for i, key := range all {
		if listed[key] = true; !bytes.Contains(found[i].Data, []byte(`"o":["owner-`)) {
			dangling++
		}
	}
	err := index.Keys(context.Background(), "koa:sess:", func(some []string) error {
		found, err := index.GetMany(context.Background(), some...)
		for i, p := range found {
			if bytes.Contains(p.Data, []byte(`"o":["owner-`)) && !listed[some[i]] {
				missing++
			}
		}
		return err
	})
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	if l.place.forgets && missing <= deviceWorkers {
		missing = 0
	}
	if missing > 0 || dangling > 0 {
		t.Errorf("%d sessions are in no list, %d keys in lists have none", missing, dangling)
	}
	for _, owner := range l.owners {
		patiently(t, func() error { return m.DestroyByOwner(context.Background(), owner, nil) })
		if devices, err := m.ListByOwner(context.Background(), owner, nil); err != nil || len(devices) > 0 {
			t.Errorf("%d sessions live after the end of all, %v", len(devices), err)
		}
	}
}
