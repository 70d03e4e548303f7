package jartest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

const (
	count core.Key[int]            = "count"
	cart  core.Key[map[string]int] = "cart"
)

// page is the handler of most rules: the path says what to do.
func page(x *Request) error {
	if x.URL.Path == "/none" {
		x.Write("ok")
		return nil
	}
	s, err := x.From()
	if err != nil {
		return err
	}
	switch x.URL.Path {
	case "/read":
		x.Write(fmt.Sprint(count.Get(s)))
		return nil
	case "/silent":
		return count.Set(s, 7)
	case "/204", "/304":
		if err = count.Set(s, 8); err == nil {
			code := 204
			if x.URL.Path == "/304" {
				code = 304
			}
			x.Status(code)
		}
		return err
	case "/redirect":
		if err = count.Set(s, 9); err == nil {
			x.SetHeader("Location", "/read")
			x.Status(302)
		}
		return err
	case "/fail":
		if err = count.Set(s, 500); err == nil {
			err = ErrHandler
		}
		return err
	case "/panic":
		if err = count.Set(s, 666); err == nil {
			panic("handler panicked")
		}
		return err
	case "/stream":
		if err = count.Set(s, 10); err == nil {
			x.Stream(func(write func(string)) { write("streamed") })
		}
		return err
	case "/save":
		if err = count.Set(s, 11); err == nil {
			err = s.Save(x.Ctx)
		}
	case "/renew":
		err = s.Renew(x.Ctx)
	case "/destroy":
		err = s.Destroy(x.Ctx)
	default:
		n := count.Get(s) + 1
		if err = count.Set(s, n); err == nil {
			x.Write(fmt.Sprint(n))
		}
		return err
	}
	if err == nil {
		x.Write("ok")
	}
	return err
}

// reset is page, with the header thrown away before the first byte and a cookie of
// the handler's own in it.
func reset(x *Request) error {
	y := *x
	y.Write = func(body string) {
		x.Reset()
		x.SetHeader("X-Page", "1")
		x.Write(body)
	}
	return page(&y)
}

