package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// TestT9Stores: P15, the steps by which an application moves from one store to another.
func TestT9Stores(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour)
	for kind, wrap := range storeKinds {
		for name, change := range map[string]func(*core.Options){
			"as they are": func(*core.Options) {},
			"sealed":      func(o *core.Options) { o.Seal.Keys = core.Keyring{keyB} },
		} {
			t.Run(kind+", "+name, func(t *testing.T) {
				t.Parallel()
				first, second := newMemory(t), wrap(newMemory(t))
				var processes []*core.Manager
				for _, step := range []struct{ store, from core.Store }{
					{first, nil}, {first, second}, {second, first}, {second, nil},
				} {
					o := core.Options{Keys: core.Keyring{keyA}}
					if change(&o); step.from != nil {
						o.Migrate = core.Migration{From: step.from, Until: until}
					}
					m, err := core.New(step.store, &o)
					must(t, err)
					t.Cleanup(func() { m.Close() })
					processes = append(processes, m)
				}
				neighbours(t, processes)
			})
		}
	}
}

// storeKinds are the abilities that a store with versions may have.
var storeKinds = map[string]func(core.Store) core.Store{
	"batcher": func(s core.Store) core.Store { return s },
	"swapper": func(s core.Store) core.Store { return stepwise(s) },
	"untold":  untold, // which version it has written
}

// A move is one way to come over: a session with one visit, in the old place.
type move struct {
	old, new core.Store
	options  core.Options
	cookies  string // that the browser has from before
	key      string // of the session in the old place
}

const foreignID = "3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// ways make a move of each kind, between stores of that kind.
var ways = map[string]func(t *testing.T, old, new core.Store) move{
	"our sessions": func(t *testing.T, old, new core.Store) move {
		return ourMove(t, old, new)
	},
	"our sessions, without versions": func(t *testing.T, old, new core.Store) move {
		return ourMove(t, plainStore{old}, new)
	},
	"Koa's": func(t *testing.T, old, new core.Store) move {
		m := move{old: old, new: new, key: "koa:sess:" + fixedID}
		m.cookies = "koa.sid=" + fixedID + "; koa.sid.sig=" + keygrip(string(koaA), "koa.sid", fixedID)
		must(t, old.Set(bg, m.key, []byte(`{"cookie":{},"visits":1}`), time.Hour))
		m.options = core.Options{Keys: core.Keyring{keyA}, Migrate: core.Migration{Keys: core.Keyring{koaA}, From: old, Until: time.Now().Add(time.Hour)}}
		return m
	},
	"another library's": func(t *testing.T, old, new core.Store) move {
		return foreignMove(t, plainStore{old}, new, "session")
	},
	"another library's, with versions and our name": func(t *testing.T, old, new core.Store) move {
		return foreignMove(t, old, new, "koa.sid")
	},
}

func ourMove(t *testing.T, old, new core.Store) move {
	m := move{old: old, new: new, options: core.Options{Keys: core.Keyring{keyA}}}
	before, err := core.New(old, &m.options)
	must(t, err)
	defer before.Close()
	b := &jartest.Browser{}
	jar := b.Jar("/")
	must(t, serve(t, before, jar, count(t)).err())
	b.Take("/", jar.SetCookies...)
	id, _ := b.Value("/", "koa.sid")
	m.cookies, m.key = b.Cookie("/"), hashedKey(core.ID(id))
	m.options.Migrate = core.Migration{From: old, Until: time.Now().Add(time.Hour)}
	return m
}

func foreignMove(t *testing.T, old, new core.Store, cookie string) move {
	m := move{old: old, new: new, cookies: cookie + "=" + foreignID, key: "theirs:" + foreignID}
	must(t, old.Set(bg, m.key, []byte("theirs {\"visits\":1}"), time.Hour))
	m.options = core.Options{Keys: core.Keyring{keyA}, Migrate: core.Migration{
		From: old, Until: time.Now().Add(time.Hour),
		Foreign: &core.Foreign{
			Cookie: cookie,
			Key:    func(id string) string { return "theirs:" + id },
			Values: func(data []byte) (any, error) {
				text, ok := strings.CutPrefix(string(data), "theirs ")
				if !ok {
					return nil, fmt.Errorf("no session: %q", data)
				}
				return json.RawMessage(text), nil
			},
		},
	}}
	return m
}

