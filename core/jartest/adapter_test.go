package jartest

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gensession/gensession/core"
)

// A reference is an adapter for net/http that does no more than the suite asks for,
// without one fault, or with one. Its response lies in a Jar until the first byte.
type reference struct {
	fault string
	last  atomic.Pointer[context.Context] // for faults that mix requests up
	jar   atomic.Pointer[Jar]
}

func (ref *reference) is(fault string) bool { return ref.fault == fault }

func (ref *reference) adapter() Adapter {
	return Adapter{
		CtxEnds:       true,
		HandlerErrors: true,
		Serve: func(t *testing.T, l net.Listener, h Handler, managers ...*core.Manager) {
			s := &http.Server{
				ErrorLog: log.New(io.Discard, "", 0),
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					x := &refExchange{ref: ref, w: w, r: r}
					x.serve(h, managers)
				}),
			}
			go func() { _ = s.Serve(l) }()
			t.Cleanup(func() { _ = s.Close() })
		},
	}
}

// A refExchange is one request.
type refExchange struct {
	ref    *reference
	w      http.ResponseWriter
	r      *http.Request
	jar    *Jar
	ctx    context.Context
	visits []*core.Visit
	status int
	begun  bool
	failed bool
}

func (x *refExchange) serve(h Handler, managers []*core.Manager) {
	x.jar = &Jar{Cookies: x.r.Header["Cookie"], Target: x.r.RequestURI, TLS: x.r.TLS != nil && !x.ref.is("never secure")}
	if x.ref.is("one Jar for all requests") {
		if !x.ref.jar.CompareAndSwap(nil, x.jar) {
			old := x.ref.jar.Load()
			old.Cookies, old.Target, old.Sent, old.SetCookies, old.Response = x.jar.Cookies, x.jar.Target, false, nil, nil
			x.jar = old
		}
	}
	var jar core.Jar = x.jar
	switch {
	case x.ref.is("the Jar tells of lines that have gone"):
		jar = &forgetful{Jar: x.jar}
	case x.ref.is("fields of the handler are not seen"):
		jar = blindHeader{x.jar}
	case x.ref.is("strings of a buffer that is used again"):
		jar = bufferedJar{x.jar}
	}
	x.ctx = x.r.Context()
	defer func() {
		for _, v := range x.visits {
			if !x.ref.is("a panic does not end the visit") {
				v.Abandon()
			}
		}
		if !x.ref.is("the Jar stays open") {
			x.jar.Sent = true
		}
	}()
	if x.ref.is("a panic is a success") {
		defer func() {
			if recover() != nil {
				x.begin()
			}
		}()
	}
	var outer *core.Visit
	for _, m := range managers {
		v, ok := m.NewVisit(jar, outer)
		if !ok && x.ref.is("mounted twice, it works twice") {
			v, ok = m.NewVisit(jar, nil)
		}
		if !ok {
			continue
		}
		if err := v.Begin(x.ctx); err != nil && !x.ref.is("the handler runs without its session") {
			if x.ref.is("an outage logs out") {
				jar.SetCookie("koa.sid", "koa.sid=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT", false)
			}
			x.fail(err)
			return
		}
		if x.ref.is("deferred mode loads at once") {
			_, _ = v.Session(x.ctx)
		}
		if !x.ref.is("the context has no session") {
			x.ctx = core.NewContext(x.ctx, v)
		}
		x.visits, outer = append(x.visits, v), v
	}
	x.ref.last.CompareAndSwap(nil, &x.ctx)
	if x.ref.is("the session of another request") {
		x.ref.last.Swap(&x.ctx)
	}
	stream, err := x.call(h, nil)
	if err != nil {
		for _, v := range x.visits {
			switch {
			case x.ref.is("an error saves nothing"):
				v.Abandon()
			case !x.ref.is("a login after an error"):
				v.HandlerFailed()
			}
		}
		x.answer(err)
		return
	}
	if x.status == 0 && !x.begun && stream == nil && x.ref.is("no body, no commit") {
		return
	}
	x.begin()
}

