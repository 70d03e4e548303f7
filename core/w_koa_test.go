package core_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// TestW45BeforeSaveAtRenewals: the hook runs at each renewal that is due, and not
// more often, on every store; what it changes is saved.
func TestW45BeforeSaveAtRenewals(t *testing.T) {
	t.Parallel()
	const lastSeen core.Key[int64] = "lastSeen"
	for _, koa := range []bool{false, true} {
		for name, wrap := range map[string]func(core.Store) core.Store{
			"memory":  func(s core.Store) core.Store { return s },
			"swapper": func(s core.Store) core.Store { return stepwise(s) },
			"plain":   func(s core.Store) core.Store { return plainStore{s} },
		} {
			for _, changes := range []bool{true, false} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						store := memorystore.New(nil)
						defer store.Close()
						o := &core.Options{IdleTimeout: time.Hour}
						if koa {
							o = core.KoaCompat()
							o.TTL, o.Rolling = time.Hour, true
						}
						ran := 0
						var fail error
						o.Hooks.BeforeSave = func(_ context.Context, _ core.Jar, s *core.Session) error {
							ran++
							if changes {
								return errors.Join(fail, lastSeen.Set(s, time.Now().UnixMilli()))
							}
							return fail
						}
						a := newAppOn(t, wrap(store), o)
						a.ok(a.get("/", count(t)))
						if ran != 1 {
							t.Fatalf("at the first save it ran %d times", ran)
						}
						var saved int64
						read := func(_ *core.Visit, s *core.Session) { saved = lastSeen.Get(s) }
						for range 3 {
							time.Sleep(30 * time.Minute) // a renewal is due, and the session ends without it
							ran = 0
							seen := time.Now().UnixMilli()
							a.ok(a.get("/", nil))
							if ran != 1 {
								t.Errorf("koa %v: at a renewal that was due it ran %d times", koa, ran)
							}
							a.ok(a.get("/", read))
							if want := map[bool]int64{true: seen, false: 0}[changes]; saved != want {
								t.Errorf("koa %v: its change is %d, want %d", koa, saved, want)
							}
							if want := map[bool]int{true: 2, false: 1}[koa]; ran != want { // by default a second one is not due at once
								t.Errorf("koa %v: at the next request it had run %d times, want %d", koa, ran, want)
							}
						}
						// The error of the hook ends the renewal, as it does a save.
						time.Sleep(30 * time.Minute)
						fail = errors.New("refused by the hook")
						e := a.get("/", nil)
						if !errors.Is(e.commit, fail) {
							t.Errorf("the commit's error is %v", e.commit)
						}
						e.wantCookies(t, "")
					})
				})
			}
		}
	}
	t.Run("a hook that changes nothing costs a touch", func(t *testing.T) {
		t.Parallel()
		o := &core.Options{IdleTimeout: time.Hour, TouchEvery: 1}
		o.Hooks.BeforeSave = func(context.Context, core.Jar, *core.Session) error { return nil }
		a := newAppOn(t, stepwise(newMemory(t)), o)
		a.ok(a.get("/", count(t)))
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1})
		a.ok(a.get("/", nil))
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1, storetest.OpGetVersion: 2, storetest.OpTouch: 1})
	})
}

// TestW46OfTheConfigurationNothing: a stored cookie object is whole, whatever the
// configuration says.
func TestW46OfTheConfigurationNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newKoaApp(t, func(o *core.Options) {
			o.Cookie = core.CookieOptions{MaxAge: 7 * 24 * time.Hour, SameSite: core.SameSiteStrict, Domain: "example.com", Priority: core.PriorityHigh}
		})
		a.stored(t, `{"cookie":{},"count":1}`)
		lines, err := a.request(koaID, countUp)
		must(t, err)
		wantPair(t, lines, "path=/; httponly")
		a.wantStored(t, koaKey, `{"cookie":{},"count":2}`)
		for _, r := range a.ledger.Records() {
			if want := core.DefaultMaxAge.Milliseconds(); r.PTTL != want {
				t.Errorf("the store keeps it for %d ms, want %d: the limit of what has none", r.PTTL, want)
			}
		}
		// A login has the configuration's life again.
		lines, err = a.request(koaID, func(_ *core.Visit, s *core.Session) error { return s.Login(core.LoginOptions{}) })
		must(t, err)
		if !strings.Contains(strings.Join(lines, " "), "expires=") {
			t.Errorf("after a login: %q", lines)
		}
	})
}

