// Package sessiontest makes sessions for tests of handlers, and looks at those that
// handlers have left behind, whatever the framework, the store and the options are.
//
//	h := sessiontest.New(t, sessions, func(s *core.Session) error {
//		return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "ada"))
//	})
//	r := httptest.NewRequest("GET", "/account", nil)
//	r.Header.Set("Cookie", h.Get("Cookie"))
//
// It asks the manager's store, as requests do, and works in a bubble of
// testing/synctest if the store does. Only tests can use it.
package sessiontest

import (
	"context"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/internal/made"
	"github.com/gensession/gensession/core/jartest"
)

// New makes a session in the store of m, and returns the request fields by which a
// browser shows that it has the session: Cookie, or with a Carrier the field that the
// Carrier has set in the response. The caller owns the result.
//
// The session is as a request leaves it whose handler is f: f sets values, and may
// log in, choose a lifetime and do whatever else a handler can do. The test fails
// if f returns an error, or if there is nothing to store after it.
//
// A client with a cookie jar gets the cookies by [http.ParseCookie] of the field.
func New(t testing.TB, m *core.Manager, f func(s *core.Session) error) http.Header {
	t.Helper()
	return NewAged(t, m, 0, f)
}

// NewAged is [New] for a session that began, and if f logs in has logged in, so long
// ago, and was used just now. If it would have ended by now, since that is longer than
// the Options or f allow, what is returned is that of a session that has ended; f is
// then called twice. With KoaCompat, which does not store when a session began, the
// age is always zero.
func NewAged(t testing.TB, m *core.Manager, age time.Duration, f func(s *core.Session) error) http.Header {
	t.Helper()
	if age < 0 {
		t.Fatalf("sessiontest: the age %v is negative", age)
	}
	h, _ := save(t, m, age, f)
	if h == nil && age > 0 {
		var id core.ID
		if h, id = save(t, m, 0, f); h != nil {
			if err := m.DestroyByID(context.Background(), id); err != nil {
				t.Fatalf("sessiontest: ending the session: %v", err)
			}
		}
	}
	if h == nil {
		t.Fatal("sessiontest: there is nothing to store: f has set no value and not logged in, or has ended the session")
	}
	return h
}

// save returns no header if no session was stored.
func save(t testing.TB, m *core.Manager, age time.Duration, f func(s *core.Session) error) (http.Header, core.ID) {
	t.Helper()
	j := &jar{made: made.Exchange{Age: age}}
	v, s := visit(t, m, j)
	j.TLS = s.Cookie().Secure == core.On
	if err := f(s); err != nil {
		v.HandlerFailed()
		v.Abandon()
		t.Fatalf("sessiontest: the function returned: %v", err)
	}
	if err := v.Commit(context.Background()); err != nil {
		t.Fatalf("sessiontest: saving the session: %v", err)
	}
	h := request(http.Header{}, j.response())
	if len(h) == 0 {
		return nil, ""
	}
	return h, s.ID()
}

// Look returns the session that a browser has after what headers are of, in this
// order: a response, whose Set-Cookie fields count, or a request and its response.
// The fields of [New] are those of a request.
//
//	s := sessiontest.Look(t, sessions, res.Header)
//
// The session is as the next request would find it: a new one if the browser has
// none, or if the one that it has is none any more. Nothing is prolonged. It can only
// be read; the store is asked once, when Look is called.
func Look(t testing.TB, m *core.Manager, headers ...http.Header) *core.Session {
	t.Helper()
	h := http.Header{}
	for _, more := range headers {
		h = request(h, more)
	}
	j := &jar{Jar: jartest.Jar{Cookies: h["Cookie"], TLS: true, Sent: true, Request: textproto.MIMEHeader(h)}}
	v, s := visit(t, m, j)
	s.SetSaveMode(core.SaveNever)
	if err := v.Commit(context.Background()); err != nil {
		t.Fatalf("sessiontest: looking at the session: %v", err)
	}
	return s
}

func visit(t testing.TB, m *core.Manager, j *jar) (*core.Visit, *core.Session) {
	t.Helper()
	ctx := context.Background()
	v, _ := m.NewVisit(j, nil)
	err := v.Begin(ctx)
	var s *core.Session
	if err == nil {
		s, err = v.Session(core.NewContext(ctx, v))
	}
	if err != nil {
		t.Fatalf("sessiontest: loading the session: %v", err)
	}
	return v, s
}

// A jar is an exchange that no request has made.
type jar struct {
	jartest.Jar
	made made.Exchange
}

// Made returns what the core has to know.
func (j *jar) Made() made.Exchange { return j.made }

// response is the header that the core has set, without what is for caches.
func (j *jar) response() http.Header {
	h := http.Header{"Set-Cookie": j.SetCookies}
	for name, values := range j.Response {
		if name != "Cache-Control" && name != "Vary" {
			h[name] = values
		}
	}
	return h
}

// request returns what the next request carries that a browser sends which has sent
// before and has got now, or has sent now: the cookies, and all other fields as they
// are.
func request(before, now http.Header) http.Header {
	h := maps.Clone(before)
	type cookie struct{ name, value, domain, path string }
	var all []cookie
	read := func(fields []string) {
		for _, field := range fields {
			for pair := range strings.SplitSeq(field, ";") {
				if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
					all = append(all, cookie{name: name, value: value})
				}
			}
		}
	}
	if read(before["Cookie"]); now["Cookie"] != nil {
		all = nil
		read(now["Cookie"])
	}
	for _, line := range now["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			continue // as browsers do
		}
		all = slices.DeleteFunc(all, func(o cookie) bool { // nobody knows the scope of one that was sent
			return o.name == c.Name && (o.path == "" || o.path == c.Path && strings.EqualFold(o.domain, c.Domain))
		})
		if c.MaxAge >= 0 && (c.Expires.IsZero() || c.Expires.After(time.Now())) {
			all = append(all, cookie{c.Name, c.Value, c.Domain, c.Path})
		}
	}
	for name, values := range now {
		if name != "Cookie" && name != "Set-Cookie" {
			h[name] = slices.Clone(values)
		}
	}
	delete(h, "Cookie")
	if len(all) > 0 {
		pairs := make([]string, len(all))
		for i, c := range all {
			pairs[i] = c.name + "=" + c.value
		}
		h.Set("Cookie", strings.Join(pairs, "; "))
	}
	return h
}
