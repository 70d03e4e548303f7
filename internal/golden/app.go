package golden

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// An App is the recorded Koa app with us in place of the original. It takes
// one request at a time.
type App struct {
	// Managers are to be mounted, the first outermost.
	Managers []*core.Manager
	// TLS says that the requests come over TLS. (The original believed a
	// proxy's field.)
	TLS bool

	backend  Backend
	clock    clock
	deferred bool
	swallow  bool // the hook lets the request go on

	query  url.Values    // of the request
	ids    []string      // to be handed out in this step
	calls  []string      // of the store in this step, as Redis commands
	told   []*core.Error // what the hook was told in this step
	failed bool          // the handler itself failed in this step
}

// An Exchange is a request in the hands of the app's handler.
type Exchange struct {
	Ctx     context.Context
	Path    string
	Session func() (*core.Session, error) // of the outermost manager
	Visit   func() (*core.Visit, error)   // likewise
}

// ErrOops is how the handler itself fails. All other errors of it are ours.
var ErrOops = errors.New("oops")

// Count is what the handler counts in.
const Count core.Key[int] = "count"

const data core.Key[string] = "data"

func open(t *testing.T, v *vector, backend Backend, plain bool) *App {
	t.Helper()
	a := &App{backend: backend, TLS: v.App.Proxy, deferred: v.Options.Defer}
	store := backend.Store()
	if plain {
		store = struct{ core.Store }{store}
	}
	watched := storetest.NewFaulty(store)
	watched.Before(a.before)
	a.mount(t, watched, v, &v.Options)
	if v.App.Twice != nil {
		// The original's second does nothing. Ours, whose cookie has another
		// name, works for who asks for it (K32), and nobody does.
		a.mount(t, watched, v, v.App.Twice)
	}
	return a
}

func (a *App) mount(t *testing.T, store core.Store, v *vector, given *options) {
	t.Helper()
	o := a.options(t, given, slices.ContainsFunc(v.Steps, func(s step) bool { return s.AppErrors != nil }))
	o.NewID = a.newID
	for _, key := range v.App.Keys {
		o.Keys = append(o.Keys, []byte(key))
	}
	if v.Name == "cookie-maxage-undefined" {
		// What JSON can't show. A maxAge that is given is named first; here it
		// can only be given with a value.
		o.Cookie.MaxAge = core.DefaultMaxAge
	}
	if v.App.ForceSid {
		o.InsecureIDFrom = func(context.Context, core.Jar) core.ID { return core.ID(a.query.Get("sid")) }
	}
	m, err := core.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	a.Managers = append(a.Managers, m)
}

// is reports whether f is there, which only name is allowed to be.
func (f *function) is(t *testing.T, name string) bool {
	t.Helper()
	if f != nil && f.Name != name {
		t.Fatalf("the recording has an unknown function %q", f.Name)
	}
	return f != nil
}

// options translates the original's. With appErrors the hook takes the place
// of the app's "error" event.
func (a *App) options(t *testing.T, given *options, appErrors bool) *core.Options {
	t.Helper()
	o := core.KoaCompat()
	if given.Key != nil {
		o.Name = *given.Key
	}
	if given.Prefix != nil {
		o.Prefix, o.NoPrefix = *given.Prefix, *given.Prefix == ""
	}
	switch ttl := given.TTL.(type) {
	case nil:
	case float64:
		o.TTL = millis(ttl)
	case map[string]any:
		if ttl["$function"] != "ttl: an hour if maxAge is null, else undefined" {
			t.Fatalf("the recording has an unknown ttl %v", ttl)
		}
		o.TTLFunc = func(s *core.Session) time.Duration {
			if s.Cookie().MaxAge == core.UntilBrowserCloses {
				return time.Hour
			}
			return 0
		}
	default:
		t.Fatalf("the recording has an unknown ttl %v", ttl)
	}
	for name, v := range given.Cookie {
		if !cookieOption(&o.Cookie, name, v) {
			t.Fatalf("the recording has an unknown cookie option %s: %v", name, v)
		}
	}
	o.Rolling, o.Defer = given.Rolling, given.Defer
	if given.Valid.is(t, "valid: unless ?valid=false") {
		o.Hooks.Valid = func(context.Context, core.Jar, *core.Session) (bool, error) {
			return a.query.Get("valid") != "false", nil
		}
	}
	if given.BeforeSave.is(t, "beforeSave: session.path = request path") {
		o.Hooks.BeforeSave = func(_ context.Context, jar core.Jar, s *core.Session) error {
			return s.Set("path", jar.Path())
		}
	}
	a.swallow = a.swallow || given.ErrorHandler.is(t, "errorHandler: swallow")
	if a.swallow || appErrors {
		o.Hooks.Error = func(_ context.Context, e *core.Error) error {
			a.told = append(a.told, e)
			if a.swallow {
				return nil
			}
			return e
		}
	}
	return o
}