// id is that of the session.
func (m move) id() core.ID {
	_, rest, _ := strings.Cut(m.cookies, "=")
	id, _, _ := strings.Cut(rest, ";")
	return core.ID(id)
}

// process is one of those that serve after the move. hook sees its calls.
func (m move) process(t *testing.T, hook func(after bool) error) *core.Manager {
	t.Helper()
	wrap := func(s core.Store) core.Store {
		if hook == nil {
			return s
		}
		f := storetest.NewFaulty(s)
		f.Before(func(context.Context, storetest.Op, string) error { return hook(false) })
		f.After(func(context.Context, storetest.Op, string) error { return hook(true) })
		return f
	}
	o := m.options
	o.FailFast = true
	o.Migrate.From = wrap(m.old)
	p, err := core.New(wrap(m.new), &o)
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// browse sends a request with these cookies, and returns those that the browser has
// then.
func browse(t *testing.T, p *core.Manager, cookies string, h handler) (string, error) {
	t.Helper()
	b := &jartest.Browser{}
	for pair := range strings.SplitSeq(cookies, "; ") {
		b.Take("/", pair+"; path=/")
	}
	jar := b.Jar("/")
	err := serve(t, p, jar, h).err()
	b.Take("/", jar.SetCookies...)
	return b.Cookie("/"), err
}

// seen is how many visits a request with these cookies finds.
func seen(t *testing.T, p *core.Manager, cookies string) (n int) {
	t.Helper()
	_, err := browse(t, p, cookies, func(_ *core.Visit, s *core.Session) { n = visits.Get(s) })
	must(t, err)
	return n
}

// ended fails the test unless the cookies from before the move open nothing, now or
// later.
func (m move) ended(t *testing.T, p *core.Manager, what string) {
	t.Helper()
	for range 2 {
		if n := seen(t, p, m.cookies); n != 0 {
			t.Errorf("%s: the session lives, with %d visits", what, n)
		}
		if data, err := m.old.Get(bg, m.key); !errors.Is(err, core.ErrNotFound) && !strings.HasPrefix(string(data), "null") {
			t.Errorf("%s: the old place still has it, %v", what, err)
		}
		time.Sleep(3 * time.Minute)
	}
}

// eachMove runs f in a bubble, for each way and kind of stores.
func eachMove(t *testing.T, f func(t *testing.T, m func() move)) {
	t.Parallel()
	for name, way := range ways {
		for kind, wrap := range storeKinds {
			inBubble(t, name+", "+kind, func(t *testing.T) {
				f(t, func() move {
					old, new := memorystore.New(nil), memorystore.New(nil)
					t.Cleanup(func() { old.Close(); new.Close() })
					return way(t, wrap(old), wrap(new))
				})
			})
		}
	}
}

func TestP15TakenOver(t *testing.T) {
	eachMove(t, func(t *testing.T, begin func() move) {
		m := begin()
		p, other := m.process(t, nil), m.process(t, nil)
		cookies, err := browse(t, p, m.cookies, count(t))
		must(t, err)
		if data, err := m.old.Get(bg, m.key); !errors.Is(err, core.ErrNotFound) && string(data) != "null\nleft" {
			t.Errorf("the old place: %v", err)
		}
		if !strings.Contains(cookies, "koa.sid.sig=") {
			t.Errorf("the browser has %q", cookies)
		}
		// Requests that were under way have the cookie from before.
		for _, c := range []string{cookies, m.cookies} {
			if n := seen(t, other, c); n != 2 {
				t.Errorf("%d visits", n)
			}
		}
		// A login gives the id up, in each of its forms.
		after, err := browse(t, p, cookies, signIn(t, "ada"))
		must(t, err)
		if n := seen(t, other, after); n != 2 {
			t.Errorf("after a login: %d visits", n)
		}
		m.ended(t, other, "after a login")
		if _, err = browse(t, p, after, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }); err != nil {
			t.Error(err)
		}
		if n := seen(t, other, after); n != 0 {
			t.Errorf("after a logout: %d visits", n)
		}
	})
}

// ends are the ways by which an id is given up.
var ends = map[string]handler{
	"Login":   func(_ *core.Visit, s *core.Session) { _ = s.Login(core.LoginOptions{}) },
	"Renew":   func(_ *core.Visit, s *core.Session) { _ = s.Renew(bg) },
	"Reset":   func(_ *core.Visit, s *core.Session) { _ = s.Reset(bg) },
	"Destroy": func(_ *core.Visit, s *core.Session) { _ = s.Destroy(bg) },
}

