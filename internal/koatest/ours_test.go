package koatest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// An app is our side in this process: the routes of the demo, and those of
// app.js that the demo does not have.
type app struct {
	*side
	// A request for /hold sets "held", says so here, and waits to be told to
	// end.
	held, release chan struct{}
}

const count core.Key[int] = "count"

func startOurs(t *testing.T, store core.Store, configure func(*core.Options), keys ...string) *app {
	t.Helper()
	o := core.KoaCompat()
	o.OpTimeout = 5 * time.Second // of a machine that is busy with other tests
	for _, k := range keys {
		o.Keys = append(o.Keys, []byte(k))
	}
	if configure != nil {
		configure(o)
	}
	m, err := core.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	a := &app{held: make(chan struct{}), release: make(chan struct{})}
	server := httptest.NewServer(httpsession.New(m, &httpsession.Options{Error: fail})(a))
	t.Cleanup(server.Close)
	a.side = &side{"ours", server.URL}
	return a
}

func fail(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), core.Status(err))
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := a.route(r)
	if err != nil {
		fail(w, r, err)
		return
	}
	io.WriteString(w, answer)
}

func (a *app) route(r *http.Request) (string, error) {
	ctx := r.Context()
	s, err := core.From(ctx)
	if err != nil {
		return "", err
	}
	switch r.URL.Path {
	case "/get":
		n, err := count.Update(s, func(n int) int { return n + 1 })
		return strconv.Itoa(n), err
	case "/read":
		return strconv.Itoa(count.Get(s)), nil
	case "/id":
		return string(s.ID()), nil
	case "/regenerate":
		n := count.Get(s)
		if err := s.Reset(ctx); err != nil {
			return "", err
		}
		err := count.Set(s, n+1)
		return string(s.ID()), err
	case "/renew":
		err := s.Renew(ctx)
		return string(s.ID()), err
	case "/remove":
		return "removed", s.Destroy(ctx)
	case "/set":
		return "set", s.Set(r.FormValue("k"), r.FormValue("v"))
	case "/dump":
		values, err := s.JSON()
		return string(values), err
	case "/json":
		return "set", eachMember(r.Body, func(name string, v any) error { return s.Set(name, v) })
	case "/cookie":
		c := s.Cookie()
		err := eachMember(r.Body, func(name string, v any) error { return setOption(&c, name, v) })
		return "set", errors.Join(err, s.SetCookie(c))
	case "/hold":
		if err := s.Set("held", true); err != nil {
			return "", err
		}
		a.held <- struct{}{}
		<-a.release
		return "held", nil
	}
	return "", fmt.Errorf("no route %s", r.URL.Path)
}

// eachMember calls f with the members of a JSON object in their order.
func eachMember(text io.Reader, f func(name string, v any) error) error {
	d := json.NewDecoder(text)
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var v any
		if err := errors.Join(d.Decode(&v), f(name.(string), v)); err != nil {
			return err
		}
	}
	return nil
}

// setOption sets an option under its name in the original.
func setOption(c *core.CookieOptions, name string, v any) error {
	switch name {
	case "maxAge":
		ms, _ := v.(float64)
		if c.MaxAge = time.Duration(ms) * time.Millisecond; v == nil {
			c.MaxAge = core.UntilBrowserCloses
		}
	case "httpOnly":
		c.HTTPOnly = core.Off
		if v == true {
			c.HTTPOnly = core.On
		}
	case "sameSite":
		c.SameSite = core.SameSiteStrict
		if v == "lax" {
			c.SameSite = core.SameSiteLax
		}
	case "priority":
		c.Priority = core.PriorityHigh
	default:
		return fmt.Errorf("unknown option %s", name)
	}
	return nil
}

// demo builds the demo once.
var demo = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "demo")
	build := exec.Command("go", "build", "-o", path, "./demo")
	build.Dir = "../../examples" // a module of its own
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func startDemo(t *testing.T, redis, adapter string, flags []string, keys ...string) *side {
	t.Helper()
	path, err := demo()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-addr", "127.0.0.1:0", "-adapter", adapter, "-koa", "-store", redis, "-keys", strings.Join(keys, ",")}, flags...)
	return &side{"demo", launch(t, exec.Command(path, args...))}
}

// openStore returns our store on the server.
func openStore(t *testing.T, redis *servers.RedisServer) core.Store {
	t.Helper()
	store, err := redisstore.Open(redis.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}
