package adaptertest

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
)

var wholeID = regexp.MustCompile(`^` + idPattern + `$`)

// idRules are about the id: how it is made, and how it comes back.
var idRules = []rule{
	{"K10 R32 the Cookie field: case, quotes, blanks, and several of one name", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u, other := a.user(), a.user()
		u.want("/", 200, "1")
		other.want("/", 200, "1")
		other.want("/", 200, "2")
		mine, theirs := u.browser.Cookie("/"), other.browser.Cookie("/")
		sig, _ := u.browser.Value("/", "koa.sid.sig")
		forged := "koa.sid=" + strings.Repeat("a", 32)
		for _, c := range []struct{ name, field, body string }{
			{"the pair", mine, "1"},
			{"the other way round", "koa.sid.sig=" + sig + "; koa.sid=" + u.id(), "1"},
			{"among others", "a=1; xkoa.sid=x; koa.sidx=x; " + mine + "; koa.sid.=x", "1"},
			{"without blanks", "a=1;koa.sid=" + u.id() + ";koa.sid.sig=" + sig + ";b=2", "1"},
			{"with blanks and quotes", `koa.sid = "` + u.id() + `" ;  koa.sid.sig="` + sig + `"`, "1"},
			{"another case", strings.ToUpper("koa.sid") + strings.TrimPrefix(mine, "koa.sid"), "0"},
			{"within a value", "a=koa.sid=" + u.id() + "; koa.sid.sig=" + sig, "0"},
			{"behind a forged one", forged + "; " + mine, "1"},
			{"before a forged one", mine + "; " + forged, "1"},
			{"twice", mine + "; " + mine, "1"},
			{"with another that is signed as well", mine + "; " + theirs, "0"},
			{"with another behind what is looked at", mine + strings.Repeat("; koa.sid=x", 3) + "; " + theirs, "0"},
			{"with another whose signature is", mine + strings.Repeat("; koa.sid.sig=x", 3) + "; " + theirs, "0"},
		} {
			if r := a.with(c.field); r.status != 200 || r.body != c.body {
				t.Errorf("%s: %d %q, want %q", c.name, r.status, r.body, c.body)
			}
		}
	}},
	{"K14 a session can't say for itself that its cookie needs no signature", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, func(x *Exchange) error {
			if x.URL.Path != "/unsigned" {
				return routes(x)
			}
			session, err := x.From()
			if err != nil {
				return err
			}
			c := session.Cookie()
			c.Signed = core.Off
			return session.SetCookie(c)
		})
		u := a.user()
		u.want("/", 200, "1")
		u.want("/unsigned", 200, "").pair(t, true)
		u.want("/", 200, "2").pair(t, true)
		reads := a.reads()
		if r := a.with("koa.sid=" + u.id()); r.body != "0" || a.reads() != reads {
			t.Errorf("the bare id: %q, %d reads", r.body, a.reads()-reads)
		}
	}},
	{"K15 an id has 32 characters, and no two are the same", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		seen := map[string]bool{}
		for range 20 {
			u := a.user()
			u.want("/", 200, "1")
			if id := u.id(); !wholeID.MatchString(id) || seen[id] {
				t.Errorf("an id of %d characters, seen before: %t", len(id), seen[id])
			}
			seen[u.id()] = true
		}
	}},
	{"K15 an own generator is asked only when an id is needed", func(t *testing.T, s *suite) {
		made := 0
		u := s.app(core.Options{NewID: func(context.Context) (string, error) {
			made++
			return "an-id-of-the-own-generator", nil
		}}, routes).user()
		u.want("/none", 200, "ok")
		u.want("/read", 200, "0")
		if made != 0 {
			t.Errorf("%d ids for nothing", made)
		}
		u.want("/", 200, "1").pair(t, true)
		u.want("/", 200, "2")
		if made != 1 || u.id() != "an-id-of-the-own-generator" {
			t.Errorf("%d ids were made", made)
		}
	}},
	{"K15 a generator that fails or makes what is no id is an error of the request", func(t *testing.T, s *suite) {
		for name, generator := range map[string]func(context.Context) (string, error){
			"fails":     func(context.Context) (string, error) { return "", errors.New("secret device is gone") },
			"empty":     func(context.Context) (string, error) { return "", nil },
			"too short": func(context.Context) (string, error) { return "secret", nil },
			"malformed": func(context.Context) (string, error) { return "secret; path=/; domain=evil.example", nil },
		} {
			a := s.app(core.Options{NewID: generator}, routes)
			r := a.user().get("/")
			r.noCookies(t)
			safeError(t, r)
			if r.status != 500 || a.memory.Len() != 0 {
				t.Errorf("%s: answered %d, %d records", name, r.status, a.memory.Len())
			}
		}
	}},
}

// with asks for /read with a Cookie field as it is.
func (a *app) with(cookie string) result {
	a.t.Helper()
	req, err := http.NewRequest("GET", a.url("/read"), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	r, err := a.do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}