// TestP15TwoProcesses: one ends the session at any moment at which another takes it
// over.
func TestP15TwoProcesses(t *testing.T) {
	eachMove(t, func(t *testing.T, begin func() move) {
		all := map[string]handler{"DestroyByID": nil}
		for what, end := range ends {
			all[what] = end
		}
		for what, end := range all {
			for _, after := range []bool{false, true} {
				for at := 1; ; at++ {
					m := begin()
					other := m.process(t, nil)
					n, met := 0, false
					var now string
					slow := m.process(t, func(is bool) error {
						if is != after {
							return nil
						}
						if n++; n == at {
							met = true
							var err error
							if end == nil {
								err = other.DestroyByID(bg, m.id())
							} else {
								now, err = browse(t, other, m.cookies, end)
							}
							if err != nil {
								t.Errorf("%s at call %d: %v", what, at, err)
							}
						}
						return nil
					})
					if _, err := browse(t, slow, m.cookies, func(*core.Visit, *core.Session) {}); err != nil {
						t.Errorf("%s at call %d (after it: %v): the other request fails: %v", what, at, after, err)
					}
					if !met {
						break
					}
					name := fmt.Sprintf("%s at call %d (after it: %v)", what, at, after)
					if (what == "Login" || what == "Renew") && seen(t, slow, now) != 1 {
						t.Errorf("%s: the new id finds nothing", name)
					}
					m.ended(t, slow, name)
				}
			}
		}
	})
}

// TestP15ACrash: a process stops before or after any call of taking a session over,
// or of ending it. It is not lost, and what has ended once does not come back.
func TestP15ACrash(t *testing.T) {
	eachMove(t, func(t *testing.T, begin func() move) {
		all := map[string]handler{"a look": func(*core.Visit, *core.Session) {}}
		for what, end := range ends {
			all[what] = end
		}
		for what, h := range all {
			for _, after := range []bool{false, true} {
				for at := 1; ; at++ {
					m := begin()
					n, dead := 0, false
					crashes := m.process(t, func(is bool) error {
						if is == after {
							if n++; n == at {
								dead = true
							}
						}
						if dead {
							return core.ErrUnavailable
						}
						return nil
					})
					_, _ = browse(t, crashes, m.cookies, h)
					if !dead {
						break
					}
					name := fmt.Sprintf("%s, a crash at call %d (after it: %v)", what, at, after)
					p := m.process(t, nil)
					lives := seen(t, p, m.cookies)
					if lives == 0 && what == "a look" {
						t.Errorf("%s: the session is lost", name)
					}
					if lives != 0 {
						if n := seen(t, p, m.cookies); n != 1 {
							t.Errorf("%s: lives, and then has %d visits", name, n)
						}
						if data, err := m.old.Get(bg, m.key); !errors.Is(err, core.ErrNotFound) && !strings.HasPrefix(string(data), "null") {
							t.Errorf("%s: in both places, %v", name, err)
						}
						_, err := browse(t, p, m.cookies, ends["Destroy"])
						must(t, err)
					}
					m.ended(t, p, name)
				}
			}
		}
	})
}