// call calls h. guard is nil outside of one.
func (x *refExchange) call(h Handler, guard *core.Visit) (stream func(func(string)), err error) {
	sends := func(f func()) {
		if guard != nil && !x.ref.is("a guard without a writer") {
			guard.Leave()
			defer guard.Enter()
		}
		f()
	}
	write := func(body string) {
		sends(func() {
			x.begin()
			if !x.failed {
				_, _ = io.WriteString(x.w, body)
			}
		})
	}
	visit := func() (*core.Visit, error) {
		if x.ref.is("it panics where it is missing") {
			return x.ctx.Value("visit").(*core.Visit), nil
		}
		if x.ref.is("the session of another request") {
			return core.VisitFrom(*x.ref.last.Load())
		}
		return core.VisitFrom(x.ctx)
	}
	err = h(&Request{
		Ctx:   x.ctx,
		URL:   x.r.URL,
		Visit: visit,
		From: func() (*core.Session, error) {
			v, err := visit()
			if err != nil {
				return nil, err
			}
			if x.ref.is("the outermost session") {
				v = x.visits[0]
			}
			return v.Session(x.ctx)
		},
		FromManager: func(m *core.Manager) (*core.Session, error) {
			v, err := visit()
			if err == nil && !x.ref.is("one manager is as good as another") {
				v, err = v.Of(m)
			}
			if err != nil {
				return nil, err
			}
			return v.Session(x.ctx)
		},
		Guard: func(h Handler) error {
			v, err := visit()
			if err != nil {
				return err
			}
			if !x.ref.is("a guard that does nothing") {
				v.Enter()
			}
			_, err = x.call(h, v)
			if !x.ref.is("a guard that does nothing") && !x.ref.is("a guard that never ends") {
				v.Leave()
			}
			return err
		},
		SetHeader: func(name, value string) { x.jar.SetResponseHeader(name, value) },
		Status:    func(code int) { x.status = code },
		Reset:     x.jar.Clear,
		Write:     write,
		Stream: func(f func(func(string))) {
			stream = f
			if x.ref.is("a flush is no first byte") {
				x.flush()
			}
			sends(x.begin)
			if x.failed {
				return
			}
			f(func(s string) {
				write(s)
				if !x.ref.is("a stream is held back") {
					_ = http.NewResponseController(x.w).Flush()
				}
			})
		},
		Hijack: func(f func(io.ReadWriter)) {
			if !x.ref.is("hijacked before the commit") {
				sends(x.begin)
			}
			if conn, _, err := http.NewResponseController(x.w).Hijack(); err == nil {
				defer conn.Close()
				f(conn)
			}
		},
	})
	return stream, err
}

// begin commits the sessions and sends the header.
func (x *refExchange) begin() {
	if x.begun && !x.ref.is("a flush is no first byte") {
		return
	}
	if x.ref.is("the commit comes after the response") {
		x.flush()
	}
	if x.ref.is("hanging up saves nothing") && x.r.Context().Err() != nil {
		return
	}
	for _, v := range slices.Backward(x.visits) {
		if err := v.Commit(x.r.Context()); err != nil && !x.ref.is("an error of the save is dropped") {
			x.fail(err)
			return
		}
	}
	x.flush()
}

func (x *refExchange) flush() {
	if x.begun {
		return
	}
	x.begun = true
	header := x.w.Header()
	for name, values := range x.jar.Response {
		header[http.CanonicalHeaderKey(name)] = values
	}
	if len(x.jar.SetCookies) > 0 {
		header["Set-Cookie"] = x.jar.SetCookies
	}
	x.jar.Sent = !x.ref.is("the Jar stays open")
	if x.status != 0 {
		x.w.WriteHeader(x.status)
	}
}

// answer answers the error of a handler.
func (x *refExchange) answer(err error) {
	x.status = core.Status(err)
	text := http.StatusText(x.status)
	if errors.Is(err, ErrHandler) {
		text = err.Error()
	}
	for _, v := range slices.Backward(x.visits) {
		_ = v.Commit(x.r.Context())
	}
	x.clean()
	x.flush()
	_, _ = io.WriteString(x.w, text)
}

