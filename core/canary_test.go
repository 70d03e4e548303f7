package core_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A leaks is a canary: it knows what is secret in a test, and keeps what the test's managers say:
// the log at every level, events, and errors with what they wrap. Each test that
// uses the harness has one, and fails at its end if a secret was said.
type leaks struct {
	mu      sync.Mutex
	secrets map[string]string // what it is
	said    map[string]bool
	log     bytes.Buffer
}

// least is the length of a secret that is not found by chance.
const least = 8

var allLeaks sync.Map // of *testing.T

func leaksOf(t *testing.T) *leaks {
	c, known := allLeaks.LoadOrStore(t, &leaks{secrets: map[string]string{}, said: map[string]bool{}})
	if !known {
		t.Cleanup(func() {
			allLeaks.Delete(t)
			for _, what := range c.(*leaks).found() {
				t.Error(what)
			}
		})
	}
	return c.(*leaks)
}

// secret notes a text that must not be said, in any spelling.
func (c *leaks) secret(what, text string) {
	if len(text) >= least {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.secrets[text] = what
	}
}

// say keeps what others may read.
func (c *leaks) say(v any) {
	text := fmt.Sprintf("%v\n%+v\n%#v", v, v, v)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said[text] = true
}

// sayError keeps err and what it wraps.
func (c *leaks) sayError(err error) {
	switch e := err.(type) {
	case nil:
		return
	case interface{ Unwrap() error }:
		c.sayError(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			c.sayError(err)
		}
	}
	c.say(err)
}

// Write takes what a slog.Handler writes.
func (c *leaks) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(b)
}

// found is what was said and should not have been. It looks at each place once,
// however many secrets there are.
func (c *leaks) found() (what []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	type form struct{ text, is string }
	forms := map[string][]form{} // by their first bytes
	for text, is := range c.secrets {
		sum := sha256.Sum256([]byte(text))
		for spelling, text := range map[string]string{
			"": text, " in hex": hex.EncodeToString([]byte(text)), " in base64": base64.RawStdEncoding.EncodeToString([]byte(text)),
			" in numbers": strings.Trim(fmt.Sprint([]byte(text)), "[]"), ", hashed": base64.RawURLEncoding.EncodeToString(sum[:]),
		} {
			forms[text[:least]] = append(forms[text[:least]], form{text, is + spelling})
		}
	}
	c.said[c.log.String()] = true
	for said := range c.said {
		for i := 0; i+least <= len(said); i++ {
			for _, f := range forms[said[i:i+least]] {
				if strings.HasPrefix(said[i:], f.text) {
					line := said[strings.LastIndexByte(said[:i], '\n')+1:]
					line, _, _ = strings.Cut(line, "\n")
					what = append(what, fmt.Sprintf("%s was said: %.400s", f.is, line))
				}
			}
		}
	}
	slices.Sort(what)
	return slices.Compact(what)
}

// watch returns the options of a manager of which c hears, and notes their keys. The
// hooks and the Logger of the test work as without it.
func (c *leaks) watch(o core.Options) *core.Options {
	for _, keys := range []core.Keyring{o.Keys, o.OwnerKeys, o.Seal.Keys} {
		for _, key := range keys {
			c.secret("a key", string(key))
		}
	}
	var inner slog.Handler
	if o.Logger != nil {
		inner = o.Logger.Handler()
	}
	o.Logger = slog.New(tee{slog.NewTextHandler(c, &slog.HandlerOptions{Level: slog.LevelDebug}), inner})
	event, failed := o.Hooks.Event, o.Hooks.Error
	o.Hooks.Event = func(ctx context.Context, e core.Event) {
		c.say(e)
		c.sayError(e.Err)
		if event != nil {
			event(ctx, e)
		}
	}
	o.Hooks.Error = func(ctx context.Context, e *core.Error) error {
		c.sayError(e)
		if failed != nil {
			return failed(ctx, e)
		}
		return e
	}
	return &o
}