// TestP15TheOldPlacesErrors are those of what ends an id, and of a look at an id
// that only the old place may know: never "no session".
func TestP15TheOldPlacesErrors(t *testing.T) {
	eachMove(t, func(t *testing.T, begin func() move) {
		for what := range ends {
			m := begin()
			cookies, err := browse(t, m.process(t, nil), m.cookies, count(t))
			must(t, err)
			o := m.options
			o.FailFast = true
			down := storetest.NewFaulty(m.old)
			down.Down()
			o.Migrate.From = down
			p, err := core.New(m.new, &o)
			must(t, err)
			defer p.Close()
			if n := seen(t, p, cookies); n != 2 {
				t.Errorf("the new store is asked first: %d visits", n)
			}
			var failed error
			_, err = browse(t, p, cookies, func(_ *core.Visit, s *core.Session) {
				switch what {
				case "Login":
					must(t, s.Login(core.LoginOptions{}))
				case "Renew":
					failed = s.Renew(bg)
				case "Reset":
					failed = s.Reset(bg)
				case "Destroy":
					failed = s.Destroy(bg)
				}
			})
			if err = errors.Join(err, failed); !errors.Is(err, core.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
			m = begin()
			o.Migrate.From, o.Keys = down, core.Keyring{keyA}
			p, err = core.New(m.new, &o)
			must(t, err)
			defer p.Close()
			if _, err := browse(t, p, m.cookies, func(*core.Visit, *core.Session) { t.Error("the handler runs") }); !errors.Is(err, core.ErrUnavailable) {
				t.Errorf("a look: %v", err)
			}
		}
	})
}

func TestP15TheDate(t *testing.T) {
	eachMove(t, func(t *testing.T, begin func() move) {
		m := begin()
		p := m.process(t, nil)
		if err := m.old.Set(bg, m.key, get(t, m.old, m.key), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n := seen(t, p, m.cookies); n != 0 {
			t.Errorf("%d visits", n)
		}
		if _, err := m.old.Get(bg, m.key); err != nil {
			t.Errorf("the old place was touched: %v", err)
		}
	})
}

func get(t *testing.T, s core.Store, key string) []byte {
	t.Helper()
	data, err := s.Get(bg, key)
	must(t, err)
	return data
}

// TestP15ByID: DestroyByID ends a session that nobody has brought yet.
func TestP15ByID(t *testing.T) {
	eachMove(t, func(t *testing.T, begin func() move) {
		m := begin()
		p := m.process(t, nil)
		must(t, p.DestroyByID(bg, m.id()))
		m.ended(t, p, "DestroyByID")
	})
}

// TestP15AnUnsignedCookieOpensNothingOfOurs: the cookie of the other library has no
// signature. It opens what was taken over, until its session has logged in, and no
// session that began here.
func TestP15AnUnsignedCookieOpensNothingOfOurs(t *testing.T) {
	t.Parallel()
	for _, defers := range []bool{false, true} {
		for _, name := range []string{"session", "koa.sid"} {
			m := foreignMove(t, newMemory(t), newMemory(t), name)
			m.options.Defer = defers
			p := m.process(t, nil)
			fresh, err := browse(t, p, "", count(t))
			must(t, err)
			id := strings.TrimPrefix(strings.Split(fresh, ";")[0], "koa.sid=")
			if n := seen(t, p, fresh); n != 1 {
				t.Fatalf("%d visits", n)
			}
			if n := seen(t, p, name+"="+id); n != 0 {
				t.Errorf("%s: the id alone opens the session", name)
			}
			_, err = browse(t, p, name+"="+id, nil)
			must(t, err)
			jar := &jartest.Jar{Cookies: []string{name + "=" + id}}
			v, _ := p.NewVisit(jar, nil)
			must(t, v.Begin(bg))
			must(t, v.Replace(core.NewContext(bg, v), map[string]int{"visits": 100}))
			must(t, v.Commit(bg))
			if n := seen(t, p, fresh); n != 1 {
				t.Errorf("%s: the id alone has written into the session: %d visits", name, n)
			}

			took, err := browse(t, p, m.cookies, count(t))
			must(t, err)
			if n := seen(t, p, m.cookies); n != 2 {
				t.Errorf("%s: %d visits", name, n)
			}
			in, err := browse(t, p, took, signIn(t, "ada"))
			must(t, err)
			id = strings.TrimPrefix(strings.Split(in[strings.Index(in, "koa.sid="):], ";")[0], "koa.sid=")
			if n := seen(t, p, name+"="+id); n != 0 {
				t.Errorf("%s: after the login the id alone opens the session", name)
			}
		}
	}
}

// TestP15ForeignValues: what a decoder can return, and ids of other shapes.
func TestP15ForeignValues(t *testing.T) {
	t.Parallel()
	m := foreignMove(t, newMemory(t), newMemory(t), "session")
	m.options.Migrate.Foreign.ID = func(value string) string { return strings.TrimPrefix(value, "s:") }
	var told []error
	m.options.Hooks.Error = func(_ context.Context, e *core.Error) error { told = append(told, e); return e }
	put := func(data string) { must(t, m.old.Set(bg, m.key, []byte(data), time.Hour)) }
	f := m.options.Migrate.Foreign
	p := m.process(t, nil)
	for what, c := range map[string]struct {
		data    string
		cookies string
		want    int
		corrupt bool
	}{
		"a value":               {"theirs {\"visits\":3}", "session=s:" + foreignID, 3, false},
		"no record":             {"secret", "session=" + foreignID, 0, true},
		"no object":             {"theirs [1]", "session=" + foreignID, 0, true},
		"a reserved name":       {"theirs {\"cookie\":1}", "session=" + foreignID, 0, true},
		"its time is over":      {"theirs null", "session=" + foreignID, 0, false},
		"two cookies":           {"theirs {\"visits\":3}", "session=" + foreignID + "; session=" + fixedID, 0, false},
		"a short id":            {"theirs {\"visits\":3}", "session=" + foreignID[:15], 0, false},
		"no id":                 {"theirs {\"visits\":3}", "session=" + strings.Repeat("x", 200), 0, false},
		"the same cookie twice": {"theirs {\"visits\":3}", "session=" + foreignID + "; session=s:" + foreignID, 3, false},
	} {
		decode := f.Values
		if what == "its time is over" {
			f.Values = func([]byte) (any, error) { return nil, nil }
		}
		told = nil
		must(t, m.new.Destroy(bg, hashedKey(foreignID)))
		put(c.data)
		if n := seen(t, p, c.cookies); n != c.want {
			t.Errorf("%s: %d visits", what, n)
		}
		if c.corrupt != (len(told) == 1) {
			t.Errorf("%s: told %v", what, told)
		}
		for _, err := range told {
			if !errors.Is(err, core.ErrCorrupt) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", what, err)
			}
		}
		f.Values = decode
	}
}

// TestP15AFullServer: neither the old nor the new one needs room for a logout.
func TestP15AFullServer(t *testing.T) {
	eachMove(t, func(t *testing.T, begin func() move) {
		for _, brought := range []bool{false, true} {
			m := begin()
			if brought {
				_, err := browse(t, m.process(t, nil), m.cookies, count(t))
				must(t, err)
			}
			o := m.options
			full := storetest.NewFaulty(m.new)
			full.Before(func(_ context.Context, op storetest.Op, _ string) error {
				if op == storetest.OpSet || op == storetest.OpSetVersion || op == storetest.OpAppend || op == storetest.OpBatch && !brought {
					return core.ErrRefused
				}
				return nil
			})
			p, err := core.New(removesOnly{full, m.new}, &o)
			must(t, err)
			defer p.Close()
			must(t, p.DestroyByID(bg, m.id()))
			m.ended(t, m.process(t, nil), fmt.Sprintf("on a full server (taken over before: %v)", brought))
		}
	})
}

// removesOnly refuses all batches but removals.
type removesOnly struct {
	*storetest.Faulty
	store core.Store
}

func (r removesOnly) Unwrap() core.Store {
	b, ok := core.As[core.Batcher](r.store)
	if !ok {
		return r.Faulty.Unwrap()
	}
	return fullBatcher{b, r.store}
}

type fullBatcher struct {
	core.Batcher
	core.Store
}

func (f fullBatcher) Unwrap() core.Store { return nil }
func (f fullBatcher) SetVersion(context.Context, string, []byte, time.Duration, core.Version) (core.Version, error) {
	return 0, core.ErrRefused
}
func (f fullBatcher) Append(context.Context, string, []byte) ([]byte, core.Version, error) {
	return nil, 0, core.ErrRefused
}
func (f fullBatcher) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	for _, w := range writes {
		if w.Data != nil {
			return nil, core.ErrRefused
		}
	}
	return f.Batcher.Batch(ctx, writes...)
}

