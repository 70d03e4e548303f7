package concurrency_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	fibersession "github.com/gensession/gensession/adapters/fiber"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// The ten things that must hold, each said once more without the machine: what
// is looked at is the outcome of every interleaving of two requests, on every
// store.

// every plays two requests in every order on every store.
func every(t *testing.T, o core.Options, a, b program, look func(t *testing.T, s *stage, out outcome)) {
	t.Helper()
	for _, kind := range stores {
		t.Run(fmt.Sprintf("%s | %s, %s", a.name, b.name, kind.name), func(t *testing.T) {
			s := newStage(t, kind.open(t), o)
			s.orders([2]program{a, b}, func(out outcome, path []choice) {
				if look(t, s, out); t.Failed() {
					t.Logf("in the order %s: %v", orderOf(path), out)
				}
			})
		})
	}
}

func one(acts ...act) program {
	var names []string
	for _, a := range acts {
		names = append(names, a.String())
	}
	return program{strings.Join(names, ", "), acts}
}

// wants is an outcome in which the old id has exactly these values and both
// requests worked.
func wants(want values) func(*testing.T, *stage, outcome) {
	return func(t *testing.T, _ *stage, out outcome) {
		if !maps.Equal(out.live[old], want) || len(out.live) != 1 || out.told != [2]string{} {
			t.Errorf("want %v", want)
		}
	}
}

func TestItem1DifferentKeys(t *testing.T) {
	every(t, core.Options{}, one(setOther), one(setOther), wants(values{"x": 0, "n": 100, "a": 1, "b": 2}))
	every(t, core.Options{}, one(setOther, setSame), one(setOther, update), wants(values{"x": 1, "n": 110, "a": 1, "b": 2}))
	every(t, core.Options{}, one(update, save, setOther), one(setOther, save, setSame), wants(values{"x": 2, "n": 101, "a": 1, "b": 2}))
}