// A tee passes messages to the canary, and to the handler of the test if there is one.
type tee struct{ canary, inner slog.Handler }

func (h tee) Enabled(context.Context, slog.Level) bool { return true }

func (h tee) Handle(ctx context.Context, r slog.Record) error {
	err := h.canary.Handle(ctx, r)
	if h.inner != nil && h.inner.Enabled(ctx, r.Level) {
		err = errors.Join(err, h.inner.Handle(ctx, r.Clone()))
	}
	return err
}

func (h tee) WithAttrs(a []slog.Attr) slog.Handler {
	h.canary = h.canary.WithAttrs(a)
	if h.inner != nil {
		h.inner = h.inner.WithAttrs(a)
	}
	return h
}

func (h tee) WithGroup(name string) slog.Handler {
	h.canary = h.canary.WithGroup(name)
	if h.inner != nil {
		h.inner = h.inner.WithGroup(name)
	}
	return h
}

// wrap returns s, of which c notes the keys and, in memory, what is stored under them.
func (c *leaks) wrap(s core.Store) core.Store {
	f := storetest.NewFaulty(s)
	f.Before(func(_ context.Context, op storetest.Op, key string) error {
		if op != storetest.OpKeys { // whose prefix is no secret
			c.secret("a key of the store", key)
		}
		return nil
	})
	if m, ok := s.(*memorystore.Store); ok {
		f.After(func(_ context.Context, op storetest.Op, key string) error {
			if op == storetest.OpSet || op == storetest.OpSetVersion || op == storetest.OpBatch {
				data, _ := m.Get(context.Background(), key)
				c.payload(data)
			}
			return nil
		})
	}
	return f
}

// payload notes the texts in a record that are not of this library.
func (c *leaks) payload(data []byte) {
	var record map[string]any
	if json.Unmarshal(data, &record) != nil {
		c.secret("a payload", string(data))
		return
	}
	delete(record, "_gs")
	delete(record, "cookie")
	var note func(v any)
	note = func(v any) {
		switch v := v.(type) {
		case string:
			c.secret("a value", v)
		case []any:
			for _, v := range v {
				note(v)
			}
		case map[string]any:
			for _, v := range v {
				note(v)
			}
		}
	}
	note(record)
}

// cookies notes the values in lines such as Cookie and Set-Cookie.
func (c *leaks) cookies(lines ...string) {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			switch name, value, _ := strings.Cut(strings.TrimSpace(pair), "="); strings.ToLower(name) {
			case "path", "expires", "domain", "max-age", "samesite": // attributes
			default:
				c.secret("a cookie", strings.Trim(value, `"`))
			}
		}
	}
}

// R10: the canary of a test hears each thing that is said, and knows each secret.
func TestCanary(t *testing.T) {
	const value = "a-value-that-nobody-may-read"
	for _, where := range []string{"the log", "an event", "an error", "a wrapped error"} {
		for _, what := range []string{"nothing", "a value", "a cookie", "a key", "a key of the store"} {
			t.Run(where+" says "+what, func(t *testing.T) {
				secret := func() string {
					for text, is := range leaksOf(t).secrets {
						if is == what {
							return text
						}
					}
					return "no secret"
				}
				fail := false
				o := &core.Options{Logger: slog.New(slog.DiscardHandler)}
				o.Hooks.BeforeSave = func(context.Context, core.Jar, *core.Session) error {
					switch {
					case !fail:
						return nil
					case where == "an error":
						return fmt.Errorf("hook: %s", secret())
					case where == "a wrapped error":
						return &silentError{errors.New(secret())}
					}
					return core.ErrRefused
				}
				a := newApp(t, o)
				c := leaksOf(t)
				a.ok(a.get("/", setNote(t, value)))
				if found := c.found(); len(found) > 0 {
					t.Fatalf("before: %q", found)
				}
				fail = true
				switch where {
				case "the log":
					c.watch(*o).Logger.With("a", secret()).Info("planted")
				case "an event":
					c.watch(*o).Hooks.Event(t.Context(), core.Event{Why: secret()})
				}
				if e := a.get("/", setNote(t, value+"!")); e.err() == nil {
					t.Fatal("no error")
				}
				if found := c.found(); (len(found) > 0) != (what != "nothing") || what != "nothing" && !strings.Contains(fmt.Sprint(found), what+" was said") {
					t.Errorf("found %q", found)
				}
				clear(c.secrets) // what was planted is no failure of this test
			})
		}
	}
}

