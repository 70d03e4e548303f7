package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gensession/gensession/core"
)

// The routes, written once: they know the core, and nothing of the library
// that serves them. Each adapter finds the session's context, calls respond
// and sends the answer.
//
// All of them are GET, so that they can be tried with curl and a browser's
// address line. A real application changes things with POST only: a GET can be
// started from another site, in spite of SameSite=Lax.

const (
	count = core.Key[int]("count")

	text = "text/plain; charset=utf-8"
	html = "text/html; charset=utf-8"

	// The page needs nothing but its own style, its forms and the frame that
	// they show their answers in.
	policy = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)

//go:embed page.html
var pageText string

// An answer is a response without the session's cookie.
type answer struct {
	status int
	kind   string // the Content-Type
	body   []byte
}

func say(s string) answer { return answer{http.StatusOK, text, []byte(s)} }

// A misuse is an error of the one who asks, who may read all of it.
type misuse struct {
	status int
	text   string
}

func (m misuse) Error() string { return m.text }

// failure is what err answers. The errors of the core name neither an id nor a
// value, so that a demo can show them; an application logs them instead.
func failure(err error) answer {
	if m, ok := errors.AsType[misuse](err); ok {
		return answer{m.status, text, []byte(m.text)}
	}
	status := core.Status(err)
	return answer{status, text, fmt.Appendf(nil, "%s: %v", http.StatusText(status), err)}
}

// An app is what the routes share.
type app struct {
	page *template.Template
	info string // how it was started
}

func newApp(info string) *app {
	return &app{template.Must(template.New("page").Parse(pageText)), info}
}

// respond answers one request. ctx carries the session.
func (a *app) respond(ctx context.Context, method, path, query string) answer {
	route, ok := a.route(path)
	if !ok {
		return failure(misuse{http.StatusNotFound, "no such page: see / for those that there are"})
	}
	if method != http.MethodGet && method != http.MethodHead {
		return failure(misuse{http.StatusMethodNotAllowed, "only GET"})
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return failure(misuse{http.StatusBadRequest, "the query can't be read"})
	}
	ans, err := route(ctx, values)
	if err != nil {
		return failure(err)
	}
	return ans
}

type route func(ctx context.Context, query url.Values) (answer, error)

func (a *app) route(path string) (route, bool) {
	switch path {
	case "/":
		return with(a.show), true
	case "/get":
		return with(get), true
	case "/read":
		return with(read), true
	case "/id":
		return with(id), true
	case "/regenerate":
		return with(regenerate), true
	case "/renew":
		return with(renew), true
	case "/remove":
		return remove, true
	case "/set":
		return with(set), true
	case "/dump":
		return with(dump), true
	}
	return nil, false
}

// with is a route that wants the session.
func with(f func(ctx context.Context, s *core.Session, query url.Values) (answer, error)) route {
	return func(ctx context.Context, query url.Values) (answer, error) {
		s, err := core.From(ctx)
		if err != nil {
			return answer{}, err
		}
		return f(ctx, s, query)
	}
}

func get(_ context.Context, s *core.Session, _ url.Values) (answer, error) {
	n, err := count.Update(s, func(n int) int { return n + 1 })
	return say(strconv.Itoa(n)), err
}

func read(_ context.Context, s *core.Session, _ url.Values) (answer, error) {
	return say(strconv.Itoa(count.Get(s))), nil
}

// id shows the secret itself: the caller's own, who has it in the cookie.
func id(_ context.Context, s *core.Session, _ url.Values) (answer, error) {
	return say(string(s.ID())), nil
}

func regenerate(ctx context.Context, s *core.Session, _ url.Values) (answer, error) {
	n := count.Get(s)
	if err := s.Reset(ctx); err != nil {
		return answer{}, err
	}
	err := count.Set(s, n+1)
	return say(string(s.ID())), err
}

func renew(ctx context.Context, s *core.Session, _ url.Values) (answer, error) {
	err := s.Renew(ctx)
	return say(string(s.ID())), err
}

// remove asks the visit and not the session, which -defer would load first.
func remove(ctx context.Context, _ url.Values) (answer, error) {
	v, err := core.VisitFrom(ctx)
	if err != nil {
		return answer{}, err
	}
	return say("removed"), v.Destroy(ctx)
}

func set(_ context.Context, s *core.Session, query url.Values) (answer, error) {
	name := query.Get("k")
	if name == "" {
		return answer{}, misuse{http.StatusBadRequest, "say what to set: /set?k=name&v=value"}
	}
	err := core.Key[string](name).Set(s, query.Get("v"))
	if err != nil && !errors.Is(err, core.ErrGone) && !errors.Is(err, core.ErrCommitted) {
		return answer{}, misuse{http.StatusBadRequest, err.Error()} // the name or the value
	}
	return say("set"), err
}

func dump(_ context.Context, s *core.Session, _ url.Values) (answer, error) {
	values, err := s.JSON()
	return answer{http.StatusOK, text, values}, err
}

// show is the page. It changes nothing, and makes no id for a new session.
func (a *app) show(_ context.Context, s *core.Session, _ url.Values) (answer, error) {
	type value struct{ Name, JSON string }
	view := struct {
		Info   string
		New    bool
		ID     fmt.Stringer // prints a fingerprint
		Values []value
	}{Info: a.info, New: s.IsNew()}
	if !view.New {
		view.ID = s.ID()
	}
	for _, name := range s.Names() {
		view.Values = append(view.Values, value{name, string(core.Key[json.RawMessage](name).Get(s))})
	}
	var page bytes.Buffer
	err := a.page.Execute(&page, view)
	return answer{http.StatusOK, html, page.Bytes()}, err
}
