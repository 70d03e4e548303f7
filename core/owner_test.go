package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/sessiontest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A listsApart store is an Indexer whose lists are another step than its payloads, as
// in a Cluster and on memcached.
type listsApart struct{ *memorystore.Store }

func (s listsApart) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if len(writes) > 1 || len(writes) == 1 && writes[0].Owner != "" {
		return nil, errors.ErrUnsupported
	}
	return s.Store.Batch(ctx, writes...)
}

// The methods by which the core would not copy are not those of a listsApart.
func (s listsApart) View(struct{})      {}
func (s listsApart) Keep(struct{})      {}
func (s listsApart) KeepBatch(struct{}) {}

// ownersOn runs a test on a store that does all in one step and on one that does not.
func ownersOn(t *testing.T, f func(t *testing.T, open func(o *core.Options) *app)) {
	for name, wrap := range map[string]func(*memorystore.Store) core.Store{
		"one step":   func(s *memorystore.Store) core.Store { return s },
		"many steps": func(s *memorystore.Store) core.Store { return listsApart{s} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f(t, func(o *core.Options) *app {
					if o == nil {
						o = &core.Options{}
					}
					o.Owners = true
					return newAppOn(t, wrap(newMemory(t)), o)
				})
			})
		})
	}
}

// device is a browser of its own on the same store.
func (a *app) device() *app {
	b := *a
	b.browser = &jartest.Browser{}
	return &b
}

// login logs the browser in as owner.
func (a *app) login(o core.LoginOptions) error {
	a.t.Helper()
	return a.get("/", func(_ *core.Visit, s *core.Session) {
		if err := s.Login(o); err != nil {
			a.t.Error(err)
		}
	}).err()
}

func (a *app) mustLogin(o core.LoginOptions) {
	a.t.Helper()
	if err := a.login(o); err != nil {
		a.t.Fatal(err)
	}
}

// owner is whom the browser is logged in as.
func (a *app) owner() (owner string) {
	a.t.Helper()
	a.get("/", func(_ *core.Visit, s *core.Session) { owner = s.Owner() })
	return owner
}

func (a *app) list(owner string) []core.Device {
	a.t.Helper()
	all, err := a.manager.ListByOwner(a.t.Context(), owner, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return all
}

// P5: a login as another owner drops what was loaded.
func TestOwnerOfASession(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(nil)
		if a.owner() != "" {
			t.Error("a visitor is somebody's")
		}
		a.get("/", func(_ *core.Visit, s *core.Session) { s.Set("cart", "shoes") })
		a.mustLogin(core.LoginOptions{Owner: "ada", Label: "Firefox"})
		if got := a.owner(); got != "ada" {
			t.Errorf("the owner is %q", got)
		}
		a.get("/", func(_ *core.Visit, s *core.Session) {
			if v := s.Get("cart"); v != "shoes" {
				t.Error("a first login has lost the values")
			}
			if err := s.Renew(t.Context()); err != nil {
				t.Error(err)
			}
			if s.Owner() != "ada" {
				t.Error("Renew loses the owner")
			}
		})
		if all := a.list("ada"); len(all) != 1 || all[0].Label != "Firefox" {
			t.Errorf("after Renew: %+v", all)
		}
		a.get("/", func(_ *core.Visit, s *core.Session) {
			s.Set("secret", "of ada")
			if err := s.Login(core.LoginOptions{Owner: "bob"}); err != nil {
				t.Error(err)
			}
		})
		a.get("/", func(_ *core.Visit, s *core.Session) {
			if v := s.Get("cart"); v != nil {
				t.Error("P5: another owner has got the values")
			}
		})
		if a.owner() != "bob" || len(a.list("ada")) != 0 || len(a.list("bob")) != 1 {
			t.Errorf("owner %q, lists %v and %v", a.owner(), a.list("ada"), a.list("bob"))
		}
		a.get("/", func(_ *core.Visit, s *core.Session) {
			if err := s.Reset(t.Context()); err != nil {
				t.Error(err)
			}
			s.Set("x", 1)
		})
		if a.owner() != "" || len(a.list("bob")) != 0 {
			t.Error("Reset keeps the owner")
		}
		a.mustLogin(core.LoginOptions{Owner: "bob"})
		a.get("/", func(_ *core.Visit, s *core.Session) {
			if err := s.Destroy(t.Context()); err != nil {
				t.Error(err)
			}
			if s.Owner() != "" {
				t.Error("a logout keeps the owner")
			}
		})
		if len(a.list("bob")) != 0 {
			t.Error("a logout leaves the session in the list")
		}
	})
}

