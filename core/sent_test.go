package core_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// A wiper throws the header of a response away wherever the handler says that
// other code might.
type wiper struct {
	app  *app
	jar  *jartest.Jar
	wipe func(*jartest.Jar)
}

func (w *wiper) wiped() {
	if w.wipe != nil {
		w.wipe(w.jar)
	}
}

// A basicCarrier is one of a user's: an id in the form of HTTP authentication, and
// a cookie that tells scripts of it.
type basicCarrier struct{}

func (basicCarrier) Get(jar core.Jar) (core.ID, bool, error) {
	return core.ID(jar.RequestHeader("X-Id")), false, nil
}

func (basicCarrier) Set(jar core.Jar, s *core.Session) error {
	jar.SetResponseHeader("X-Id", string(s.ID()))
	jar.DefaultResponseHeader("X-Kind", "session")
	jar.SetCookie("there", "there=1; path=/", true)
	return nil
}

func (basicCarrier) Reset(jar core.Jar, _ *core.Session) error {
	jar.SetResponseHeader("X-Id", "")
	jar.DropCookies("there")
	return nil
}

type sentCase struct {
	options core.Options
	koa     bool
	request func(*jartest.Jar)
	handler func(t *testing.T, s *core.Session, w *wiper)
	want    string // the cookies; "?" for those of a carrier
}

// What a request has sent is in its response, whatever other code does to the
// header before the commit: the response is the same as if nobody had done it.
func TestW5WhatWasSentIsInTheResponse(t *testing.T) {
	forged := func(j *jartest.Jar) {
		j.Cookies = []string{"koa.sid=" + strings.Repeat("a", 32) + "; koa.sid.sig=forged"}
	}
	unknown := func(j *jartest.Jar) {
		j.Cookies, j.Request = nil, map[string][]string{"X-Id": {strings.Repeat("u", 32)}}
	}
	save := func(t *testing.T, s *core.Session) { must(t, visits.Set(s, 100)); must(t, s.Save(bg)) }
	for name, c := range map[string]sentCase{
		"Save": {
			handler: func(t *testing.T, s *core.Session, w *wiper) { save(t, s); w.wiped() },
			want:    pair,
		},
		"Renew": {
			handler: func(t *testing.T, s *core.Session, w *wiper) { must(t, s.Renew(bg)); w.wiped() },
			want:    pair,
		},
		"Reset": {
			handler: func(t *testing.T, s *core.Session, w *wiper) { must(t, s.Reset(bg)); w.wiped() },
			want:    "-koa.sid -koa.sid.sig",
		},
		"Destroy": {
			handler: func(t *testing.T, s *core.Session, w *wiper) { must(t, s.Destroy(bg)); w.wiped() },
			want:    "-koa.sid -koa.sid.sig",
		},
		"a login that Save carries out": {
			handler: func(t *testing.T, s *core.Session, w *wiper) {
				must(t, s.Login(core.LoginOptions{}))
				save(t, s)
				w.wiped()
			},
			want: pair,
		},
		"Save, and a change that the commit saves": {
			handler: func(t *testing.T, s *core.Session, w *wiper) { save(t, s); w.wiped(); must(t, visits.Set(s, 2)) },
			want:    pair,
		},
		"Save, and a Renew after the header has gone": {
			handler: func(t *testing.T, s *core.Session, w *wiper) { save(t, s); w.wiped(); must(t, s.Renew(bg)) },
			want:    pair,
		},
		"Save and Destroy": {
			handler: func(t *testing.T, s *core.Session, w *wiper) {
				save(t, s)
				w.wiped()
				must(t, s.Destroy(bg))
				w.wiped()
			},
			want: "-koa.sid -koa.sid.sig",
		},
		"Destroy and Reset, with a value": {
			handler: func(t *testing.T, s *core.Session, w *wiper) {
				must(t, s.Destroy(bg))
				w.wiped()
				must(t, s.Reset(bg))
				w.wiped()
				must(t, visits.Set(s, 1))
			},
			want: pair,
		},
		"Renew after the scope has changed": {
			options: core.Options{FormerCookies: []core.CookieOptions{{Path: "/", Domain: "example.com"}}},
			handler: func(t *testing.T, s *core.Session, w *wiper) { must(t, s.Renew(bg)); w.wiped() },
			want:    "-koa.sid -koa.sid.sig koa.sid koa.sid.sig",
		},
		"several saves without Overwrite": {
			options: core.Options{Cookie: core.CookieOptions{Overwrite: core.Off}},
			handler: func(t *testing.T, s *core.Session, w *wiper) {
				save(t, s)
				w.wiped()
				must(t, visits.Set(s, 2))
				must(t, s.Save(bg))
				w.wiped()
			},
			want: pair + " " + pair,
		},
		"without a signature": {
			options: core.Options{Cookie: core.CookieOptions{Signed: core.Off}},
			handler: func(t *testing.T, s *core.Session, w *wiper) { save(t, s); w.wiped() },
			want:    "koa.sid",
		},
		"the removal of an unknown id": {
			options: core.Options{ResetUnknown: true, InsecureIDFrom: func(_ context.Context, j core.Jar) core.ID { return core.ID(j.RequestHeader("X-Id")) }},
			request: unknown,
			handler: func(_ *testing.T, _ *core.Session, w *wiper) { w.wiped() },
			want:    "-koa.sid -koa.sid.sig",
		},
		"the removal of a forged signature": {
			koa:     true,
			request: forged,
			handler: func(_ *testing.T, _ *core.Session, w *wiper) { w.wiped() },
			want:    "-koa.sid.sig",
		},
		"an id in a header": {
			options: core.Options{Carrier: core.Header("X-Id")},
			handler: func(t *testing.T, s *core.Session, w *wiper) { save(t, s); w.wiped() },
			want:    "?",
		},
		"a carrier of the user's": {
			options: core.Options{Carrier: basicCarrier{}},
			handler: func(t *testing.T, s *core.Session, w *wiper) { save(t, s); w.wiped() },
			want:    "?",
		},
		"a removal by a carrier of the user's": {
			options: core.Options{Carrier: basicCarrier{}},
			handler: func(t *testing.T, s *core.Session, w *wiper) {
				save(t, s)
				w.wiped()
				must(t, s.Destroy(bg))
				w.wiped()
			},
			want: "?",
		},
		"an id that has died since is not put back": {
			options: core.Options{FailFast: true},
			handler: func(t *testing.T, s *core.Session, w *wiper) {
				save(t, s)
				w.wiped()
				must(t, w.app.manager.DestroyByID(bg, s.ID()))
				must(t, visits.Set(s, 3))
			},
			want: "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			undisturbed := c.run(t, nil)
			if got := undisturbed.cookies(); c.want != "?" && got != c.want {
				t.Errorf("undisturbed: Set-Cookie %q, want %q", got, c.want)
			}
			for how, wipe := range wipes {
				if c.options.Cookie.Overwrite == core.Off && strings.HasPrefix(how, "a removal by hand") {
					continue // all lines stay
				}
				disturbed := c.run(t, wipe)
				disturbed.jar.SetCookies = slices.DeleteFunc(disturbed.jar.SetCookies, func(l string) bool { return strings.HasPrefix(l, "theirs=") })
				if !slices.Equal(disturbed.jar.SetCookies, undisturbed.jar.SetCookies) || fmt.Sprint(disturbed.jar.Response) != fmt.Sprint(undisturbed.jar.Response) {
					t.Errorf("%s:\n got %q %q %v\nwant %q %q %v", how,
						disturbed.cookies(), scopesOf(disturbed), slices.Collect(maps.Keys(disturbed.jar.Response)),
						undisturbed.cookies(), scopesOf(undisturbed), slices.Collect(maps.Keys(undisturbed.jar.Response)))
				}
			}
		})
	}
}