var adapterRules = []adapterRule{
	{"Session", "A handler gets the session of its request from the adapter, and code that knows no framework from the context (core.From). It lives from request to request, and each browser has its own.", func(s *site) error {
		a := s.app(core.Options{}, func(x *Request) error {
			one, err := x.From()
			if err != nil {
				return err
			}
			two, err := core.From(x.Ctx)
			if err != nil {
				return err
			}
			v, err := x.Visit()
			if err != nil {
				return err
			}
			three, err := v.Session(x.Ctx)
			if err != nil {
				return err
			}
			if one != two || one != three {
				x.Write("three sessions")
				return nil
			}
			return page(x)
		})
		u := a.user()
		return first(
			u.steps(step{"/", 200, "1", live}, step{"/a/b?c", 200, "2", live}, step{"/read", 200, "2", nothing}),
			a.user().steps(step{"/read", 200, "0", nothing}),
			u.steps(step{"/destroy", 200, "ok", removal}, step{"/read", 200, "0", nothing}),
		)
	}},
	{"Session/missing", "Without the middleware, or outside of the cookie's path, From, FromManager and Visit return ErrNoSession, and do not panic.", func(s *site) error { // K33
		missing := func(m *core.Manager, visit bool) Handler {
			return func(x *Request) error {
				_, one := x.From()
				_, two := x.FromManager(m)
				_, three := x.Visit()
				if errors.Is(one, core.ErrNoSession) && errors.Is(two, core.ErrNoSession) && (!visit || errors.Is(three, core.ErrNoSession)) {
					x.Write("none")
				} else {
					x.Write(fmt.Sprintf("From: %v, FromManager: %v, Visit: %v", one, two, three))
				}
				return nil
			}
		}
		bare := s.manager(core.Options{})
		bare.serve(false, missing(bare.manager, true))
		inside := core.Options{Cookie: core.CookieOptions{Path: "/app"}}
		var m *core.Manager
		path := s.app(inside, func(x *Request) error {
			if x.URL.Path == "/app/x" {
				return page(x)
			}
			return missing(m, false)(x)
		})
		m = path.manager
		u := path.user()
		return first(
			bare.user().steps(step{"/", 200, "none", nothing}),
			u.steps(step{"/", 200, "none", nothing}, step{"/application", 200, "none", nothing}, step{"/app/x?y", 200, "1", live}, step{"/app/x", 200, "2", live}),
		)
	}},
	{"Mounted/twice", "Mounted twice with one manager, the first works and the second does nothing.", func(s *site) error { // K32
		a := s.manager(core.Options{})
		a.serve(false, page, a.manager, a.manager)
		err := a.user().steps(step{"/", 200, "1", live}, step{"/", 200, "2", live})
		if r, w := a.reads(), a.writes(); err == nil && (r != 1 || w != 2) {
			err = fmt.Errorf("in two requests the store was asked %d times and written %d times, want 1 and 2", r, w)
		}
		return err
	}},
	{"Mounted/two managers", "Managers with different cookies work side by side: From returns the session of the innermost, FromManager that of each.", func(s *site) error { // K32
		inner := s.manager(core.Options{Name: "inner"})
		var outer *core.Manager
		a := s.app(core.Options{}, func(x *Request) error {
			one, err := x.FromManager(outer)
			if err != nil {
				return err
			}
			two, err := x.FromManager(inner.manager)
			if err != nil {
				return err
			}
			if nearest, err := x.From(); err != nil || nearest != two || one == two {
				x.Write(fmt.Sprintf("From is the innermost: %t, and another than the outer one: %t; %v", nearest == two, one != two, err))
				return nil
			}
			err = errors.Join(count.Set(one, count.Get(one)+1), count.Set(two, count.Get(two)+10))
			x.Write(fmt.Sprint(count.Get(one), " ", count.Get(two)))
			return err
		}, inner.manager)
		outer = a.manager
		return a.user().steps(step{"/", 200, "1 10", live}, step{"/", 200, "2 20", live})
	}},
	{"Commit/no body", "A session is saved also if its handler writes nothing, answers 204, 304 or a redirect, or the method is HEAD.", func(s *site) error { // K23
		u := s.app(core.Options{}, page).user()
		err := u.steps(
			step{"/silent", 200, "", live}, step{"/read", 200, "7", nothing},
			step{"/204", 204, "", live}, step{"/read", 200, "8", nothing},
			step{"/redirect", 302, "", live}, step{"/read", 200, "9", nothing},
			step{"/304", 304, "", live}, step{"/read", 200, "8", nothing},
		)
		if err != nil {
			return err
		}
		r, err := u.send(context.Background(), "HEAD", "/")
		if err == nil {
			err = r.wantCookie("HEAD /", live)
		}
		return first(err, u.steps(step{"/read", 200, "9", nothing}))
	}},
	{"Commit/first byte", "The session is saved and its cookie sent before the first byte, once. From then on it can be read, a change is ErrCommitted, and in deferred mode none is loaded any more.", func(s *site) error { // K30
		late := make(chan error, 1)
		a := s.app(core.Options{}, func(x *Request) error {
			session, err := x.From()
			if err != nil {
				return err
			}
			if err := count.Set(session, 1); err != nil {
				return err
			}
			x.Stream(func(write func(string)) {
				write("begun;")
				err := error(nil)
				for what, got := range map[string]error{
					"Set": count.Set(session, 2), "Save": session.Save(context.Background()),
					"Renew": session.Renew(context.Background()), "Destroy": session.Destroy(context.Background()),
				} {
					if !errors.Is(got, core.ErrCommitted) {
						err = fmt.Errorf("%s after the first byte returned %v", what, got)
					}
				}
				late <- err
				write(fmt.Sprint(count.Get(session)))
			})
			return nil
		})
		if err := a.user().steps(step{"/", 200, "begun;1", live}); err != nil {
			return err
		}
		deferred := s.app(core.Options{Defer: true}, func(x *Request) error {
			x.Stream(func(write func(string)) {
				write("begun")
				if _, err := x.From(); err == nil {
					write(" with a session")
				}
			})
			return nil
		})
		return first(<-late, a.wantWrites(1), deferred.user().steps(step{"/", 200, "begun", nothing}))
	}},
	{"Commit/events", "A stream is sent piece by piece, as it is written, and the cookie comes before it.", func(s *site) error {
		next := make(chan struct{})
		defer close(next) // lets a server go that holds the stream back
		a := s.app(core.Options{}, func(x *Request) error {
			session, err := x.From()
			if err != nil {
				return err
			}
			if err := count.Set(session, 1); err != nil {
				return err
			}
			x.SetHeader("Content-Type", "text/event-stream")
			x.Stream(func(write func(string)) {
				for i := range 3 {
					write(fmt.Sprintf("data: %d\n", i))
					<-next
				}
			})
			return nil
		})
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // ends a rule that is broken
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", a.url("/"), nil)
		if err != nil {
			return err
		}
		res, err := a.client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		err = answer{cookies: res.Header.Values("Set-Cookie")}.wantCookie("the stream", live)
		in := bufio.NewReader(res.Body)
		for i := 0; i < 3 && err == nil; i++ {
			var got string
			if got, err = in.ReadString('\n'); err == nil && got != fmt.Sprintf("data: %d\n", i) {
				err = fmt.Errorf("piece %d is %q", i, got)
			}
			if err == nil {
				select {
				case next <- struct{}{}:
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
		}
		return err
	}},
	{"Commit/hijack", "Before a connection is taken over the session is saved.", func(s *site) error {
		a := s.app(core.Options{}, func(x *Request) error {
			if x.URL.Path != "/hijack" {
				return page(x)
			}
			session, err := x.From()
			if err != nil {
				return err
			}
			if err := count.Set(session, 9); err != nil {
				return err
			}
			x.Hijack(func(conn io.ReadWriter) {
				err := count.Set(session, 10)
				_, _ = fmt.Fprintf(conn, "hijacked %t %d\n", errors.Is(err, core.ErrCommitted), count.Get(session))
			})
			return nil
		})
		u := a.user()
		if err := u.steps(step{"/", 200, "1", live}); err != nil {
			return err
		}
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // ends a rule that is broken
		_, _ = fmt.Fprintf(conn, "GET /hijack HTTP/1.1\r\nHost: x\r\nCookie: %s\r\n\r\n", u.browser.Cookie("/"))
		for in := bufio.NewReader(conn); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("the connection was not taken over: %w", err)
			}
			if strings.HasPrefix(line, "hijacked") {
				return first(same("in the hijacked connection", line, "hijacked true 9\n"), u.steps(step{"/read", 200, "9", nothing}))
			}
		}
	}},
	{"Header/caches", "A response that depends on the session says so to caches (Vary), beside what the handler says.", func(s *site) error { // R35
		a := s.app(core.Options{}, func(x *Request) error {
			x.SetHeader("Vary", "Accept")
			return page(x)
		})
		r, err := a.user().want("/", 200, "1")
		vary := strings.Join(r.header.Values("Vary"), ", ")
		return first(err, same("Vary", vary, "Accept, Cookie"), same("Cache-Control", r.header.Get("Cache-Control"), "no-store"))
	}},
	{"Header/thrown away", "What Save, Renew and Destroy have sent is in the response also if the handler begins its header anew after them.", func(s *site) error { // W5
		a := s.app(core.Options{}, reset)
		u := a.user()
		err := u.steps(step{"/save", 200, "ok", live}, step{"/read", 200, "11", nothing}, step{"/renew", 200, "ok", live}, step{"/read", 200, "11", nothing})
		if err != nil {
			return err
		}
		r, err := u.want("/destroy", 200, "ok")
		if err == nil && r.header.Get("X-Page") != "1" {
			err = errors.New("the handler's own field is missing")
		}
		return first(err, r.wantCookie("/destroy", removal), same("Cache-Control", r.header.Get("Cache-Control"), "no-store"),
			u.steps(step{"/read", 200, "0", nothing}))
	}},
	{"Secure", "Over TLS the cookies are secure.", func(s *site) error { // K8
		a := s.manager(core.Options{})
		a.serve(true, page, a.manager)
		u := a.user()
		r, err := u.want("/", 200, "1")
		for _, l := range r.cookies {
			if !strings.Contains(l, "; secure") {
				err = errors.New("a cookie over TLS is not secure")
			}
		}
		return first(err, r.wantCookie("/", live), u.steps(step{"/", 200, "2", live}))
	}},
	{"Failure/load", "If the session can't be loaded, the handler does not run. The answer has the status of the error and tells nothing else, and the browser keeps its cookie.", func(s *site) error { // K40, R24, K51
		var ran atomic.Bool
		a := s.app(core.Options{}, func(x *Request) error {
			ran.Store(true)
			return page(x)
		})
		u := a.user()
		if err := u.steps(step{"/", 200, "1", live}); err != nil {
			return err
		}
		ran.Store(false)
		a.refuse(storetest.OpGet, storetest.OpGetVersion)
		r, err := u.want("/none", 503, "Service Unavailable")
		if err == nil && ran.Load() {
			err = errors.New("the handler ran")
		}
		a.refuse()
		return first(err, r.wantCookie("/none", nothing), r.tellsNothing(), u.steps(step{"/", 200, "2", live}))
	}},
	{"Failure/deferred", "In deferred mode a request that does not ask for its session costs the store nothing. An error of loading reaches the handler and, if it returns it, the client.", func(s *site) error { // K46
		a := s.app(core.Options{Defer: true}, page)
		u := a.user()
		if err := u.steps(step{"/", 200, "1", live}); err != nil {
			return err
		}
		a.refuse(storetest.OpGet, storetest.OpGetVersion)
		reads := a.reads()
		err := u.steps(step{"/none", 200, "ok", nothing})
		if err == nil && a.reads() != reads {
			err = errors.New("the store was asked for nothing")
		}
		r, failed := u.want("/", 503, "Service Unavailable")
		a.refuse()
		return first(err, failed, r.wantCookie("/", nothing), u.steps(step{"/", 200, "2", live}))
	}},
	{"Failure/save", "If the session can't be saved, nothing of the handler's response is sent, body, stream, redirect or the fields that describe them, but the status of the error. Fields of middleware stay, no cookie is sent, and the session is as it was.", func(s *site) error { // K41, R19, R24
		a := s.app(core.Options{}, func(x *Request) error {
			x.SetHeader("Content-Type", "application/json")
			x.SetHeader("Etag", `"1"`)
			x.SetHeader("Content-Language", "de")
			x.SetHeader("Cache-Control", "public, max-age=60")
			x.SetHeader("CDN-Cache-Control", "max-age=60")
			x.SetHeader("X-Other", "stays")
			return page(x)
		})
		u := a.user()
		if err := u.steps(step{"/", 200, "1", live}); err != nil {
			return err
		}
		a.refuse(storetest.OpSet, storetest.OpSetVersion)
		for _, target := range []string{"/", "/redirect", "/silent", "/stream"} {
			r, err := u.want(target, 503, "Service Unavailable")
			if err := first(err, r.wantCookie(target, nothing), r.tellsNothing()); err != nil {
				return err
			}
			for name, want := range map[string]string{"Etag": "", "Content-Language": "", "Location": "", "CDN-Cache-Control": "", "X-Other": "stays", "Cache-Control": "no-store"} {
				if err := same(target+": "+name, r.header.Get(name), want); err != nil {
					return err
				}
			}
		}
		a.refuse()
		return u.steps(step{"/read", 200, "1", nothing})
	}},
	{"Error/saved", "After an error of the handler the session is saved, and the error is answered; if the session can't be saved, either, it is still the handler's.", func(s *site) error { // K27, K41, R24
		a := s.app(core.Options{}, page)
		u := a.user()
		if err := u.steps(step{"/fail", 500, "handler failed", live}, step{"/read", 200, "500", nothing}); err != nil {
			return err
		}
		a.refuse(storetest.OpSet, storetest.OpSetVersion)
		r, err := a.user().send(context.Background(), "GET", "/fail")
		if err == nil && (r.status < 500 || strings.Contains(r.body, "secret") || s.a.HandlerErrors && r.body != "handler failed") {
			err = fmt.Errorf("answered %d %.100q", r.status, r.body)
		}
		return first(err, r.wantCookie("/fail", nothing))
	}},
	{"Error/login", "A login that the handler has begun does not happen if the handler returns an error.", func(s *site) error { // P5
		a := s.app(core.Options{}, func(x *Request) error {
			if x.URL.Path != "/login" {
				return page(x)
			}
			session, err := x.From()
			if err == nil {
				err = errors.Join(count.Set(session, 50), session.Login(core.LoginOptions{}))
			}
			if err != nil {
				return err
			}
			return ErrHandler
		})
		u := a.user()
		err := u.steps(step{"/", 200, "1", live})
		if err == nil && s.a.HandlerErrors {
			err = u.steps(step{"/login", 500, "handler failed", nothing}, step{"/read", 200, "1", nothing})
		}
		return err
	}},
	{"Panic", "A panic that reaches the middleware goes on. Nothing is saved, no cookie is sent, the session can't be changed any more, and the next request is as if nothing had been.", func(s *site) error { // R22
		sessions := make(chan *core.Session, 3)
		a := s.app(core.Options{}, func(x *Request) error {
			session, _ := x.From()
			sessions <- session
			return page(x)
		})
		u := a.user()
		if err := u.steps(step{"/", 200, "1", live}); err != nil {
			return err
		}
		<-sessions
		r, err := u.send(context.Background(), "GET", "/panic") // net/http cuts the connection, others answer
		if err == nil && r.status != 500 {
			return fmt.Errorf("the panic was answered %d", r.status)
		}
		if err := r.wantCookie("/panic", nothing); err != nil {
			return err
		}
		if err := count.Set(<-sessions, 1); !errors.Is(err, core.ErrCommitted) {
			return fmt.Errorf("its session can still be changed: %v", err)
		}
		return first(a.wantWrites(1), u.steps(step{"/read", 200, "1", nothing}))
	}},
	{"Panic/hook", "After a panic of a hook nothing is saved, and nothing is sent as if it were.", func(s *site) error {
		a := s.app(core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error { panic("hook panicked") }}}, page)
		r, err := a.user().send(context.Background(), "GET", "/")
		if err == nil && r.status != 500 {
			return fmt.Errorf("the panic was answered %d", r.status)
		}
		return first(r.wantCookie("/", nothing), a.wantWrites(0))
	}},
	{"Panic/recovered", "A panic below the guard that is recovered inside of the middleware ends as nothing saved.", func(s *site) error { // W13, P22
		a := s.app(core.Options{}, func(x *Request) error {
			if x.URL.Path != "/panic" {
				return page(x)
			}
			defer func() {
				_ = recover()
				x.Status(500)
				x.Write("recovered")
			}()
			return x.Guard(page)
		})
		return a.user().steps(step{"/", 200, "1", live}, step{"/panic", 500, "recovered", nothing}, step{"/read", 200, "1", nothing})
	}},
	{"Guard", "A guard changes nothing for a handler that returns, and none for one that answers itself, whatever has become of its context.", func(s *site) error { // P21
		a := s.app(core.Options{}, func(x *Request) error {
			return x.Guard(func(x *Request) error {
				ctx, cancel := context.WithCancel(x.Ctx)
				defer cancel()
				switch x.URL.Path {
				case "/fill", "/cart":
				case "/slow":
					ctx, cancel = context.WithDeadline(ctx, time.Now())
				case "/cancelled":
					cancel()
				default:
					return page(x)
				}
				defer cancel()
				session, err := core.From(ctx)
				if err != nil {
					return err
				}
				switch x.URL.Path {
				case "/fill":
					return cart.Set(session, map[string]int{"tea": 1})
				case "/cart":
				default:
					cart.Get(session)["tea"]++ // in place
					x.Status(504)
				}
				x.Write(fmt.Sprint(cart.Get(session)["tea"]))
				return nil
			})
		})
		return a.user().steps(
			step{"/", 200, "1", live}, step{"/silent", 200, "", live}, step{"/stream", 200, "streamed", live}, step{"/fail", 500, "handler failed", live},
			step{"/fill", 200, "", live}, step{"/slow", 504, "2", live}, step{"/cancelled", 504, "3", live}, step{"/cart", 200, "3", nothing},
		)
	}},
	{"Left running", "Of a guarded handler that is still running when its response is sent nothing is saved, and its session can't be changed any more; what it has sent by Renew stays in the response. What it may be writing is not read.", func(s *site) error { // W11, W12
		late := make(chan error, 1)
		a := s.app(core.Options{}, func(x *Request) error {
			if x.URL.Path != "/endless" && x.URL.Path != "/renewed" {
				return page(x)
			}
			running := make(chan error, 1)
			s.background(func(end <-chan struct{}) {
				_ = x.Guard(func(x *Request) error {
					session, err := x.From()
					if err == nil && x.URL.Path == "/renewed" {
						err = session.Renew(x.Ctx)
					}
					if err != nil {
						running <- err
						return nil
					}
					held := map[string]int{}
					running <- errors.Join(count.Set(session, 99), cart.Set(session, held))
					for i := 0; ; i++ {
						select {
						case <-end:
							return nil
						default:
							held[fmt.Sprint(i%10)] = i
						}
						if err := count.Set(session, 99); err != nil && i > 0 {
							select {
							case late <- err:
							default:
							}
						}
					}
				})
			})
			if err := <-running; err != nil {
				return err
			}
			x.Status(503)
			x.Write("too slow")
			return nil
		})
		u := a.user()
		err := u.steps(step{"/", 200, "1", live}, step{"/endless", 503, "too slow", nothing}, step{"/read", 200, "1", nothing})
		if err == nil {
			if got := <-late; !errors.Is(got, core.ErrCommitted) {
				err = fmt.Errorf("its session can still be changed: %v", got)
			}
		}
		return first(err, u.steps(step{"/renewed", 503, "too slow", live}, step{"/read", 200, "1", nothing}))
	}},
	{"Left running/no guard", "Without a guard a handler that is left running past the deadline of its context does not end the process: what it may be writing is not read, and that is told at WARN.", func(s *site) error { // W11, P21
		var log lockedBuffer
		a := s.app(core.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}, func(x *Request) error {
			if x.URL.Path != "/endless" {
				return page(x)
			}
			ctx, cancel := context.WithDeadline(x.Ctx, time.Now())
			defer cancel()
			session, err := core.From(ctx)
			if err != nil {
				return err
			}
			held := map[string]int{}
			if err := cart.Set(session, held); err != nil {
				return err
			}
			s.background(func(end <-chan struct{}) {
				for i := 0; ; i++ {
					select {
					case <-end:
						return
					default:
						held[fmt.Sprint(i%10)] = i
					}
				}
			})
			x.Status(503)
			x.Write("too slow")
			return nil
		})
		err := a.user().steps(step{"/endless", 503, "too slow", whatever}, step{"/", 200, "1", live})
		if err == nil && !strings.Contains(log.String(), "level=WARN") {
			err = errors.New("nothing was told")
		}
		return err
	}},
	{"Kept/jar", "What a handler keeps of its exchange reaches no later one.", func(s *site) error { // R40
		var kept core.Jar
		a := s.app(core.Options{}, func(x *Request) error {
			v, err := x.Visit()
			if err != nil {
				return err
			}
			if x.URL.Path == "/keep" {
				kept = v.Jar()
				return nil
			}
			if !kept.Begun() || strings.Contains(kept.Cookie(), "victim") || strings.Contains(kept.Path(), "victim") {
				x.Write("the old exchange reads the new one")
				return nil
			}
			kept.SetCookie("stolen", "stolen=1", true)
			kept.SetResponseHeader("X-Stolen", "1")
			return page(x)
		})
		thief, victim := a.user(), a.user()
		if err := thief.steps(step{"/keep", 200, "", nothing}); err != nil {
			return err
		}
		victim.browser.Take("/", "victim=1; path=/")
		r, err := victim.want("/victim", 200, "1")
		if err == nil && (r.header.Get("X-Stolen") != "" || len(r.cookies) != 2) {
			err = errors.New("the old exchange wrote into the new one")
		}
		return err
	}},
	{"Kept/strings", "The id of a session, which was read from the request, keeps its bytes when the buffers of the request are used again.", func(s *site) error { // R40
		var kept, then core.ID
		a := s.app(core.Options{}, func(x *Request) error {
			if x.URL.Path == "/keep" {
				session, err := x.From()
				if err != nil {
					return err
				}
				kept = session.ID()
				then = core.ID(strings.Clone(string(kept)))
			}
			return page(x)
		})
		u, noise := a.user(), a.user()
		if err := u.steps(step{"/", 200, "1", live}, step{"/keep", 200, "2", live}); err != nil {
			return err
		}
		for i := range 20 {
			noise.browser.Take("/", "koa.sid="+strings.Repeat("X", 32), "koa.sid.sig="+strings.Repeat("X", 43))
			if err := noise.steps(step{"/read?" + strings.Repeat("X", 100+i), 200, "0", whatever}); err != nil {
				return err
			}
		}
		if kept != then || kept == "" {
			return errors.New("the id has changed since its request")
		}
		return nil
	}},
	{"Hang-up", "A browser that hangs up cancels neither the save of its session nor its logout.", func(s *site) error { // R38
		arrived, gone, finished := make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 1)
		a := s.app(core.Options{}, func(x *Request) error {
			wait := x.URL.Query().Get("wait") != ""
			if wait {
				arrived <- struct{}{}
				<-gone
				if s.a.CtxEnds {
					<-x.Ctx.Done()
				}
			}
			return page(x)
		})
		hangUp := func(u *user, target string) error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			go func() {
				<-arrived
				cancel()
			}()
			if _, err := u.send(ctx, "GET", target); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("the request ended with %v", err)
			}
			gone <- struct{}{}
			select {
			case <-finished:
				return nil
			case <-time.After(5 * time.Second): // ends a rule that is broken
				return fmt.Errorf("%s was not carried out", target)
			}
		}
		u := a.user()
		if err := u.steps(step{"/", 200, "1", live}); err != nil {
			return err
		}
		a.store.After(func(_ context.Context, op storetest.Op, _ string) error {
			if op == storetest.OpSetVersion || op == storetest.OpDestroy {
				select {
				case finished <- struct{}{}:
				default:
				}
			}
			return nil
		})
		if err := hangUp(u, "/?wait=1"); err != nil {
			return err
		}
		a.store.After(nil)
		if err := u.steps(step{"/read", 200, "2", nothing}); err != nil {
			return err
		}
		a.store.After(func(context.Context, storetest.Op, string) error {
			if a.records.len() == 0 {
				select {
				case finished <- struct{}{}:
				default:
				}
			}
			return nil
		})
		return first(hangUp(u, "/destroy?wait=1"), u.steps(step{"/read", 200, "0", nothing}))
	}},
	{"Parallel", "Users at the same time see only their own.", func(s *site) error { // R40, R41
		meet := make(chan struct{})
		a := s.app(core.Options{}, func(x *Request) error {
			if x.URL.RawQuery == "meet" { // two requests are in their handlers
				select {
				case meet <- struct{}{}:
				case <-meet:
				case <-time.After(5 * time.Second): // the other one is not
				}
			}
			return page(x)
		})
		one, two := a.user(), a.user()
		if err := first(one.steps(step{"/", 200, "1", live}), two.steps(step{"/", 200, "1", live}, step{"/", 200, "2", live})); err != nil {
			return err
		}
		for range 5 {
			met := make(chan error)
			go func() { met <- one.steps(step{"/read?meet", 200, "1", nothing}) }()
			err := two.steps(step{"/read?meet", 200, "2", nothing})
			if err = first(err, <-met); err != nil {
				return err
			}
		}
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				u := a.user()
				for n := 1; n <= 20+i && errs[i] == nil; n++ {
					errs[i] = u.steps(step{"/", 200, fmt.Sprint(n), live})
				}
			})
		}
		wg.Wait()
		return first(errs...)
	}},
}

// A lockedBuffer takes what several goroutines log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