// P27: listed, ended one by one, and all.
func TestDevices(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(nil)
		b, c, other := a.device(), a.device(), a.device()
		a.mustLogin(core.LoginOptions{Owner: "ada", Label: "A"})
		b.mustLogin(core.LoginOptions{Owner: "ada", Label: "B"})
		c.mustLogin(core.LoginOptions{Owner: "ada", Label: "C"})
		other.mustLogin(core.LoginOptions{Owner: "adb", Label: "other"})

		var mine []core.Device
		b.get("/", func(_ *core.Visit, s *core.Session) {
			var err error
			if mine, err = b.manager.ListByOwner(t.Context(), s.Owner(), s); err != nil {
				t.Fatal(err)
			}
		})
		if len(mine) != 3 {
			t.Fatalf("%d devices", len(mine))
		}
		handle := map[string]string{}
		for _, d := range mine {
			handle[d.Label] = d.Handle
			if d.Current != (d.Label == "B") {
				t.Errorf("%+v", d)
			}
		}
		if _, err := a.manager.ListByOwner(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "nobody is logged in") {
			t.Errorf("the list of nobody: %v", err)
		}
		for name, h := range map[string]string{"of another owner": handle["A"], "forged": "x", "empty": ""} {
			if err := a.manager.DestroyByHandle(t.Context(), "adb", h); !errors.Is(err, core.ErrNotFound) {
				t.Errorf("a handle %s: %v", name, err)
			}
		}
		if err := a.manager.DestroyByHandle(t.Context(), "ada", handle["A"]); err != nil {
			t.Fatal(err)
		}
		if err := a.manager.DestroyByHandle(t.Context(), "ada", handle["A"]); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("an old handle: %v", err)
		}
		if a.owner() != "" || b.owner() != "ada" || c.owner() != "ada" {
			t.Error("another session was ended than that of the handle")
		}
		b.get("/", func(_ *core.Visit, s *core.Session) {
			if err := b.manager.DestroyByOwner(t.Context(), "ada", s); err != nil {
				t.Error(err)
			}
		})
		if b.owner() != "ada" || c.owner() != "" || other.owner() != "adb" {
			t.Error("all but this one: not those")
		}
		var late error
		b.get("/", func(_ *core.Visit, s *core.Session) {
			if err := b.manager.DestroyByOwner(t.Context(), "ada", nil); err != nil {
				t.Error(err)
			}
			s.Set("late", true)
			late = s.Save(t.Context())
		})
		if !errors.Is(late, core.ErrGone) {
			t.Errorf("a request under way: %v", late)
		}
		if len(a.list("ada")) != 0 || len(a.list("adb")) != 1 {
			t.Error("the lists")
		}
	})
}