// cookieOption sets an option under its name in the original.
func cookieOption(c *core.CookieOptions, name string, v any) bool {
	flip := func(s *core.Switch) bool {
		on, ok := v.(bool)
		*s = core.Off
		if on {
			*s = core.On
		}
		return ok
	}
	ms, isNumber := v.(float64)
	switch name {
	case "maxAge":
		if c.MaxAge = millis(ms); v == nil {
			c.MaxAge = core.UntilBrowserCloses
		}
		return isNumber || v == nil
	case "expires":
		c.Expires = time.UnixMilli(int64(ms))
		return isNumber
	case "httpOnly":
		return flip(&c.HTTPOnly)
	case "overwrite":
		return flip(&c.Overwrite)
	case "signed":
		return flip(&c.Signed)
	case "secure":
		return flip(&c.Secure)
	case "sameSite":
		c.SameSite = core.SameSiteStrict
		return v == true
	}
	return false
}

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// newID hands out the ids that the recording shows. The original made others
// that nobody got to see; ours are made when they are needed (K15). If one is
// needed that the recording does not show, it must not be seen here either.
func (a *App) newID(context.Context) (string, error) {
	if len(a.ids) == 0 {
		return "not-in-the-recording", nil
	}
	id := a.ids[0]
	a.ids = a.ids[1:]
	return id, nil
}

// before stands between the core and the store.
func (a *App) before(_ context.Context, op storetest.Op, key string) error {
	command, ok := map[storetest.Op]string{
		storetest.OpGet: "get", storetest.OpGetVersion: "get",
		storetest.OpSet: "setex", storetest.OpSetVersion: "setex", storetest.OpTouch: "setex", // K24: touched, not rewritten
		storetest.OpDestroy: "del",
	}[op]
	if !ok {
		return fmt.Errorf("unknown operation %q", op)
	}
	a.calls = append(a.calls, command+" "+key)
	return nil
}

// Handle is the recorded app's handler.
func (a *App) Handle(x Exchange) (body string, err error) {
	body, err = a.route(x)
	a.failed = err == ErrOops
	return body, err
}

func (a *App) route(x Exchange) (string, error) {
	switch x.Path {
	case "/untouched":
		return "ok", nil
	case "/remove":
		if a.deferred { // the original does not wait for the session here
			v, err := x.Visit()
			if err != nil {
				return "", err
			}
			return "0", v.Destroy(x.Ctx)
		}
	}
	s, err := x.Session()
	if err != nil {
		return "", err
	}
	switch x.Path {
	case "/read":
		n, ok, err := Count.Lookup(s)
		if !ok {
			return "none", err
		}
		return strconv.Itoa(n), err
	case "/count":
		return increment(s)
	case "/set":
		return "ok", eachMember(a.query.Get("json"), func(name string, v any) error { return s.Set(name, v) })
	case "/cookie":
		c := s.Cookie()
		err := eachMember(a.query.Get("json"), func(name string, v any) error {
			if !cookieOption(&c, name, v) {
				return fmt.Errorf("unknown cookie option %s: %v", name, v)
			}
			return nil
		})
		return "ok", cmp.Or(err, s.SetCookie(c))
	case "/httponly":
		c := s.Cookie()
		on := c.HTTPOnly != core.On
		c.HTTPOnly = core.Off
		if on {
			c.HTTPOnly = core.On
		}
		return strconv.FormatBool(on), s.SetCookie(c)
	case "/remove", "/remove-async":
		return "0", s.Destroy(x.Ctx)
	case "/regenerate":
		if err := s.Reset(x.Ctx); err != nil {
			return "", err
		}
		return string(s.ID()), data.Set(s, "foo")
	case "/regenerate-empty":
		err := s.Reset(x.Ctx)
		return string(s.ID()), err
	case "/regenerate-copy-more":
		n := Count.Get(s)
		if err := s.Reset(x.Ctx); err != nil {
			return "", err
		}
		return string(s.ID()), Count.Set(s, n+1)
	case "/id":
		return string(s.ID()), nil
	case "/save":
		if _, err := increment(s); err != nil {
			return "", err
		}
		return saveNow(x.Ctx, s)
	case "/save-unchanged":
		return saveNow(x.Ctx, s)
	case "/force":
		s.SetSaveMode(core.SaveAlways)
		return "ok", nil
	case "/force-remove":
		s.SetSaveMode(core.SaveAlways)
		return "0", s.Destroy(x.Ctx)
	case "/prevent":
		s.SetSaveMode(core.SaveNever)
		return increment(s)
	case "/prevent-remove":
		s.SetSaveMode(core.SaveNever)
		return "0", s.Destroy(x.Ctx)
	case "/error":
		_, err := increment(s)
		return "", cmp.Or(err, ErrOops)
	}
	return "", fmt.Errorf("no route %s", x.Path)
}

func increment(s *core.Session) (string, error) {
	n, err := Count.Update(s, func(n int) int { return n + 1 })
	return strconv.Itoa(n), err
}

func saveNow(ctx context.Context, s *core.Session) (string, error) {
	before := s.ID()
	err := s.Save(ctx)
	return string(before) + " " + string(s.ID()), err
}

// eachMember calls f with the members of a JSON object in their order.
func eachMember(text string, f func(name string, v any) error) error {
	d := json.NewDecoder(strings.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("no JSON object: %v %w", t, err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return err
		}
		if err := f(name.(string), v); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}