// TestP15ASessionThatGetsANewIDOfItself: at each stage of it the browser has a cookie
// that leads to the session, in the old place and then in the new one.
func TestP15ASessionThatGetsANewIDOfItself(t *testing.T) {
	t.Parallel()
	for kind, wrap := range storeKinds {
		inBubble(t, kind, func(t *testing.T) {
			old, new := memorystore.New(nil), memorystore.New(nil)
			defer old.Close()
			defer new.Close()
			o := core.Options{Keys: core.Keyring{keyA}, RenewAfter: time.Hour, IdleTimeout: 24 * time.Hour, Cookie: core.CookieOptions{MaxAge: 0}}
			before, err := core.New(wrap(old), &o)
			must(t, err)
			defer before.Close()
			for stage := range 4 {
				first, err := browse(t, before, "", count(t))
				must(t, err)
				cookies := []string{first}
				time.Sleep(time.Hour)
				if stage > 0 { // it has got a new id
					again, err := browse(t, before, first, count(t))
					must(t, err)
					cookies = append(cookies, again)
				}
				if stage > 1 { // and brings it
					_, err := browse(t, before, cookies[1], count(t))
					must(t, err)
				}
				if stage > 2 {
					time.Sleep(time.Minute)
					cookies = cookies[1:]
				}
				o.Migrate = core.Migration{From: wrap(old), Until: time.Now().Add(24 * time.Hour)}
				after, err := core.New(wrap(new), &o)
				must(t, err)
				for i := range cookies { // the newest first, and the others as late requests
					if n := seen(t, after, cookies[len(cookies)-1-i]); n != 1+min(stage, 2) {
						t.Errorf("stage %d, cookie %d: %d visits", stage, i, n)
					}
				}
				last := cookies[len(cookies)-1]
				time.Sleep(2 * time.Hour) // it goes on in the new place
				next, err := browse(t, after, last, count(t))
				must(t, err)
				if next == last {
					t.Errorf("stage %d: no new id", stage)
				}
				_, err = browse(t, after, next, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) })
				must(t, err)
				for _, c := range append(cookies, next) {
					if n := seen(t, after, c); n != 0 {
						t.Errorf("stage %d: %d visits after the logout", stage, n)
					}
				}
				after.Close()
				o.Migrate = core.Migration{}
			}
		})
	}
}

