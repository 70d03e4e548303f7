// Package websocket proves that WebSockets and sessions go together, with the
// libraries that people use.
package websocket_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	coder "github.com/coder/websocket"
	fast "github.com/fasthttp/websocket"
	"github.com/gin-gonic/gin"
	contrib "github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/gorilla/websocket"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	fibersession "github.com/gensession/gensession/adapters/fiber"
	ginsession "github.com/gensession/gensession/adapters/gin"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's clock of the Date field runs until the program ends, and
		// the cleaner of a worker pool sleeps for ten seconds before it looks
		// whether its server is still there.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const user core.Key[string] = "user"

// A library upgrades requests below the session middleware. Its handler calls
// change first, and answers each message of the socket with answer.
type library struct {
	name  string
	serve func(t *testing.T, l net.Listener, m *core.Manager, change func(s *core.Session) error, answer answerer)
}

// An answerer returns the answer to a message and whether it is the last.
type answerer func(id core.ID, message string) (answer string, last bool)

var libraries = []library{
	{"gorilla", netHTTP(gorillaSocket)},
	{"coder", netHTTP(coderSocket)},
	{"fasthttp", fasthttpSocket},
	{"Fiber's", fiberSocket},
	{"gorilla in gin", ginSocket},
}

func netHTTP(socket func(w http.ResponseWriter, r *http.Request, answer func(string) (string, bool)) error) func(*testing.T, net.Listener, *core.Manager, func(*core.Session) error, answerer) {
	return func(t *testing.T, l net.Listener, m *core.Manager, change func(*core.Session) error, answer answerer) {
		var sockets sync.WaitGroup
		handler := httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
			sockets.Add(1)
			defer sockets.Done()
			if err := change(s); err != nil {
				return err
			}
			if r.Header.Get("Upgrade") == "" {
				return nil
			}
			id := s.ID()
			return socket(w, r, func(message string) (string, bool) { return answer(id, message) })
		})
		server := &http.Server{Handler: httpsession.New(m, nil)(handler), ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close(); sockets.Wait() })
	}
}

func gorillaSocket(w http.ResponseWriter, r *http.Request, answer func(string) (string, bool)) error {
	var upgrader websocket.Upgrader
	// begin gorilla
	conn, err := upgrader.Upgrade(w, r, w.Header()) // not nil: the cookie is in it
	// end gorilla
	if err != nil {
		return nil // it has answered
	}
	defer conn.Close()
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return nil
		}
		text, last := answer(string(message))
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil || last {
			return err
		}
	}
}

func coderSocket(w http.ResponseWriter, r *http.Request, answer func(string) (string, bool)) error {
	conn, err := coder.Accept(w, r, nil)
	if err != nil {
		return nil // it has answered
	}
	defer conn.CloseNow()
	for {
		_, message, err := conn.Read(r.Context())
		if err != nil {
			return nil
		}
		text, last := answer(string(message))
		if err := conn.Write(r.Context(), coder.MessageText, []byte(text)); err != nil || last {
			return err
		}
	}
}

func fasthttpSocket(t *testing.T, l net.Listener, m *core.Manager, change func(*core.Session) error, answer answerer) {
	var upgrader fast.FastHTTPUpgrader
	var sockets sync.WaitGroup
	handler := fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
		if err := change(s); err != nil {
			return err
		}
		if len(ctx.Request.Header.Peek("Upgrade")) == 0 {
			return nil
		}
		id := s.ID()
		sockets.Add(1)
		return upgrader.Upgrade(ctx, func(conn *fast.Conn) {
			defer sockets.Done()
			for {
				_, message, err := conn.ReadMessage()
				if err != nil {
					return
				}
				text, last := answer(id, string(message))
				if err := conn.WriteMessage(fast.TextMessage, []byte(text)); err != nil || last {
					return
				}
			}
		})
	})
	server := &fasthttp.Server{Handler: fasthttpsession.New(m, nil)(handler), Logger: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() { _ = server.Serve(l); close(served) }()
	t.Cleanup(func() { _ = l.Close(); <-served })
}