// fail answers an error of the session in place of the handler's response.
func (x *refExchange) fail(err error) {
	x.failed = true
	x.status = core.Status(err)
	x.clean()
	x.flush()
	if x.ref.is("clients are told the error") {
		_, _ = io.WriteString(x.w, err.Error())
		return
	}
	_, _ = io.WriteString(x.w, http.StatusText(x.status))
}

func (x *refExchange) clean() {
	if x.ref.is("an error throws all fields away") {
		x.jar.Response = nil
	}
	for _, name := range []string{"Etag", "Content-Language", "Location", "CDN-Cache-Control"} {
		if !x.ref.is("fields of the handler stay with an error") {
			x.jar.SetResponseHeader(name, "")
		}
	}
	x.jar.SetResponseHeader("Content-Type", "text/plain")
	x.jar.SetResponseHeader("Cache-Control", "no-store")
}

type forgetful struct {
	*Jar
	lines []string
}

func (j *forgetful) SetCookie(name, line string, replace bool) {
	j.lines = append(j.lines, line)
	j.Jar.SetCookie(name, line, replace)
}

func (j *forgetful) ResponseCookies() []string { return j.lines }

type blindHeader struct{ *Jar }

func (j blindHeader) DefaultResponseHeader(name, value string) bool {
	j.SetResponseHeader(name, value)
	return true
}

var buffer []byte

type bufferedJar struct{ *Jar }

func (j bufferedJar) Cookie() string {
	buffer = append(buffer[:0], j.Jar.Cookie()...)
	return unsafeString(buffer)
}

func TestAdapterReference(t *testing.T) { RunAdapter(t, new(reference).adapter()) }

// The suite is worth what it finds: each fault of an adapter, planted into the
// reference, breaks the rule that is about it.
func TestBrokenAdapters(t *testing.T) {
	for fault, rule := range map[string]string{
		"the context has no session":               "Session",
		"it panics where it is missing":            "Session/missing",
		"mounted twice, it works twice":            "Mounted/twice",
		"the outermost session":                    "Mounted/two managers",
		"one manager is as good as another":        "Mounted/two managers",
		"no body, no commit":                       "Commit/no body",
		"the commit comes after the response":      "Commit/first byte",
		"a flush is no first byte":                 "Commit/first byte",
		"a stream is held back":                    "Commit/events",
		"hijacked before the commit":               "Commit/hijack",
		"fields of the handler are not seen":       "Header/caches",
		"the Jar tells of lines that have gone":    "Header/thrown away",
		"never secure":                             "Secure",
		"the handler runs without its session":     "Failure/load",
		"an outage logs out":                       "Failure/load",
		"clients are told the error":               "Failure/load",
		"deferred mode loads at once":              "Failure/deferred",
		"an error of the save is dropped":          "Failure/save",
		"fields of the handler stay with an error": "Failure/save",
		"an error throws all fields away":          "Failure/save",
		"an error saves nothing":                   "Error/saved",
		"a login after an error":                   "Error/login",
		"a panic is a success":                     "Panic",
		"a panic does not end the visit":           "Panic",
		"a guard that does nothing":                "Panic/recovered",
		"a guard that never ends":                  "Guard",
		"a guard without a writer":                 "Guard",
		"the Jar stays open":                       "Kept/jar",
		"one Jar for all requests":                 "Kept/jar",
		"strings of a buffer that is used again":   "Kept/strings",
		"hanging up saves nothing":                 "Hang-up",
		"the session of another request":           "Parallel",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(adapterRules, func(r adapterRule) bool { return r.name == rule })
			if i < 0 {
				t.Fatalf("no rule %q", rule)
			}
			err := runAdapter(t, (&reference{fault: fault}).adapter(), adapterRules[i])
			if err == nil {
				t.Errorf("the rule %q lets it pass", rule)
			} else if testing.Verbose() {
				t.Log(strings.ReplaceAll(err.Error(), "\n", " "))
			}
		})
	}
}