func TestItem2Updates(t *testing.T) {
	every(t, core.Options{}, one(update), one(update), wants(values{"x": 0, "n": 111}))
	every(t, core.Options{}, one(update, save, update), one(update), wants(values{"x": 0, "n": 112}))
	for _, kind := range stores {
		t.Run("forty at once, "+kind.name, func(t *testing.T) {
			const list core.Key[[]int] = "list"
			m, browser := withSession(t, kind.open(t), core.Options{OpTimeout: time.Minute})
			var all sync.WaitGroup
			for i := range 40 {
				all.Go(func() {
					_, err := within(m, browser.Jar("/"), func(s *core.Session) error {
						_, err := n.Update(s, adding(1))
						if err == nil {
							_, err = list.Update(s, func(l []int) []int { return append(slices.Clone(l), i) })
						}
						return err
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			_, err := within(m, browser.Jar("/"), func(s *core.Session) error {
				got := slices.Sorted(slices.Values(list.Get(s)))
				if n.Get(s) != 40 || len(got) != 40 || len(slices.Compact(got)) != 40 {
					t.Errorf("n is %d, %d in the list; want 40 of both", n.Get(s), len(got))
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestItem3OneKey(t *testing.T) {
	for _, p := range policies {
		every(t, core.Options{OnConflict: p.policy}, one(setSame), one(setSame), func(t *testing.T, _ *stage, out outcome) {
			refused := 0
			for i := range out.told {
				if out.told[i] == "conflict" {
					refused++
				}
			}
			got := out.live[old]["x"]
			switch {
			case got != 1 && got != 2, refused == 2, refused > 0 && p.policy != core.ConflictRefuse:
				t.Errorf("x is %d, %d refused", got, refused)
			case refused == 1 && out.told[got-1] != "":
				t.Error("the one that was refused has won")
			}
		})
	}
	const cart core.Key[map[string]int] = "cart"
	t.Run("one wins whole", func(t *testing.T) {
		m, browser := withSession(t, newMemory(t), core.Options{})
		second := browser.Jar("/")
		if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
			_, err := within(m, second, func(s *core.Session) error { return cart.Set(s, map[string]int{"b": 2}) })
			return errors.Join(err, cart.Set(s, map[string]int{"a": 1}))
		}); err != nil {
			t.Fatal(err)
		}
		_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
			if got := cart.Get(s); !maps.Equal(got, map[string]int{"a": 1}) {
				t.Errorf("the cart is %v: merged within a value", got)
			}
			return nil
		})
	})
	t.Run("KoaCompat meets what a Koa app wrote", func(t *testing.T) {
		store := storetest.NewFaulty(newMemory(t))
		var key string
		store.Before(func(_ context.Context, _ storetest.Op, k string) error { key = k; return nil })
		m, browser := withSession(t, store, *core.KoaCompat())
		if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
			// Koa's SETEX asks nobody.
			return errors.Join(store.Set(context.Background(), key, []byte(`{"cookie":{"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000},"n":5,"k":1}`), time.Hour), x.Set(s, 1))
		}); err != nil {
			t.Fatal(err)
		}
		_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
			if data, _ := s.JSON(); string(data) != `{"n":5,"k":1,"x":1}` {
				t.Errorf("%s", data)
			}
			return nil
		})
	})
}

func TestItem4Deletions(t *testing.T) {
	every(t, core.Options{}, one(deleteX), one(update), wants(values{"n": 110}))
	every(t, core.Options{}, one(deleteX), one(setOther), wants(values{"n": 100, "b": 2}))
	every(t, core.Options{}, one(deleteX), one(deleteX, setOther), wants(values{"n": 100, "b": 2}))
}

func TestItem5GoneMeanwhile(t *testing.T) {
	for _, end := range []act{destroy, regenerate, renew, expire, revoke} {
		every(t, core.Options{}, one(setOther), one(end), func(t *testing.T, _ *stage, out outcome) {
			if out.live[old] != nil {
				t.Error("the old id lives")
			}
			// It has met the end in the middle, or seen no session and begun
			// one, where the browser had none yet.
			if out.told[0] == "gone" && out.cookies[0] != "" {
				t.Error("it was told that the session is gone, and sent a cookie")
			}
			if c := out.cookies[0]; c != "" && c != old && out.live[c] == nil {
				t.Error("a cookie without a session")
			}
		})
	}
	t.Run("the response stands", func(t *testing.T) {
		var told error
		m, browser := withSession(t, newMemory(t), core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			told = e
			return nil
		}}})
		jar := browser.Jar("/")
		_, err := within(m, jar, func(s *core.Session) error {
			return errors.Join(x.Set(s, 1), m.DestroyByID(context.Background(), s.ID()))
		})
		if err != nil || !errors.Is(told, core.ErrGone) || len(jar.SetCookies) > 0 {
			t.Errorf("the commit is %v, the hook was told %v, %d cookies", err, told, len(jar.SetCookies))
		}
	})
}

// The late request after each run is in TestOrders.
func TestItem6NewIDs(t *testing.T) {
	for _, first := range []act{renew, regenerate} {
		for _, second := range []act{renew, regenerate} {
			every(t, core.Options{}, one(first), one(second), func(t *testing.T, _ *stage, out outcome) {
				if len(out.live) > 1 || out.live[old] != nil {
					t.Error("two ids, or the old one")
				}
				if len(out.live) == 0 && out.told[0]+out.told[1] == "" && first == renew && second == renew {
					t.Error("none after two successes")
				}
			})
		}
	}
	every(t, core.Options{}, one(renew), one(), func(t *testing.T, _ *stage, out outcome) {
		if len(out.live) != 1 || out.live[old] != nil || out.cookies[1] != "" {
			t.Error("a parallel reader has touched the cookie, or the id is wrong")
		}
	})
}

func TestItem7CookieOptionsAndTouches(t *testing.T) {
	every(t, core.Options{}, one(setCookie), one(setOther), wants(values{"x": 0, "n": 100, "b": 2, "cookie": 1}))
	every(t, core.Options{}, one(touch), one(setOther), wants(values{"x": 0, "n": 100, "b": 2}))
	every(t, core.Options{}, one(touch), one(destroy), func(t *testing.T, _ *stage, out outcome) {
		if len(out.live) > 0 {
			t.Error("revived")
		}
	})
	t.Run("a touch does not take back the life that another request chose", func(t *testing.T) {
		spy := &lifeSpy{memory: newMemory(t)}
		s := newStage(t, spy, core.Options{})
		s.orders([2]program{one(touch), one(setCookie)}, func(out outcome, path []choice) {
			want := core.DefaultMaxAge + 2*time.Hour
			if got := spy.life(s.oldKey); got < want-time.Minute || got > want {
				t.Errorf("in the order %s it lives for %v, want %v", orderOf(path), got, want)
			}
		})
	})
}

// A lifeSpy remembers how long a key was last given.
type lifeSpy struct {
	memory
	mu    sync.Mutex
	lives map[string]time.Duration
}

func (s *lifeSpy) life(key string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lives[key]
}

func (s *lifeSpy) note(key string, ttl time.Duration) {
	if s.lives == nil {
		s.lives = map[string]time.Duration{}
	}
	s.lives[key] = ttl
}

func (s *lifeSpy) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.memory.SetVersion(ctx, key, data, ttl, v)
	if err == nil {
		s.note(key, ttl)
	}
	return now, err
}

func (s *lifeSpy) Touch(ctx context.Context, key string, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.memory.Touch(ctx, key, ttl)
	if err == nil {
		s.note(key, ttl)
	}
	return err
}