func TestSessionsAtMost(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(nil)
		var all []*app
		for i := range 4 {
			d := a.device()
			d.mustLogin(core.LoginOptions{Owner: "ada", Label: fmt.Sprint(i), MaxSessions: 2})
			all = append(all, d)
			time.Sleep(time.Second)
		}
		for i, d := range all {
			if living := d.owner() != ""; living != (i >= 2) {
				t.Errorf("login %d lives: %v", i, living)
			}
		}
		d := a.device()
		d.get("/", func(_ *core.Visit, s *core.Session) { s.Set("cart", 1) })
		if err := d.login(core.LoginOptions{Owner: "ada", MaxSessions: 2, RefuseMore: true}); !errors.Is(err, core.ErrTooMany) || core.Status(err) != 409 {
			t.Errorf("a third session: %v", err)
		}
		d.get("/", func(_ *core.Visit, s *core.Session) {
			if v := s.Get("cart"); v == nil {
				t.Error("a login that was refused has changed the session")
			}
		})
		// Who is in may log in again.
		if err := all[3].login(core.LoginOptions{Owner: "ada", MaxSessions: 2, RefuseMore: true}); err != nil {
			t.Error(err)
		}
		if n := len(a.list("ada")); n != 2 {
			t.Errorf("%d sessions", n)
		}
	})
}

var errAtFirst, errAtSecond = fmt.Errorf("%w: at the first look", core.ErrUnavailable), fmt.Errorf("%w: at the second one", core.ErrUnavailable)

// P5: a login that is refused by RefuseMore, or that can't find out, leaves the store and
// the browser as they were.
func TestP5ARefusedLoginLosesNothing(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		refuses := core.LoginOptions{Owner: "ada", MaxSessions: 1, RefuseMore: true}
		for name, begin := range map[string]func(a, b *app) *jartest.Jar{
			"a visitor": func(a, _ *app) *jartest.Jar {
				a.ok(a.get("/", count(t)))
				return a.browser.Jar("/")
			},
			"nobody yet": func(a, _ *app) *jartest.Jar { return a.browser.Jar("/") },
			"somebody else": func(a, _ *app) *jartest.Jar {
				a.mustLogin(core.LoginOptions{Owner: "bob"})
				a.ok(a.get("/", count(t)))
				return a.browser.Jar("/")
			},
			"two cookies": func(a, b *app) *jartest.Jar {
				a.ok(a.get("/", count(t)))
				b.ok(b.get("/", count(t)))
				return both(a.browser, b.browser)
			},
		} {
			for _, failure := range []error{nil, errAtFirst, errAtSecond} {
				a := open(&core.Options{FailFast: true})
				b := a.device()
				if failure == nil {
					a.device().mustLogin(refuses)
				}
				jar := begin(a, b)
				owner, before := a.owner(), len(a.list("bob"))
				looks := 0
				a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
					if op != storetest.OpOwned {
						return nil
					}
					if looks++; failure == errAtSecond && looks == 1 {
						return nil
					}
					return failure
				})
				want := core.ErrTooMany
				if failure != nil {
					want = failure
				}
				e := a.send(jar, func(_ *core.Visit, s *core.Session) { must(t, s.Login(refuses)) })
				a.store.Before(nil)
				wantIs(t, e.err(), want)
				if len(e.jar.SetCookies) != 0 {
					t.Errorf("%s, %v: Set-Cookie: %q", name, failure, e.jar.SetCookies)
				}
				living := map[bool]int{true: 0, false: 1}[failure != nil]
				if n := len(a.list("ada")); n != living || len(a.list("bob")) != before {
					t.Errorf("%s, %v: ada has %d sessions", name, failure, n)
				}
				visited := 1
				if name == "nobody yet" {
					visited = 0
				}
				a.wantVisits(visited)
				if name == "two cookies" {
					b.wantVisits(1)
				}
				if a.owner() != owner {
					t.Errorf("%s, %v: the owner is %q, was %q", name, failure, a.owner(), owner)
				}
				// Where there is a place, the same request logs in, and ends what it carries.
				if failure != nil {
					a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) { must(t, s.Login(refuses)) }))
					a.wantVisits(0)
					b.wantVisits(0)
					if n := len(a.list("ada")); n != 1 || len(a.list("bob")) != 0 {
						t.Errorf("%s: after the login ada has %d sessions", name, n)
					}
				}
			}
		}
	})
}

