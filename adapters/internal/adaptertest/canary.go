package adaptertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// A canary knows what is secret in a run, and keeps what the run says: the log, at
// every level, events, errors and what they wrap, and the answers that failed. Each
// manager of the suite has one, so that every rule is a test of it, too.
type canary struct {
	mu      sync.Mutex
	secrets map[string]string // what it is
	said    bytes.Buffer
	// Of the log and the events, how many there were.
	messages, events int
}

// least is the length of a secret that is not found by chance.
const least = 8

// secret notes a text that must not be said, in any spelling.
func (c *canary) secret(what, text string) {
	text = strings.Trim(text, `" `)
	if len(text) < least {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secrets == nil {
		c.secrets = make(map[string]string)
	}
	sum := sha256.Sum256([]byte(text))
	for spelling, form := range map[string]string{
		"": text, " in hex": hex.EncodeToString([]byte(text)), " in base64": base64.RawStdEncoding.EncodeToString([]byte(text)),
		" in numbers": strings.Trim(fmt.Sprint([]byte(text)), "[]"), ", hashed": base64.RawURLEncoding.EncodeToString(sum[:]),
	} {
		c.secrets[form] = what + spelling
	}
}

// say keeps a text that others may read.
func (c *canary) say(where string, v ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range v {
		fmt.Fprintf(&c.said, "%s: %v\n%s: %+v\n%s: %#v\n", where, v, where, v, where, v)
	}
}

// Write takes what a slog.Handler writes.
func (c *canary) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages++
	return c.said.Write(b)
}

// watch lets c hear what a manager with these options says. The hooks of the test
// run as without it.
func (c *canary) watch(o *core.Options) {
	for _, keys := range []core.Keyring{o.Keys, o.Seal.Keys} {
		for _, key := range keys {
			c.secret("a key", string(key))
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewJSONHandler(c, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	event, failed := o.Hooks.Event, o.Hooks.Error
	o.Hooks.Event = func(ctx context.Context, e core.Event) {
		c.mu.Lock()
		c.events++
		c.mu.Unlock()
		c.say("an event", e, e.Err)
		if event != nil {
			event(ctx, e)
		}
	}
	o.Hooks.Error = func(ctx context.Context, e *core.Error) error {
		for err := error(e); err != nil; err = errors.Unwrap(err) {
			c.say("an error", err.Error(), err)
		}
		if failed != nil {
			return failed(ctx, e)
		}
		return e
	}
}

// exchange notes the cookies of a request and its response, and what a response
// says that is a failure.
func (c *canary) exchange(req *http.Request, r result) {
	for _, field := range req.Header["Cookie"] {
		for pair := range strings.SplitSeq(field, ";") {
			_, value, _ := strings.Cut(pair, "=")
			c.secret("a cookie of the browser", value)
		}
	}
	for _, line := range r.cookies {
		pair, _, _ := strings.Cut(line, ";")
		_, value, _ := strings.Cut(pair, "=")
		c.secret("a cookie of the response", value)
	}
	if r.status >= 400 {
		h := r.header.Clone()
		h.Del("Set-Cookie")
		c.say("an answer", r.body, h)
	}
}

// found is what was said and should not have been.
func (c *canary) found() (what []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	said := c.said.String()
	for secret, is := range c.secrets {
		if i := strings.Index(said, secret); i >= 0 {
			line := said[strings.LastIndexByte(said[:i], '\n')+1:]
			line, _, _ = strings.Cut(line, "\n")
			what = append(what, fmt.Sprintf("%s was said: %.300s", is, line))
		}
	}
	return what
}

func (c *canary) check(t *testing.T) {
	t.Helper()
	for _, what := range c.found() {
		t.Error(what)
	}
}

const note core.Key[string] = "note"

var canaryRules = []rule{
	{"R10 no id, cookie, key or value is said, whatever fails", func(t *testing.T, s *suite) {
		c := &canary{}
		const value = "a-value-that-nobody-may-read"
		c.secret("a value", value)
		for name, o := range map[string]core.Options{
			"default": {IdleTimeout: time.Hour, TouchEvery: time.Nanosecond},
			"sealed":  {Seal: core.Sealing{Keys: core.Keyring{[]byte("T5y8Hd6Gs1Pc8J8fk3Lx0Qw9Zr7Vb2Nm")}}},
			"koa":     *core.KoaCompat(),
			"no idle": {},
		} {
			o.FailFast, o.OpTimeout = true, 20*time.Millisecond // a conflict is tried again for ten times that
			s.canary = c
			a := s.app(o, func(x *Exchange) error {
				s, err := x.From()
				if err != nil {
					return err
				}
				switch x.URL.Path {
				case "/set":
					err = note.Set(s, value+fmt.Sprint(x.URL.Query()))
				case "/login":
					err = errors.Join(s.Login(core.LoginOptions{}), note.Set(s, value))
				case "/renew":
					err = s.Renew(x.Ctx)
				case "/reset":
					err = errors.Join(s.Reset(x.Ctx), note.Set(s, value))
				case "/save":
					err = errors.Join(note.Set(s, value+"!"), s.Save(x.Ctx))
				case "/type": // another type than is stored
					_, _, err = core.Key[int](note).Lookup(s)
				case "/encode":
					err = s.Set(string(note), func() {})
				case "/take":
					_, err = note.Take(x.Ctx, s)
				case "/destroy":
					err = s.Destroy(x.Ctx)
				}
				c.secret("an id", string(s.ID()))
				c.say("a session", s, s.ID(), s.LogValue())
				if err != nil {
					c.say("an error", err)
				}
				return err
			})
			c.say("a manager", a.manager)
			c.say("options", o, &o)
			c.say("the guarantees", a.manager.Guarantees())
			paths := []string{"/set", "/login", "/renew", "/save", "/type", "/encode", "/take", "/reset", "/set", "/destroy"}
			for _, op := range []storetest.Op{storetest.OpGetVersion, storetest.OpSetVersion, storetest.OpTouch, storetest.OpDestroy, storetest.OpBatch} {
				for _, err := range []error{core.ErrConflict, core.ErrRefused, core.ErrCorrupt, context.DeadlineExceeded} {
					if err == core.ErrConflict && (op != storetest.OpSetVersion || name != "default") { // slow
						continue
					}
					u := a.user()
					u.get("/set")
					a.store.Before(func(_ context.Context, at storetest.Op, key string) error {
						c.secret("a key of the store", key)
						if at == op {
							return err
						}
						return nil
					})
					for _, path := range paths {
						u.get(path)
					}
					// What an attacker sends is not for the log, either.
					forged := a.user()
					forged.browser.Take("/", "koa.sid=forged-by-somebody-0123456789; path=/", "koa.sid.sig=signed-by-somebody-else; path=/")
					forged.get("/set")
					a.store.Before(nil)
				}
			}
			if _, err := a.manager.GetByID(t.Context(), "an-id-that-there-is-not-01234567"); err != nil {
				c.secret("an id", "an-id-that-there-is-not-01234567")
				c.say("an error", err)
			}
			if c.messages < 50 || c.events < 50 || len(c.secrets) < 100 {
				t.Fatalf("%s: the canary heard too little: %d messages, %d events, and knows %d secrets", name, c.messages, c.events, len(c.secrets))
			}
		}
		c.check(t)
		c.say("the test", "id="+c.anySecret())
		if len(c.found()) == 0 {
			t.Error("the canary does not hear what is said")
		}
		s.canary = nil
	}},
}

func (c *canary) anySecret() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for secret := range c.secrets {
		return secret
	}
	return ""
}