// TestP15Owners: sessions that are still in the old place are among those of their
// owner, and end with them, also at any moment at which one of them is taken over.
func TestP15Owners(t *testing.T) {
	t.Parallel()
	inBubble(t, "", func(t *testing.T) {
		begin := func() (m move, others []string) {
			old, new := memorystore.New(nil), memorystore.New(nil)
			t.Cleanup(func() { old.Close(); new.Close() })
			m = move{old: old, new: new, options: core.Options{Keys: core.Keyring{keyA}, Owners: true}}
			before, err := core.New(old, &m.options)
			must(t, err)
			defer before.Close()
			for _, owner := range []string{"ada", "ada", "bob"} {
				time.Sleep(time.Second)
				cookies, err := browse(t, before, "", func(v *core.Visit, s *core.Session) {
					must(t, s.Login(core.LoginOptions{Owner: owner}))
					count(t)(v, s)
				})
				must(t, err)
				others = append(others, cookies)
			}
			m.cookies = others[0]
			m.key = hashedKey(m.id())
			m.options.Migrate = core.Migration{From: old, Until: time.Now().Add(time.Hour)}
			return m, others
		}
		m, cookies := begin()
		p := m.process(t, nil)
		if n := seen(t, p, cookies[1]); n != 1 { // one of the two is brought
			t.Fatalf("%d visits", n)
		}
		all, err := p.ListByOwner(bg, "ada", nil)
		if err != nil || len(all) != 2 {
			t.Fatalf("%d sessions, %v", len(all), err)
		}
		must(t, p.DestroyByHandle(bg, "ada", all[1].Handle)) // the older one, which is not
		m.ended(t, p, "DestroyByHandle")
		if n := seen(t, p, cookies[1]); n != 1 {
			t.Errorf("the other one: %d visits", n)
		}
		_, err = browse(t, p, "", func(_ *core.Visit, s *core.Session) {
			must(t, s.Login(core.LoginOptions{Owner: "bob", MaxSessions: 1}))
		})
		must(t, err)
		if n := seen(t, p, cookies[2]); n != 0 {
			t.Errorf("one too many, in the old place: %d visits", n)
		}

		for _, after := range []bool{false, true} {
			for at := 1; ; at++ {
				m, cookies := begin()
				other := m.process(t, nil)
				n, met := 0, false
				slow := m.process(t, func(is bool) error {
					if is == after {
						if n++; n == at {
							met = true
							must(t, other.DestroyByOwner(bg, "ada", nil))
						}
					}
					return nil
				})
				if _, err := browse(t, slow, m.cookies, func(*core.Visit, *core.Session) {}); err != nil {
					t.Errorf("call %d (after it: %v): %v", at, after, err)
				}
				if !met {
					break
				}
				m.ended(t, slow, fmt.Sprintf("DestroyByOwner at call %d (after it: %v)", at, after))
				if a, b := seen(t, slow, cookies[1]), seen(t, slow, cookies[2]); a != 0 || b != 1 {
					t.Errorf("call %d (after it: %v): ada's other session has %d visits, bob's %d", at, after, a, b)
				}
			}
		}
	})
}