// TestW47OwnIDs: what is no id is refused before a store key is made of it, and
// never with success. A prefix and an id are a key of at most 250 bytes (P10).
func TestW47OwnIDs(t *testing.T) {
	t.Parallel()
	record := []byte(`{"cookie":{},"visits":7}`)
	plain := []string{"plain-id-of-the-default", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"}
	good := []string{"user:42:aGVsbG8gd29ybGQ=", "a/b+c=", strings.Repeat("x", 200), "{slot}", "../../etc/passwd", plain[0], plain[1]}
	bad := []string{"", "a b", "a;b", "a,b", `a"b`, `a\b`, "a\tb", "a\r\nb", "a\x00b", "a\x7fb", "\xc3\xa9", strings.Repeat("x", 242), strings.Repeat("x", 20_000)}
	asked := func(store *storetest.Faulty) *[]string {
		var keys []string
		store.Before(func(_ context.Context, _ storetest.Op, key string) error {
			keys = append(keys, key)
			return nil
		})
		return &keys
	}
	for _, with := range []bool{true, false} {
		o := core.KoaCompat()
		if with {
			o.Koa.ValidID = func(string) bool { return true }
		}
		a := newAppOn(t, newMemory(t), o)
		for _, id := range append(good, bad...) {
			want := with && !slices.Contains(bad, id) || slices.Contains(plain, id)
			key := "koa:sess:" + id
			if !slices.Contains(bad, id) {
				must(t, a.store.Set(bg, key, record, time.Hour))
			}
			keys := asked(a.store)
			_, getErr := a.manager.GetByID(bg, core.ID(id))
			setErr := a.manager.SetByID(bg, core.ID(id), map[string]int{"visits": 8}, 0)
			destroyErr := a.manager.DestroyByID(bg, core.ID(id))
			for what, err := range map[string]error{"GetByID": getErr, "SetByID": setErr, "DestroyByID": destroyErr} {
				if (err == nil) != want {
					t.Errorf("with %v: %s of %.30q: %v", with, what, id, err)
				}
			}
			if !want && len(*keys) > 0 {
				t.Errorf("with %v: the store was asked for %.60q", with, *keys)
			}
			a.store.Before(nil)
		}
	}
	t.Run("a long prefix leaves less", func(t *testing.T) {
		t.Parallel()
		o := core.KoaCompat()
		o.Prefix = strings.Repeat("p", 100)
		o.Koa.ValidID = func(string) bool { return true }
		a := newAppOn(t, newMemory(t), o)
		must(t, a.manager.DestroyByID(bg, core.ID(strings.Repeat("x", 150))))
		if a.manager.DestroyByID(bg, core.ID(strings.Repeat("x", 151))) == nil {
			t.Error("a key of 251 bytes")
		}
	})
	t.Run("the function decides", func(t *testing.T) {
		t.Parallel()
		o := core.KoaCompat()
		o.Koa.ValidID = func(text string) bool { return strings.HasPrefix(text, "user:") }
		made := ""
		o.NewID = func(context.Context) (string, error) { return made, nil }
		a := newAppOn(t, newMemory(t), o)
		for id, want := range map[string]bool{"user:1": true, "admin:1": false, "short": false, "an-id-of-the-default-form": true} {
			made = id
			a.browser = &jartest.Browser{}
			e := a.get("/", count(t))
			if (e.err() == nil) != want {
				t.Errorf("NewID makes %q: %v", id, e.err())
			}
			if want {
				a.wantVisits(1)
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
			}
			// Also about what comes with a request, or from the application.
			must(t, a.store.Set(bg, "koa:sess:"+id, record, time.Hour))
			keys := asked(a.store)
			cookie := "koa.sid=" + id + "; koa.sid.sig=" + keygrip(string(testKey), "koa.sid", id)
			e = a.send(&jartest.Jar{Cookies: []string{cookie}}, func(_ *core.Visit, s *core.Session) {
				if opens := id != "admin:1"; s.IsNew() == opens {
					t.Errorf("a request with %q: new %v", id, s.IsNew())
				}
			})
			a.ok(e)
			_, getErr := a.manager.GetByID(bg, core.ID(id))
			destroyErr := a.manager.DestroyByID(bg, core.ID(id))
			if refused := id == "admin:1"; (getErr != nil) != refused || (destroyErr != nil) != refused || refused != (len(*keys) == 0) {
				t.Errorf("%q: %v, %v; the store was asked for %q", id, getErr, destroyErr, *keys)
			}
			a.store.Before(nil)
		}
	})
}

// TestW34SaidOrRefused: what can't be meant is an error of New, and what an empty
// text means is what the comments say.
func TestW34SaidOrRefused(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"koa sess:", " ", "koa:sess:\t", "koa:sess:\n", "k\u00f6a:", strings.Repeat("p", 101)} {
		for _, o := range []*core.Options{{Keys: core.Keyring{testKey}}, core.KoaCompat()} {
			o.Keys, o.Prefix = core.Keyring{testKey}, prefix
			if _, err := core.New(keepStore{}, o); err == nil || !strings.Contains(err.Error(), "Options.Prefix must be at most 100 bytes of printable ASCII without blanks") {
				t.Errorf("the prefix %q: %v", prefix, err)
			}
		}
	}
	for path, want := range map[string]string{"": "; path=/;", "/": "; path=/;", "/a": "; path=/a;"} {
		a := newApp(t, &core.Options{Cookie: core.CookieOptions{Path: path}})
		e := a.ok(a.get("/a", count(t)))
		if len(e.jar.SetCookies) != 2 || !strings.Contains(e.jar.SetCookies[0], want) {
			t.Errorf("the path %q: %q", path, e.jar.SetCookies)
		}
		a.ok(a.get("/a", func(_ *core.Visit, s *core.Session) {
			c := s.Cookie()
			c.Path = "" // as in Options: that of the configuration
			must(t, s.SetCookie(c))
			if got := s.Cookie().Path; "; path="+got+";" != want {
				t.Errorf("SetCookie with no path: %q", got)
			}
		}))
	}
	for _, path := range []string{"a", " /", "/a b", "/a;b", "/\u00e4", "/a?b", "/a#b"} {
		if _, err := core.New(keepStore{}, &core.Options{Keys: core.Keyring{testKey}, Cookie: core.CookieOptions{Path: path}}); err == nil || !strings.Contains(err.Error(), "Path must begin with /") {
			t.Errorf("the path %q: %v", path, err)
		}
	}
}