func TestItem8OneRequest(t *testing.T) {
	t.Run("eight goroutines", func(t *testing.T) {
		m, browser := withSession(t, newMemory(t), core.Options{})
		if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
			var all sync.WaitGroup
			errs := make([]error, 8)
			for i := range errs {
				all.Go(func() {
					for range 25 {
						_, err := n.Update(s, adding(1))
						errs[i] = errors.Join(errs[i], err, s.Set(fmt.Sprint("g", i), i), s.Save(context.Background()))
					}
				})
			}
			all.Wait()
			return errors.Join(errs...)
		}); err != nil {
			t.Fatal(err)
		}
		_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
			if n.Get(s) != 200 || len(s.Names()) != 9 {
				t.Errorf("n is %d, %d values", n.Get(s), len(s.Names()))
			}
			return nil
		})
	})
	late := func(t *testing.T, s *core.Session) {
		t.Helper()
		ctx := context.Background()
		_, updated := n.Update(s, adding(1))
		for what, err := range map[string]error{
			"Set": x.Set(s, 1), "Update": updated, "Delete": x.Delete(s), "Replace": s.Replace(values{}), "Save": s.Save(ctx),
			"Renew": s.Renew(ctx), "Reset": s.Reset(ctx), "Destroy": s.Destroy(ctx), "SetCookie": s.SetCookie(core.CookieOptions{MaxAge: time.Hour}),
		} {
			if !errors.Is(err, core.ErrCommitted) {
				t.Errorf("%s after the commit: %v", what, err)
			}
		}
	}
	for name, begin := range map[string]func(w http.ResponseWriter){
		"net/http, the first byte": func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) },
		"net/http, WriteHeader":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"net/http, Flush":          func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"net/http, Hijack": func(w http.ResponseWriter) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_ = rw.Flush()
			_ = c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, newMemory(t), core.Options{})
			var kept *core.Session
			done := make(chan struct{})
			server := httptest.NewServer(httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				s, err := httpsession.From(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = n.Set(s, 1)
				begin(w)
				late(t, s)
				kept = s
			})))
			res, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			<-done
			server.Close()
			late(t, kept) // in a goroutine that outlives the handler
		})
	}
	// fasthttp starts the function given to SetBodyStreamWriter at once, beside
	// the handler. So its changes fall before the commit or after it.
	for name, serve := range map[string]func(m *core.Manager, h func(*core.Session, *fasthttp.RequestCtx)) fasthttp.RequestHandler{
		"fasthttp": func(m *core.Manager, h func(*core.Session, *fasthttp.RequestCtx)) fasthttp.RequestHandler {
			return fasthttpsession.New(m, nil)(func(c *fasthttp.RequestCtx) {
				s, err := fasthttpsession.From(c)
				if err != nil {
					t.Error(err)
					return
				}
				h(s, c)
			})
		},
		"Fiber": func(m *core.Manager, h func(*core.Session, *fasthttp.RequestCtx)) fasthttp.RequestHandler {
			app := fiber.New()
			app.Use(fibersession.New(m, nil))
			app.Get("/", func(c *fiber.Ctx) error {
				s, err := fibersession.From(c)
				if err == nil {
					h(s, c.Context())
				}
				return err
			})
			return app.Handler()
		},
	} {
		t.Run(name+", a stream's writer after the commit", func(t *testing.T) {
			store := storetest.NewFaulty(newMemory(t))
			m := newManager(t, store, core.Options{})
			committed := make(chan struct{})
			var c fasthttp.RequestCtx
			c.Init(&fasthttp.Request{}, nil, nil)
			serve(m, func(s *core.Session, c *fasthttp.RequestCtx) {
				c.SetBodyStreamWriter(func(w *bufio.Writer) {
					<-committed
					late(t, s)
					_, _ = w.WriteString("end")
				})
			})(&c)
			close(committed)
			if got := string(c.Response.Body()); got != "end" {
				t.Errorf("the body is %q", got)
			}
			if n := store.Calls(storetest.OpSetVersion); n != 0 {
				t.Errorf("stored %d times", n)
			}
		})
		t.Run(name+", a stream's writer before the commit", func(t *testing.T) {
			store := storetest.NewFaulty(newMemory(t))
			m := newManager(t, store, core.Options{})
			var c fasthttp.RequestCtx
			c.Init(&fasthttp.Request{}, nil, nil)
			serve(m, func(s *core.Session, c *fasthttp.RequestCtx) {
				changed := make(chan struct{})
				c.SetBodyStreamWriter(func(w *bufio.Writer) {
					defer close(changed)
					if err := x.Set(s, 7); err != nil {
						t.Errorf("Set before the commit: %v", err)
					}
				})
				<-changed
			})(&c)
			c.Response.Body()
			var browser jartest.Browser
			for _, line := range c.Response.Header.Cookies() {
				browser.Take("/", string(line))
			}
			if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
				if x.Get(s) != 7 {
					t.Errorf("x is %d", x.Get(s))
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if n := store.Calls(storetest.OpSetVersion); n != 1 {
				t.Errorf("stored %d times", n)
			}
		})
	}
}