// TestP15WhatItCosts: the calls of a session that is moved, and of one that was.
func TestP15WhatItCosts(t *testing.T) {
	t.Parallel()
	m := ourMove(t, newMemory(t), newMemory(t))
	var calls int
	p := m.process(t, func(after bool) error {
		if !after {
			calls++
		}
		return nil
	})
	for _, step := range []struct {
		what string
		do   handler
		want int
	}{
		{"taken over", func(*core.Visit, *core.Session) {}, 1 + 6}, // here, there; announced, there again, created, removed, unmarked
		{"read", func(*core.Visit, *core.Session) {}, 1},
		{"saved", count(t), 2},
		{"logged in", signIn(t, "ada"), 2 + 3},
	} {
		calls = 0
		_, err := browse(t, p, m.cookies, step.do)
		must(t, err)
		if calls != step.want {
			t.Errorf("%s: %d calls, want %d", step.what, calls, step.want)
		}
	}
}

// TestNewRefusesToMoveToTheSamePlace: also where one of them, or both, are wrapped.
func TestNewRefusesToMoveToTheSamePlace(t *testing.T) {
	store, other := newMemory(t), newMemory(t)
	watched := func() core.Store {
		return core.Observe(store, func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, nil })
	}
	for name, pair := range map[string][2]core.Store{
		"itself": {store, store}, "wrapped": {watched(), store}, "from a wrapped one": {store, watched()},
		"both": {watched(), watched()}, "embedded": {struct{ core.Store }{watched()}, struct{ core.Store }{watched()}}, "another": {watched(), other},
	} {
		m, err := core.New(pair[0], &core.Options{Keys: core.Keyring{testKey}, Migrate: core.Migration{From: pair[1], Until: time.Now().Add(time.Hour)}})
		if err == nil {
			m.Close()
		}
		switch name {
		case "another":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case "embedded": // a wrapper that does not say what it wraps: no panic is all
		default:
			if err == nil || !strings.Contains(err.Error(), "is the store itself") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// P15, W44: a session of another library that is larger than MaxSize is not read.
func TestP15ForeignTooLarge(t *testing.T) {
	m := foreignMove(t, newMemory(t), newMemory(t), "theirs")
	m.options.MaxSize = 100
	must(t, m.old.Set(bg, m.key, []byte(`theirs {"visits":1,"a":"`+strings.Repeat("x", 100)+`"}`), time.Hour))
	var read bool
	values := m.options.Migrate.Foreign.Values
	m.options.Migrate.Foreign.Values = func(data []byte) (any, error) { read = true; return values(data) }
	if _, err := browse(t, m.process(t, nil), m.cookies, func(_ *core.Visit, s *core.Session) {
		if !s.IsNew() {
			t.Error("it is a session")
		}
	}); err != nil || read {
		t.Errorf("it was read: %t, %v", read, err)
	}
}

// again is a store by another connection, with all that it can.
type again struct{ *memorystore.Store }

// TestP15TheSamePlaceByAnotherConnection: New can't see it, so what would lose a session
// is refused when it comes to that. Everything else works.
func TestP15TheSamePlaceByAnotherConnection(t *testing.T) {
	t.Parallel()
	for kind, wrap := range storeKinds {
		for call, f := range map[string]func(s *core.Session) error{
			"Login": func(s *core.Session) error { return s.Login(core.LoginOptions{}) },
			"Renew": func(s *core.Session) error { return s.Renew(bg) },
			"Reset": func(s *core.Session) error { return s.Reset(bg) },
		} {
			t.Run(kind+"/"+call, func(t *testing.T) {
				t.Parallel()
				store := newMemory(t)
				m := ourMove(t, again{store}, wrap(store))
				p := m.process(t, nil)
				called := error(nil)
				_, err := browse(t, p, m.cookies, func(_ *core.Visit, s *core.Session) { called = f(s) })
				if err = errors.Join(called, err); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "Options.Migrate.From") {
					t.Errorf("%v", err)
				}
				if n := seen(t, p, m.cookies); n != 1 {
					t.Errorf("it has %d visits, not 1", n)
				}
				_, err = browse(t, p, m.cookies, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) })
				must(t, err)
				if n := seen(t, p, m.cookies); n != 0 {
					t.Error("it has not ended")
				}
			})
		}
	}
}