// A silentError does not say what it wraps.
type silentError struct{ err error }

func (*silentError) Error() string   { return "withheld" }
func (e *silentError) Unwrap() error { return e.err }

// R10: somebody else's store may quote its keys, in an error of any class and also where
// nothing has failed. They are not said, by errors, log or events, nor to what observes
// the store; the class of the error stays, and its type.
func TestR10AStoreThatQuotesItsKeys(t *testing.T) {
	quotes := map[string]func(err error, key string) error{
		"the key": func(err error, key string) error { return fmt.Errorf("%w: %s", err, key) },
		"quoted":  func(err error, key string) error { return fmt.Errorf("no %q: %w", key, err) },
		"without its prefix": func(err error, key string) error {
			return fmt.Errorf("%w %s", err, key[strings.LastIndex(key, ":")+1:])
		},
		"twice, joined": func(err error, key string) error { return errors.Join(err, errors.New(key+", "+key)) },
		"as its text":   func(err error, key string) error { return keyError{key, err} },
	}
	acts := map[string]func(a *app) error{
		"set":   func(a *app) error { return a.get("/", set(a.t, "n", time.Now().String())).err() },
		"read":  func(a *app) error { return a.get("/", nil).err() },
		"login": func(a *app) error { return a.login(core.LoginOptions{Owner: "ada", MaxSessions: 1}) },
		"renew": func(a *app) error {
			return a.get("/", func(_ *core.Visit, s *core.Session) { wantQuiet(a.t, s.Renew(a.t.Context())) }).err()
		},
		"reset": func(a *app) error {
			return a.get("/", func(_ *core.Visit, s *core.Session) { wantQuiet(a.t, s.Reset(a.t.Context())) }).err()
		},
		"destroy": func(a *app) error {
			return a.get("/", func(_ *core.Visit, s *core.Session) { wantQuiet(a.t, s.Destroy(a.t.Context())) }).err()
		},
		"list":    func(a *app) error { _, err := a.manager.ListByOwner(a.t.Context(), "ada", nil); return err },
		"end all": func(a *app) error { return a.manager.DestroyByOwner(a.t.Context(), "ada", nil) },
		"rebuild": func(a *app) error { _, err := a.manager.RebuildOwners(a.t.Context()); return err },
	}
	for name, quote := range quotes {
		t.Run(name, func(t *testing.T) {
			ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
				c, failed := leaksOf(t), 0
				a := open(&core.Options{FailFast: true, AbsoluteTimeout: time.Hour})
				for i, class := range []error{core.ErrUnavailable, core.ErrOutcomeUnknown, core.ErrRefused, core.ErrConflict, core.ErrNotFound, context.DeadlineExceeded, errors.New("of no class")} {
					for j, op := range []storetest.Op{
						storetest.OpGetVersion, storetest.OpSetVersion, storetest.OpBatch, storetest.OpAppend, storetest.OpDestroy,
						storetest.OpOwn, storetest.OpOwned, storetest.OpDisown, storetest.OpGetMany,
					} {
						if (i+j+len(name))%4 != 0 && !soak.On {
							continue // another spelling has this one
						}
						for _, act := range acts {
							a.store.Before(nil)
							b := a.device()
							b.mustLogin(core.LoginOptions{Owner: "ada", MaxSessions: 1})
							a.store.Before(func(_ context.Context, now storetest.Op, key string) error {
								if now == op {
									return quote(class, key)
								}
								return nil
							})
							if err := act(b); err != nil {
								failed++
								c.sayError(err)
							}
						}
					}
				}
				a.store.Before(nil)
				if failed < 20 {
					t.Errorf("only %d failed", failed)
				}
			})
		})
	}
}