// P27: an entry moves with each touch, and "last used" is what the record says.
func TestOwnersExpire(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(&core.Options{IdleTimeout: time.Hour})
		b := a.device()
		a.mustLogin(core.LoginOptions{Owner: "ada", Label: "a"})
		b.mustLogin(core.LoginOptions{Owner: "ada", Label: "b"})
		began := time.Now()
		for range 5 {
			time.Sleep(50 * time.Minute)
			a.owner()
		}
		used := time.Now()
		time.Sleep(59 * time.Minute)
		all := a.list("ada")
		if len(all) != 1 || all[0].Label != "a" || !all[0].Created.Equal(began) || !all[0].LastUsed.Equal(used) {
			t.Errorf("%+v, began %v, used %v", all, began, used)
		}
		time.Sleep(2 * time.Minute)
		if len(a.list("ada")) != 0 {
			t.Error("an expired session is listed")
		}
		// The store keeps it for longer than a new deployment allows.
		a.mustLogin(core.LoginOptions{Owner: "ada"})
		stricter, err := core.New(a.store, &core.Options{Keys: core.Keyring{testKey}, Owners: true, AbsoluteTimeout: 10 * time.Minute})
		must(t, err)
		defer stricter.Close()
		time.Sleep(10 * time.Minute)
		if all, err := stricter.ListByOwner(t.Context(), "ada", nil); len(all) != 0 || err != nil {
			t.Errorf("%d sessions whose time is over are listed: %v", len(all), err)
		}
	})
}

// P27: the record says whose a session is, whatever a list says.
func TestP27AListThatHasAnothersSession(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(nil)
		a.mustLogin(core.LoginOptions{Owner: "ada"})
		var list string
		a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
			if op == storetest.OpOwned {
				list = key
			}
			return nil
		})
		a.list("ada")
		a.store.Before(nil)
		b := a.device()
		b.mustLogin(core.LoginOptions{Owner: "bob"})
		indexer, ok := core.As[core.Indexer](a.store)
		if !ok || list == "" {
			t.Fatalf("no list: %v, %q", ok, list)
		}
		must(t, indexer.Own(bg, list, hashedKey(core.ID(b.value())), time.Hour))
		if all := a.list("ada"); len(all) != 1 {
			t.Errorf("%d sessions", len(all))
		}
		must(t, indexer.Own(bg, list, hashedKey(core.ID(b.value())), time.Hour))
		must(t, a.manager.DestroyByOwner(bg, "ada", nil))
		if a.owner() != "" || b.owner() != "bob" {
			t.Errorf("%q and %q are logged in", a.owner(), b.owner())
		}
	})
}

// P26: the name of a list is a keyed hash of the owner, the prefix and the name of the
// cookie: of two applications on one server neither finds the other one's lists.
func TestP26NamesOfLists(t *testing.T) {
	names := map[string]string{}
	for what, o := range map[string]core.Options{
		"default":        {},
		"another name":   {Name: "other.sid"},
		"another prefix": {Prefix: "other:"},
		"another key":    {Keys: core.Keyring{otherKey}},
		"keys for it":    {OwnerKeys: core.Keyring{[]byte("Hd7sK2mWq9Rz4Yt6Bv1Nx8Lp3Jc5Gf0U")}},
	} {
		o.Owners = true
		a := newApp(t, &o)
		a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
			if op == storetest.OpOwned {
				end := key[strings.LastIndexByte(key, ':')+1:]
				if before, twice := names[end]; twice && before != what {
					t.Errorf("%s: the list is named as with %s", what, before)
				}
				if names[end] = what; len(end) != 43 || strings.Contains(key, "ada") {
					t.Errorf("%s: the list is %q", what, key)
				}
			}
			return nil
		})
		a.list("ada")
	}
	if len(names) != 5 {
		t.Errorf("%d names", len(names))
	}
}