func TestItem9BeforeSaveAndGivingUp(t *testing.T) {
	t.Run("once for each commit", func(t *testing.T) {
		var hooks atomic.Int64
		store := storetest.NewFaulty(newMemory(t))
		m, browser := withSession(t, store, core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error {
			hooks.Add(1)
			return nil
		}}})
		hooks.Store(0)
		lost := 0
		meddle(store, func() bool { lost++; return lost <= 5 })
		if _, err := within(m, browser.Jar("/"), func(s *core.Session) error { _, err := n.Update(s, adding(1)); return err }); err != nil {
			t.Fatal(err)
		}
		if hooks.Load() != 1 || lost < 6 {
			t.Errorf("BeforeSave ran %d times in %d tries", hooks.Load(), lost)
		}
	})
	t.Run("giving up is ErrConflict, and nothing is written", func(t *testing.T) {
		var told error
		store := storetest.NewFaulty(newMemory(t))
		m, browser := withSession(t, store, core.Options{OpTimeout: time.Minute, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			told = e
			return e
		}}})
		tries := 0
		meddle(store, func() bool { tries++; return true })
		jar := browser.Jar("/")
		_, err := within(m, jar, func(s *core.Session) error { return errors.Join(x.Set(s, 1), n.Set(s, 1)) })
		store.Before(nil)
		if !errors.Is(err, core.ErrConflict) || !errors.Is(told, core.ErrConflict) || len(jar.SetCookies) > 0 || tries < 2 || tries > 100 {
			t.Errorf("%v, the hook was told %v, %d cookies, %d tries", err, told, len(jar.SetCookies), tries)
		}
		_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
			if data, _ := s.JSON(); string(data) != `{"n":0}` {
				t.Errorf("%s", data)
			}
			return nil
		})
	})
}

// meddle writes a session anew before each write of it, as long as more says.
func meddle(store *storetest.Faulty, more func() bool) {
	swapper, _ := core.As[core.Swapper](store)
	var inner atomic.Bool
	store.Before(func(ctx context.Context, op storetest.Op, key string) error {
		if op != storetest.OpSetVersion || inner.Load() || !more() {
			return nil
		}
		inner.Store(true)
		defer inner.Store(false)
		data, v, err := swapper.GetVersion(ctx, key)
		if err == nil {
			_, err = swapper.SetVersion(ctx, key, data, time.Hour, v)
		}
		return err
	})
}

func TestItem10ThreeMethods(t *testing.T) {
	plain := struct{ core.Store }{newMemory(t)}
	m, browser := withSession(t, plain, core.Options{})
	second := browser.Jar("/")
	if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
		_, err := within(m, second, func(s *core.Session) error { return s.Set("b", 2) })
		return errors.Join(err, s.Set("a", 1))
	}); err != nil {
		t.Fatal(err)
	}
	_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
		if data, _ := s.JSON(); string(data) != `{"n":0,"a":1}` {
			t.Errorf("%s, want what the last one wrote", data)
		}
		return nil
	})
	if g := m.Guarantees(); !strings.Contains(g, "last write wins") {
		t.Error(g)
	}
	if g := newManager(t, newMemory(t), core.Options{}).Guarantees(); !strings.Contains(g, "no update is lost") {
		t.Error(g)
	}
	if _, err := core.New(plain, &core.Options{Keys: [][]byte{firstKey}, OnConflict: core.ConflictMerge}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("New with a policy that the store can't give: %v", err)
	}
}

func newManager(t testing.TB, store core.Store, o core.Options) *core.Manager {
	o.Keys = [][]byte{firstKey}
	m, err := core.New(store, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// withSession is a manager and a browser with a session in which n is 0.
func withSession(t testing.TB, store core.Store, o core.Options) (*core.Manager, *jartest.Browser) {
	m := newManager(t, store, o)
	return m, visitor(t, m)
}

// within is one request without an HTTP library.
func within(m *core.Manager, jar *jartest.Jar, h func(*core.Session) error) (*core.Session, error) {
	ctx := context.Background()
	v, _ := m.NewVisit(jar, nil)
	s, err := v.Session(ctx)
	if err != nil {
		v.Abandon()
		return nil, err
	}
	if err := h(s); err != nil {
		v.Abandon()
		return s, err
	}
	return s, v.Commit(ctx)
}