func wantQuiet(t *testing.T, err error) { leaksOf(t).sayError(err) }

// A keyError has a key for everybody who looks at it.
type keyError struct {
	Key string
	err error
}

func (e keyError) Error() string { return "no " + e.Key }
func (e keyError) Unwrap() error { return e.err }

// R10: errors.Is and errors.As see through what was withheld.
func TestR10WhatIsWithheldCanBeAskedFor(t *testing.T) {
	a := newApp(t, &core.Options{FailFast: true})
	a.ok(a.get("/", count(t)))
	a.store.Before(func(_ context.Context, _ storetest.Op, key string) error { return keyError{key, core.ErrRefused} })
	err := a.get("/", count(t)).err()
	if e, ok := errors.AsType[keyError](err); !errors.Is(err, core.ErrRefused) || core.Status(err) != 503 || !ok || e.Key == "" {
		t.Errorf("%v", err)
	}
	if !strings.Contains(err.Error(), "no koa:sess:[key]") {
		t.Errorf("the text is %v", err)
	}
}

// R10: a store that hands on the text of its server, in which that quotes what it was to
// store, says no part of it. The texts are those of real servers.
func TestR10ValuesAreWithheld(t *testing.T) {
	const secret = `alice's token "9f8e7d6c5b4a3210" – ünïcode`
	quote := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) }
	for name, text := range map[string]func(data []byte) string{
		"as it is":      func(d []byte) string { return fmt.Sprintf("CHECK failed for %s.", d) },
		"the beginning": func(d []byte) string { return fmt.Sprintf("CHECK failed for %s...", d[:len(d)-9]) },
		"the end":       func(d []byte) string { return fmt.Sprintf("near '%s' at line 1", d[20:]) },
		"a word": func(d []byte) string {
			_, word, _ := strings.Cut(string(d), `"secret":"`)
			return "no column for " + word[:len("alice's token")]
		},
		"a string of Go":    func(d []byte) string { return fmt.Sprintf("can't store %q", d) },
		"a string of MySQL": func(d []byte) string { return fmt.Sprintf("syntax error near '%s' at line 1", quote(string(d))) },
		"a string of SQL": func(d []byte) string {
			return fmt.Sprintf("syntax error at or near '%s'", strings.ReplaceAll(string(d), "'", "''"))
		},
		"bytes of PostgreSQL": func(d []byte) string { return fmt.Sprintf(`Failing row contains (7, \x%x, 1).`, d) },
		"bytes of SQL":        func(d []byte) string { return fmt.Sprintf(`near X'%X' at line 1`, d) },
		"some bytes of MariaDB": func(d []byte) string {
			return fmt.Sprintf(`value: '\xE2\x80\x93 \xC3\xBCtoken...' for 'data', near '\xC3\xBCcode', or %s`, d[30:]) // more than six
		},
		"bytes of MariaDB": func(d []byte) string {
			var b strings.Builder
			for _, c := range d {
				if c < ' ' || c > '~' {
					fmt.Fprintf(&b, `\x%02X`, c)
				} else {
					b.WriteByte(c)
				}
			}
			return fmt.Sprintf("Incorrect string value: '%s' for column `data`", &b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, act := range map[string]func(s *core.Session) error{
				"a save":  func(s *core.Session) error { return s.Save(bg) },
				"a batch": func(s *core.Session) error { return s.Renew(bg) },
			} {
				memory := newMemory(t)
				store := &refusing{Store: memory, Swapper: memory, Batcher: memory}
				log := new(logbook)
				var seen []error // by around
				observed := core.Observe(store, func(ctx context.Context, _ string) (context.Context, func(error)) {
					return ctx, func(err error) { seen = append(seen, err) }
				})
				m, err := core.New(observed, &core.Options{Keys: core.Keyring{testKey}, Logger: slog.New(log)})
				must(t, err)
				defer m.Close()
				cookies, err := browse(t, m, "", count(t))
				must(t, err)
				store.text = text
				_, err = browse(t, m, cookies, func(_ *core.Visit, s *core.Session) {
					must(t, core.Key[string]("secret").Set(s, secret))
					err := act(s)
					if !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "[value]") {
						t.Errorf("%s: %v", kind, err)
					}
					seen = append(seen, err)
				})
				for _, said := range append(log.lines, fmt.Sprint(err, seen)) {
					for _, part := range []string{"alice", "9f8e7d6c", "9F8E7D6C", "token", "code", hex.EncodeToString([]byte("token")), strings.ToUpper(hex.EncodeToString([]byte("token")))} {
						if strings.Contains(said, part) {
							t.Errorf("%s: %q is said in %s", kind, part, said)
						}
					}
				}
			}
		})
	}
}