// P26: what an owner is.
func TestBadOwners(t *testing.T) {
	a := newApp(t, &core.Options{Owners: true})
	for _, owner := range []string{strings.Repeat("x", 256), "a\nb", "\x00", "\x7f", "a\u0085", "\xff", "ok\xc3"} {
		a.get("/", func(_ *core.Visit, s *core.Session) {
			if err := s.Login(core.LoginOptions{Owner: owner}); err == nil {
				t.Errorf("Login takes %q", owner)
			}
		})
		if _, err := a.manager.ListByOwner(t.Context(), owner, nil); err == nil {
			t.Errorf("ListByOwner takes %q", owner)
		}
	}
	if err := a.manager.DestroyByOwner(t.Context(), "", nil); err == nil {
		t.Error("DestroyByOwner takes nobody")
	}
	for name, o := range map[string]core.LoginOptions{
		"label":      {Label: "x"},
		"cap":        {MaxSessions: 1},
		"negative":   {Owner: "ada", MaxSessions: -1},
		"refuse all": {Owner: "ada", RefuseMore: true},
	} {
		a.get("/", func(_ *core.Visit, s *core.Session) {
			if err := s.Login(o); err == nil {
				t.Errorf("%s: no error", name)
			}
		})
	}
	for _, owner := range []string{"x", strings.Repeat("x", 255), "Zoë", `"]\`, "a b", "own:"} {
		d := a.device()
		label := strings.Repeat("ä", 200) + "\n\xff"
		d.mustLogin(core.LoginOptions{Owner: owner, Label: label})
		if all := d.list(owner); len(all) != 1 || d.owner() != owner || len(all[0].Label) > 255 || !strings.HasPrefix(label, all[0].Label) {
			t.Errorf("%q: %+v, owner %q", owner, all, d.owner())
		}
	}
	plain := newApp(t, nil)
	plain.get("/", func(_ *core.Visit, s *core.Session) {
		if err := s.Login(core.LoginOptions{Owner: "ada"}); err == nil || !strings.Contains(err.Error(), "Options.Owners") {
			t.Error(err)
		}
	})
	if _, err := plain.manager.ListByOwner(t.Context(), "ada", nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// P26, P27: keys, stores and options that don't fit.
func TestNewRefusesOwners(t *testing.T) {
	memory := newMemory(t)
	keys := core.Keyring{testKey}
	koa := core.KoaCompat()
	koa.Keys, koa.Owners = keys, true
	for name, c := range map[string]struct {
		store core.Store
		o     *core.Options
		want  string
	}{
		"three methods": {plainStore{memory}, &core.Options{Keys: keys, Owners: true}, "core.Indexer"},
		"KoaCompat":     {memory, koa, "KoaCompat"},
		"Migrate":       {memory, &core.Options{Keys: keys, Owners: true, Migrate: core.Migration{Keys: keys, Until: time.Now().Add(time.Hour)}}, "Migrate"},
		"no keys":       {memory, &core.Options{Carrier: core.Header("X-Session"), Owners: true}, "OwnerKeys"},
		"short key":     {memory, &core.Options{Keys: keys, Owners: true, OwnerKeys: core.Keyring{[]byte("short")}}, "OwnerKeys[0]"},
		"unused keys":   {memory, &core.Options{Keys: keys, OwnerKeys: keys}, "Owners"},
	} {
		if _, err := core.New(c.store, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, err := core.New(memory, &core.Options{Carrier: core.Header("X-Session"), Owners: true, OwnerKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

// P26: the store learns nothing of an owner, and a rotation of keys loses nobody.
func TestOwnerKeys(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(nil)
		var lists []string
		var mu = make(chan struct{}, 1)
		a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
			mu <- struct{}{}
			if op == storetest.OpOwned {
				lists = append(lists, key)
			}
			<-mu
			return nil
		})
		a.mustLogin(core.LoginOptions{Owner: "ada"})
		other := []byte("another key of thirty-two bytes, 0123456789")
		if err := a.manager.RotateKeys(core.Keyring{testKey, other}); err != nil {
			t.Fatal(err)
		}
		if err := a.manager.RotateKeys(core.Keyring{other, testKey}); err != nil {
			t.Fatal(err)
		}
		b := a.device()
		b.mustLogin(core.LoginOptions{Owner: "ada"})
		if len(a.list("ada")) != 2 {
			t.Error("a rotation hides sessions")
		}
		if n, err := a.manager.RebuildOwners(t.Context()); n != 2 || err != nil {
			t.Error(n, err)
		}
		if err := a.manager.RotateKeys(core.Keyring{other}); err != nil {
			t.Fatal(err)
		}
		if len(a.list("ada")) != 2 {
			t.Error("after a rebuild the old key is not needed")
		}
		slices.Sort(lists)
		if lists = slices.Compact(lists); len(lists) != 2 || strings.Contains(strings.Join(lists, ""), "ada") || !strings.HasPrefix(lists[0], "koa:sess:own:") {
			t.Errorf("the lists are %q", lists)
		}
	})
}

// evicting is a store whose server may drop a list.
type evicting struct{ *memorystore.Store }

func (evicting) Evicts() bool { return true }

// P27: what a store can't promise, Guarantees says.
func TestP27Guarantees(t *testing.T) {
	for want, c := range map[string]struct {
		store  core.Store
		owners bool
	}{
		"ending the sessions of an owner misses none":    {newMemory(t), true},
		"ending the sessions of an owner is best effort": {evicting{newMemory(t)}, true},
		"writers can't hinder a login":                   {evicting{newMemory(t)}, false},
	} {
		m, err := core.New(c.store, &core.Options{Keys: core.Keyring{testKey}, Owners: c.owners})
		must(t, err)
		if g := m.Guarantees(); !strings.Contains(g, want) || strings.Contains(g, "owner") != c.owners {
			t.Errorf("%q, without %q", g, want)
		}
		m.Close()
	}
}

// P27: what a list has lost comes again with the next save.
func TestLostListsHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := newMemory(t)
		a := newAppOn(t, memory, &core.Options{Owners: true, IdleTimeout: time.Hour})
		a.mustLogin(core.LoginOptions{Owner: "ada"})
		lose := func() {
			var list string
			a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
				if op == storetest.OpOwned {
					list = key
				}
				return nil
			})
			a.list("ada")
			keys, _ := memory.Owned(t.Context(), list)
			memory.Disown(t.Context(), list, keys...)
		}
		lose()
		if len(a.list("ada")) != 0 {
			t.Fatal("the test has lost nothing")
		}
		time.Sleep(20 * time.Minute)
		a.owner()
		if len(a.list("ada")) != 1 {
			t.Error("a session that is used stays lost")
		}
		lose()
		if n, err := a.manager.RebuildOwners(t.Context()); n != 1 || err != nil || len(a.list("ada")) != 1 {
			t.Error("RebuildOwners:", n, err)
		}
	})
}

// A wrapper keeps the ability, and a sealed session its owner.
func TestOwnersBehindWrappers(t *testing.T) {
	around := func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, nil }
	for name, wrap := range map[string]func(core.Store) core.Store{
		"Observe":          func(s core.Store) core.Store { return core.Observe(s, around) },
		"Observe, Observe": func(s core.Store) core.Store { return core.Observe(core.Observe(s, around), around) },
		"Faulty":           func(s core.Store) core.Store { return storetest.NewFaulty(s) },
	} {
		t.Run(name, func(t *testing.T) {
			memory := newMemory(t)
			a := newAppOn(t, wrap(memory), &core.Options{Owners: true, Seal: core.Sealing{Keys: core.Keyring{testKey}}})
			b := a.device()
			a.mustLogin(core.LoginOptions{Owner: "ada", Label: "Firefox"})
			b.mustLogin(core.LoginOptions{Owner: "ada"})
			if len(a.list("ada")) != 2 || a.owner() != "ada" {
				t.Error("not listed")
			}
			memory.Keys(t.Context(), "", func(keys []string) error {
				found, err := memory.GetMany(t.Context(), keys...)
				for _, p := range found {
					if strings.Contains(string(p.Data), "ada") {
						t.Error("the store has the owner in plain text")
					}
				}
				return err
			})
			if err := a.manager.DestroyByOwner(t.Context(), "ada", nil); err != nil || a.owner() != "" || b.owner() != "" {
				t.Errorf("not ended: %v", err)
			}
			if g := a.manager.Guarantees(); !strings.Contains(g, "owner") {
				t.Errorf("Guarantees: %s", g)
			}
		})
	}
}

// An event about a session that was ended for its owner names it, as its login did.
func TestEndedForTheOwner(t *testing.T) {
	memory := memorystore.New(nil)
	defer memory.Close()
	store := storetest.NewFaulty(memory)
	var mu sync.Mutex
	var seen []core.Event
	m, err := core.New(store, &core.Options{Keys: core.Keyring{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, Owners: true, Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == core.EventLoggedIn || e.Kind == core.EventEnded || e.Kind == core.EventNotRevoked {
			seen = append(seen, e)
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, most := range []int{0, 1} { // the second login ends the first
		sessiontest.New(t, m, func(s *core.Session) error {
			return s.Login(core.LoginOptions{Owner: "ada", MaxSessions: most})
		})
	}
	refuses := errors.New("no")
	store.Before(func(_ context.Context, op storetest.Op, _ string) error {
		if strings.HasPrefix(string(op), "get") || op == storetest.OpOwned {
			return nil
		}
		return errors.Join(core.ErrRefused, refuses)
	})
	if err := m.DestroyByOwner(t.Context(), "ada", nil); !errors.Is(err, refuses) {
		t.Errorf("a store that refuses: %v", err)
	}
	store.Before(nil)
	if err := m.DestroyByOwner(t.Context(), "ada", nil); err != nil {
		t.Error(err)
	}
	byID := map[string][]core.EventKind{}
	for _, e := range seen {
		byID[e.ID] = append(byID[e.ID], e.Kind)
	}
	if len(seen) != 5 || len(byID) != 2 || byID[""] != nil {
		t.Errorf("the events are %v", byID)
	}
}

// What stands in a list and is no session of the owner is passed over: it opens nothing.
func TestListsWithOtherThings(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(nil)
		a.mustLogin(core.LoginOptions{Owner: "ada", Label: "a\tb\n"})
		if all := a.list("ada"); len(all) != 1 || all[0].Label != "a b " {
			t.Errorf("the label of a line is %+v", all)
		}
		b := a.device()
		b.mustLogin(core.LoginOptions{Owner: "ada"})
		a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
			if op == storetest.OpGetMany {
				a.store.Before(nil)
				must(t, a.store.Set(t.Context(), key, []byte("no session"), time.Hour))
			}
			return nil
		})
		if all := a.list("ada"); len(all) != 1 {
			t.Errorf("with one that can't be read the list has %d", len(all))
		}
		if n, err := a.manager.RebuildOwners(t.Context()); n != 1 || err != nil {
			t.Errorf("RebuildOwners put %d into lists, %v", n, err)
		}
	})
	plain := newApp(t, nil)
	if _, err := plain.manager.RebuildOwners(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// A shortIndex returns fewer payloads than keys.
type shortIndex struct{ listsApart }

func (s shortIndex) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	all, err := s.listsApart.GetMany(ctx, keys...)
	return all[1:], err
}

// Payloads that nobody can tell apart are no answer.
func TestListsOfAStoreThatMiscounts(t *testing.T) {
	a := newAppOn(t, shortIndex{listsApart{newMemory(t)}}, &core.Options{Owners: true})
	a.mustLogin(core.LoginOptions{Owner: "ada"})
	_, err := a.manager.ListByOwner(t.Context(), "ada", nil)
	wantIs(t, err, core.ErrCorrupt)
	wantIs(t, a.manager.DestroyByOwner(t.Context(), "ada", nil), core.ErrCorrupt)
}