func fiberSocket(t *testing.T, l net.Listener, m *core.Manager, change func(*core.Session) error, answer answerer) {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Use(fibersession.New(m, nil))
	app.Get("/", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
		if err := change(s); err != nil || !contrib.IsWebSocketUpgrade(c) {
			return err
		}
		c.Locals("id", s.ID())
		return c.Next()
	}), contrib.New(func(conn *contrib.Conn) {
		id := conn.Locals("id").(core.ID)
		for {
			_, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			text, last := answer(id, string(message))
			if err := conn.WriteMessage(contrib.TextMessage, []byte(text)); err != nil || last {
				return
			}
		}
	}))
	served := make(chan struct{})
	go func() { _ = app.Listener(l); close(served) }()
	t.Cleanup(func() { _ = l.Close(); <-served })
}

func ginSocket(t *testing.T, l net.Listener, m *core.Manager, change func(*core.Session) error, answer answerer) {
	gin.SetMode(gin.TestMode)
	r := gin.New()
	r.Use(ginsession.New(m, nil))
	var sockets sync.WaitGroup
	r.GET("/", ginsession.Handler(func(c *gin.Context, s *core.Session) error {
		sockets.Add(1)
		defer sockets.Done()
		if err := change(s); err != nil || c.GetHeader("Upgrade") == "" {
			return err
		}
		id := s.ID()
		return gorillaSocket(c.Writer, c.Request, func(message string) (string, bool) { return answer(id, message) })
	}))
	server := &http.Server{Handler: r, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); sockets.Wait() })
}

// A site is a server of a library, and one browser.
type site struct {
	t       *testing.T
	store   *storetest.Faulty
	manager *core.Manager
	addr    string
	browser jartest.Browser
}

func newSite(t *testing.T, lib library, change func(s *core.Session) error, answer answerer) *site {
	t.Helper()
	memory := memorystore.New(nil)
	store := storetest.NewFaulty(memory)
	m, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(); _ = memory.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, store: store, manager: m, addr: l.Addr().String()}
	lib.serve(t, l, m, change, answer)
	return s
}

// connect opens a WebSocket as a browser does, with its cookies.
func (s *site) connect() (*websocket.Conn, *http.Response, error) {
	s.t.Helper()
	header := http.Header{}
	if c := s.browser.Cookie("/"); c != "" {
		header.Set("Cookie", c)
	}
	conn, res, err := websocket.DefaultDialer.Dial("ws://"+s.addr+"/", header)
	if res != nil {
		s.browser.Take("/", res.Header.Values("Set-Cookie")...)
	}
	return conn, res, err
}

// page asks for a page beside it.
func (s *site) page() {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nConnection: close\r\n\r\n", s.browser.Cookie("/"))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 200 {
		s.t.Fatalf("%v, %v", res, err)
	}
	_ = res.Body.Close()
	s.browser.Take("/", res.Header.Values("Set-Cookie")...)
}

func (s *site) id() string {
	v, _ := s.browser.Value("/", "koa.sid")
	return v
}