// wipes are what other code does to a header.
var wipes = map[string]func(*jartest.Jar){
	"all of it is thrown away": (*jartest.Jar).Clear,
	"its cookies are replaced": func(j *jartest.Jar) { j.SetCookies = []string{"theirs=1"} },
	"its other fields go":      func(j *jartest.Jar) { j.Response = nil },
	"the first line goes":      func(j *jartest.Jar) { j.SetCookies = j.SetCookies[min(1, len(j.SetCookies)):] },
	"the last line goes":       func(j *jartest.Jar) { j.SetCookies = j.SetCookies[:max(0, len(j.SetCookies)-1)] },
	"every second line goes": func(j *jartest.Jar) {
		i := 0
		j.SetCookies = slices.DeleteFunc(j.SetCookies, func(string) bool { i++; return i%2 == 0 })
	},
	"a removal by hand": func(j *jartest.Jar) {
		for _, name := range []string{"koa.sid", "koa.sid.sig"} {
			if slices.ContainsFunc(j.SetCookies, func(l string) bool { return strings.HasPrefix(l, name+"=") }) {
				j.SetCookies = append(j.SetCookies, name+"=; Path=/; Max-Age=0")
			}
		}
	},
	"a removal by hand, without a path": func(j *jartest.Jar) {
		if slices.ContainsFunc(j.SetCookies, func(l string) bool { return strings.HasPrefix(l, "koa.sid=") }) {
			j.SetCookies = append(j.SetCookies, "koa.sid=; Max-Age=0")
		}
	},
	"they are turned round": func(j *jartest.Jar) { slices.Reverse(j.SetCookies) },
}

// run runs the request of c, in a bubble and with ids that repeat themselves, so that
// two runs send the same bytes.
func (c sentCase) run(t *testing.T, wipe func(*jartest.Jar)) (e *exchange) {
	synctest.Test(t, func(t *testing.T) {
		o, n := c.options, 0
		if c.koa {
			o = *core.KoaCompat()
		}
		o.NewID = func(context.Context) (string, error) { n++; return fmt.Sprintf("an-id-of-the-test-%06d", n), nil }
		a := newApp(t, &o)
		first := a.ok(a.get("/", count(t)))
		jar := a.browser.Jar("/")
		jar.Request = map[string][]string{"X-Id": first.jar.Response.Values("X-Id")}
		if c.request != nil {
			c.request(jar)
		}
		e = a.send(jar, func(_ *core.Visit, s *core.Session) { c.handler(t, s, &wiper{app: a, jar: jar, wipe: wipe}) })
		must(t, e.err())
	})
	return e
}

// W5: a line of the same name that browsers keep beside the session cookie stays.
func TestW5LinesOfOtherScopesStay(t *testing.T) {
	a := newApp(t, nil)
	jar := a.browser.Jar("/a/b")
	a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
		must(t, visits.Set(s, 1))
		must(t, s.Save(bg))
		jar.SetCookies = []string{"koa.sid=theirs; Path=/other", "koa.sid=theirs", "other=1"}
	}))
	if len(jar.SetCookies) != 5 {
		t.Fatalf("%d lines", len(jar.SetCookies))
	}
	want := []string{"other=1", "koa.sid=theirs; Path=/other", "koa.sid=theirs"} // the last one's path is /a
	if !slices.Equal(jar.SetCookies[:3], want) || !strings.HasPrefix(jar.SetCookies[3], "koa.sid=") {
		t.Errorf("the lines of others are %q", jar.SetCookies[:3])
	}
}