// A refusing store refuses each payload with a text that quotes it, once it has one.
type refusing struct {
	core.Store
	core.Swapper
	core.Batcher
	text func(data []byte) string
}

func (r *refusing) refusal(data []byte) error {
	return fmt.Errorf("%w: %s", core.ErrRefused, r.text(data))
}

func (r *refusing) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if r.text != nil {
		return r.refusal(data)
	}
	return r.Store.Set(ctx, key, data, ttl)
}

func (r *refusing) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	if r.text != nil {
		return 0, r.refusal(data)
	}
	return r.Swapper.SetVersion(ctx, key, data, ttl, v)
}

func (r *refusing) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	for _, w := range writes {
		if r.text != nil && len(w.Data) > 100 {
			return nil, r.refusal(w.Data)
		}
	}
	return r.Batcher.Batch(ctx, writes...)
}

// TestR10WhatIsPrinted: whatever prints a manager, a visit, a session or a store shows
// nothing of the session, nor of what is derived from the keys.
func TestR10WhatIsPrinted(t *testing.T) {
	t.Parallel()
	const value = "what somebody has in the session"
	store := newMemory(t)
	a := newAppOn(t, store, &core.Options{Owners: true, Seal: core.Sealing{Keys: core.Keyring{otherKey}, UnsealedUntil: time.Now().Add(time.Hour), OpenOnly: true}})
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("value", value)) }))
	a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
		for _, x := range []struct {
			of   any
			want string
		}{{a.manager, "session manager"}, {v, "session visit"}, {s, "session"}, {store, "session store"}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%t"} {
				if got := fmt.Sprintf(verb, x.of); got != x.want {
					t.Errorf("%s of %T shows %d characters, want %q", verb, x.of, len(got), x.want)
				}
			}
			text, err := json.Marshal(map[string]any{"x": x.of})
			leaksOf(t).say(string(text))
			leaksOf(t).sayError(err)
			var log bytes.Buffer
			slog.New(slog.NewTextHandler(&log, nil)).Info("x", "x", x.of)
			slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "x", x.of)
			leaksOf(t).say(log.String())
		}
		leaksOf(t).secret("a value", value)
	}))
	for stored, err := range a.manager.Stored(bg, "") {
		must(t, err)
		for _, x := range []any{stored, *stored, []any{stored}} {
			if text := fmt.Sprintf("%v %+v %#v %s %q %d %x", x, x, x, x, x, x, x); strings.Contains(text, "koa:sess:") || strings.Contains(text, fmt.Sprint([]byte(value))[1:60]) || !strings.Contains(text, stored.Print) {
				t.Errorf("%T shows its key or values, or nothing at all", x)
			}
		}
	}
}