func TestW15Upgrade(t *testing.T) {
	for _, lib := range libraries {
		t.Run("W15 "+lib.name+": 101 carries the cookie of a new session, of a renewed one and of a login", func(t *testing.T) {
			steps := []func(s *core.Session) error{
				func(s *core.Session) error { return user.Set(s, "visitor") },
				func(s *core.Session) error { return s.Renew(context.Background()) },
				func(s *core.Session) error { return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "ada")) },
				func(s *core.Session) error {
					if user.Get(s) != "ada" {
						t.Error("the browser has another session")
					}
					return nil
				},
			}
			n := 0
			site := newSite(t, lib, func(s *core.Session) error { n++; return steps[n-1](s) },
				func(_ core.ID, message string) (string, bool) { return "echo " + message, true })
			seen := map[string]bool{"": true}
			for i := range steps {
				conn, res, err := site.connect()
				if err != nil {
					t.Fatal(err)
				}
				if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
					t.Fatal(err)
				}
				if _, got, err := conn.ReadMessage(); string(got) != "echo hello" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				_ = conn.Close()
				last := i == len(steps)-1
				if fresh := !seen[site.id()]; res.StatusCode != 101 || fresh == last {
					t.Errorf("step %d: %d, a new id: %t", i, res.StatusCode, fresh)
				}
				seen[site.id()] = true
			}
		})

		t.Run("W15 "+lib.name+": no socket for a session that can't be saved", func(t *testing.T) {
			site := newSite(t, lib, func(s *core.Session) error { return user.Set(s, "visitor") },
				func(core.ID, string) (string, bool) { t.Error("the socket is open"); return "", true })
			site.store.Before(func(context.Context, storetest.Op, string) error { return core.ErrRefused })
			_, res, err := site.connect()
			if err == nil || res == nil || res.StatusCode != 503 || len(res.Header.Values("Set-Cookie")) != 0 {
				t.Errorf("answered %v, %v", res, err)
			}
		})

		t.Run("W15 "+lib.name+": the session is read, changed and looked after while the socket is open", func(t *testing.T) {
			const messages core.Key[int] = "messages"
			var site *site
			// begin socket
			// answer is called for each message, with the id that the session had in the
			// request of the upgrade.
			answer := func(id core.ID, message string) (text string, last bool) {
				err := site.manager.VisitByID(context.Background(), id, func(s *core.Session) error {
					n, err := messages.Update(s, func(n int) int { return n + 1 })
					text = fmt.Sprintf("%s: %s (%d)", user.Get(s), message, n)
					return err
				})
				switch {
				case errors.Is(err, core.ErrGone):
					return "log in again", true
				case err != nil: // the store fails: that ends no session
					return "try again", false
				}
				return text, false
			}
			// end socket
			step := func(s *core.Session) error { return user.Set(s, "ada") }
			site = newSite(t, lib, func(s *core.Session) error { return step(s) }, answer)
			conn, _, err := site.connect()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			want := func(message, text string) {
				t.Helper()
				if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
					t.Fatal(err)
				}
				if _, got, err := conn.ReadMessage(); string(got) != text || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, text)
				}
			}
			want("one", "ada: one (1)")
			step = func(s *core.Session) error {
				if n := messages.Get(s); n != 1 {
					t.Errorf("the page sees %d messages", n)
				}
				return user.Set(s, "grace")
			}
			site.page()
			want("two", "grace: two (2)")
			site.store.Before(func(context.Context, storetest.Op, string) error { return core.ErrUnavailable })
			want("three", "try again")
			site.store.Before(nil)
			want("three", "grace: three (3)")
			step = func(s *core.Session) error { return s.Destroy(context.Background()) }
			site.page()
			want("four", "log in again")
			if _, _, err := conn.ReadMessage(); err == nil {
				t.Error("the socket is still open")
			}
		})
	}
}

// What the line in the documents is for.
func TestW15GorillaNeedsTheHeader(t *testing.T) {
	memory := memorystore.New(nil)
	defer memory.Close()
	m, err := core.New(memory, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, with := range []bool{false, true} {
		s := httptest.NewServer(httpsession.New(m, nil)(httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
			if err := user.Set(s, "visitor"); err != nil {
				return err
			}
			var header http.Header
			if with {
				header = w.Header()
			}
			var upgrader websocket.Upgrader
			conn, err := upgrader.Upgrade(w, r, header)
			if err == nil {
				_ = conn.Close()
			}
			return nil
		})))
		conn, res, err := websocket.DefaultDialer.Dial(strings.Replace(s.URL, "http", "ws", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if got := len(res.Header.Values("Set-Cookie")) == 2; got != with {
			t.Errorf("with the header %t: cookies %t", with, got)
		}
		s.Close()
	}
}
