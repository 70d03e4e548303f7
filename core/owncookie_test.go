package core

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
	"github.com/gensession/gensession/core/internal/record"
)

func TestK25OptionsRoundTrip(t *testing.T) {
	t.Parallel()
	config := complete(CookieOptions{Secure: On})
	for _, want := range []CookieOptions{
		config,
		config.with(func(c *CookieOptions) { c.MaxAge = 30 * 24 * time.Hour }),
		config.with(func(c *CookieOptions) { c.MaxAge = UntilBrowserCloses }),
		config.with(func(c *CookieOptions) {
			c.MaxAge, c.Expires = UntilBrowserCloses, time.UnixMilli(1_800_000_000_123).UTC()
		}),
		config.with(func(c *CookieOptions) { c.Path, c.Domain = "/a", "example.com" }),
		config.with(func(c *CookieOptions) { c.HTTPOnly, c.Overwrite, c.Signed, c.Secure = Off, Off, Off, Off }),
		config.with(func(c *CookieOptions) { c.SameSite = SameSiteStrict }),
		config.with(func(c *CookieOptions) { c.SameSite = SameSiteNone }),
		config.with(func(c *CookieOptions) { c.SameSite = SameSiteUnset }),
		config.with(func(c *CookieOptions) { c.Priority = PriorityLow }),
		config.with(func(c *CookieOptions) { c.Priority = PriorityMedium }),
		config.with(func(c *CookieOptions) { c.Priority, c.Partitioned = PriorityHigh, true }),
	} {
		if err := want.check(""); err != nil {
			t.Fatalf("a bad test: %v", err)
		}
		for _, koa := range []bool{false, true} {
			d := dialect{koa: koa}
			chosen := d.override(config, want, nil)
			own := chosen.All()
			if !koa && (own == nil) != (want == config) {
				t.Errorf("koa %v: %d members are stored", koa, len(own))
			}
			for _, m := range own {
				if !json.Valid(m.Raw) {
					t.Errorf("%s: %s", m.Name, m.Raw)
				}
			}
			if got := d.withOwn(config, chosen); got != want {
				t.Errorf("koa %v: %s became\n%+v, want\n%+v", koa, jsontext.AppendMembers([]byte("{"), own), got, want)
			}
			// Choosing the same again changes nothing, choosing the
			// configuration leaves nothing.
			if again := d.override(config, want, chosen); !record.SameCookie(chosen, again) {
				t.Errorf("koa %v: again %s", koa, jsontext.AppendMembers([]byte("{"), again.All()))
			}
			before := string(jsontext.AppendMembers([]byte("{"), own))
			back := d.override(config, config, chosen)
			if got := d.withOwn(config, back); got != config || !koa && back != nil {
				t.Errorf("koa %v: back to the configuration: %s", koa, jsontext.AppendMembers([]byte("{"), back.All()))
			}
			if string(jsontext.AppendMembers([]byte("{"), own)) != before {
				t.Error("own was changed")
			}
		}
	}
}

func (c CookieOptions) with(f func(*CookieOptions)) CookieOptions {
	f(&c)
	return c
}

// TestK25Stored: what a store says of cookies, good and bad.
func TestK25Stored(t *testing.T) {
	t.Parallel()
	config := complete(CookieOptions{Domain: "example.com", Priority: PriorityLow})
	same := func(*CookieOptions) {}
	for _, test := range []struct {
		stored string
		change func(*CookieOptions)
	}{
		{`{}`, same},
		{`{"unknown":1,"":2,"Path":"/a","PATH":"/a"}`, same},
		{`{"path":"/a"}`, func(c *CookieOptions) { c.Path = "/a" }},
		{`{"path":"\/\u0061"}`, func(c *CookieOptions) { c.Path = "/a" }},
		{`{"path":"a"}`, same}, {`{"path":""}`, same}, {`{"path":null}`, same}, {`{"path":1}`, same}, {`{"path":["/"]}`, same},
		{`{"path":"/; secure"}`, same}, {`{"path":"/\r\nSet-Cookie: a=b"}`, same}, {`{"path":"/\u0000"}`, same}, {`{"path":"/é"}`, same},
		{`{"httpOnly":false}`, func(c *CookieOptions) { c.HTTPOnly = Off }},
		{`{"httpOnly":true}`, same}, {`{"httpOnly":null}`, same}, {`{"httpOnly":0}`, same}, {`{"httpOnly":"false"}`, same},
		{`{"secure":true}`, func(c *CookieOptions) { c.Secure = On }},
		{`{"secure":false}`, func(c *CookieOptions) { c.Secure = Off }},
		{`{"overwrite":false,"signed":false}`, func(c *CookieOptions) { c.Overwrite, c.Signed = Off, Off }},
		{`{"maxAge":1000}`, func(c *CookieOptions) { c.MaxAge = time.Second }},
		{`{"maxAge":1.5}`, func(c *CookieOptions) { c.MaxAge = 1500 * time.Microsecond }},
		{`{"maxAge":1e3}`, func(c *CookieOptions) { c.MaxAge = time.Second }},
		{`{"maxAge":null}`, func(c *CookieOptions) { c.MaxAge = UntilBrowserCloses }},
		{`{"maxAge":0}`, func(c *CookieOptions) { c.MaxAge = UntilBrowserCloses }},
		{`{"maxAge":-5}`, func(c *CookieOptions) { c.MaxAge = UntilBrowserCloses }},
		{`{"maxAge":1e-7}`, func(c *CookieOptions) { c.MaxAge = UntilBrowserCloses }}, // a zero MaxAge would be for ever
		{`{"maxAge":1e300}`, func(c *CookieOptions) { c.MaxAge = UntilBrowserCloses }},
		{`{"maxAge":1e400}`, same}, {`{"maxAge":"1000"}`, same}, {`{"maxAge":true}`, same}, {`{"maxAge":[]}`, same},
		{`{"domain":"a.example"}`, func(c *CookieOptions) { c.Domain = "a.example" }},
		{`{"domain":""}`, func(c *CookieOptions) { c.Domain = "" }},
		{`{"domain":"a;b"}`, same}, {`{"domain":"a\r\n"}`, same}, {`{"domain":null}`, same}, {`{"domain":false}`, same},
		{`{"sameSite":"strict"}`, func(c *CookieOptions) { c.SameSite = SameSiteStrict }},
		{`{"sameSite":true}`, func(c *CookieOptions) { c.SameSite = SameSiteStrict }},
		{`{"sameSite":"Lax"}`, func(c *CookieOptions) { c.SameSite = SameSiteLax }},
		{`{"sameSite":"None"}`, func(c *CookieOptions) { c.SameSite = SameSiteNone }},
		{`{"sameSite":false}`, func(c *CookieOptions) { c.SameSite = SameSiteUnset }},
		{`{"sameSite":"; secure"}`, same}, {`{"sameSite":null}`, same}, {`{"sameSite":1}`, same},
		{`{"priority":"HIGH"}`, func(c *CookieOptions) { c.Priority = PriorityHigh }},
		{`{"priority":"medium"}`, func(c *CookieOptions) { c.Priority = PriorityMedium }},
		{`{"priority":"low; secure"}`, same}, {`{"priority":null}`, same},
		{`{"partitioned":true}`, func(c *CookieOptions) { c.Partitioned = true }},
		{`{"partitioned":1}`, same},
		{`{"expires":"2026-01-02T03:04:05.678Z"}`, func(c *CookieOptions) { c.Expires = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC) }},
		{`{"expires":"2026-01-02T03:04:05+01:00"}`, func(c *CookieOptions) { c.Expires = time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC) }},
		{`{"expires":"1600-01-01T00:00:00Z"}`, same}, {`{"expires":"9999-12-31T23:59:59-01:00"}`, same},
		{`{"expires":"tomorrow"}`, same}, {`{"expires":1767225690000}`, same}, {`{"expires":null}`, same}, {`{"expires":"+010000-01-01T00:00:00.000Z"}`, same},
	} {
		members, ok := jsontext.ParseObject([]byte(test.stored), nil)
		if !ok {
			t.Fatalf("a bad test: %s", test.stored)
		}
		if got, want := ownOptions(config, members, nil, 0), config.with(test.change); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", test.stored, got, want)
		}
	}
}

// TestK25Stricter: a configuration that has become stricter wins.
func TestK25Stricter(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	base := complete(CookieOptions{Secure: Off, HTTPOnly: Off, SameSite: SameSiteNone, MaxAge: 10 * day})
	for _, test := range []struct {
		name      string
		then, now func(*CookieOptions)
		own       func(*CookieOptions)
		want      func(*CookieOptions) // on what the session chose
	}{
		{name: "nothing changed",
			own: func(c *CookieOptions) { c.MaxAge = 30 * day }},
		{name: "secure",
			own:  func(c *CookieOptions) { c.Path = "/a"; c.Secure = Off },
			now:  func(c *CookieOptions) { c.Secure = On },
			want: func(c *CookieOptions) { c.Secure = On }},
		{name: "secure by default",
			then: func(c *CookieOptions) { c.Secure = Default },
			own:  func(c *CookieOptions) { c.Secure = Off },
			now:  func(c *CookieOptions) { c.Secure = On },
			want: func(c *CookieOptions) { c.Secure = On }},
		{name: "a session stricter than both",
			own: func(c *CookieOptions) { c.Secure = On; c.SameSite = SameSiteStrict; c.HTTPOnly = On; c.MaxAge = day },
			now: func(c *CookieOptions) {
				c.Secure = Default
				c.SameSite = SameSiteLax
				c.HTTPOnly = On
				c.MaxAge = 2 * day
			}},
		{name: "was as strict before, and the session chose otherwise",
			then: func(c *CookieOptions) { c.Secure, c.HTTPOnly, c.SameSite = On, On, SameSiteStrict },
			now:  func(c *CookieOptions) { c.Secure, c.HTTPOnly, c.SameSite = On, On, SameSiteStrict },
			own:  func(c *CookieOptions) { c.Secure, c.HTTPOnly, c.SameSite = Off, Off, SameSiteLax }},
		{name: "httpOnly",
			own:  func(c *CookieOptions) { c.HTTPOnly = Off; c.Path = "/a" },
			now:  func(c *CookieOptions) { c.HTTPOnly = On },
			want: func(c *CookieOptions) { c.HTTPOnly = On }},
		{name: "samesite",
			own:  func(c *CookieOptions) { c.SameSite = SameSiteUnset },
			now:  func(c *CookieOptions) { c.SameSite = SameSiteLax },
			want: func(c *CookieOptions) { c.SameSite = SameSiteLax }},
		{name: "shorter life",
			own:  func(c *CookieOptions) { c.MaxAge = 30 * day },
			now:  func(c *CookieOptions) { c.MaxAge = day },
			want: func(c *CookieOptions) { c.MaxAge = day }},
		{name: "shorter life than no end",
			own:  func(c *CookieOptions) { c.MaxAge = UntilBrowserCloses },
			now:  func(c *CookieOptions) { c.MaxAge = day },
			want: func(c *CookieOptions) { c.MaxAge = day }},
		{name: "shorter life than an end",
			own:  func(c *CookieOptions) { c.MaxAge, c.Expires = UntilBrowserCloses, time.UnixMilli(1).UTC() },
			now:  func(c *CookieOptions) { c.MaxAge = day },
			want: func(c *CookieOptions) { c.MaxAge, c.Expires = day, time.Time{} }},
		{name: "a limit where there was none",
			then: func(c *CookieOptions) { c.MaxAge = UntilBrowserCloses },
			own:  func(c *CookieOptions) { c.MaxAge = 30 * day },
			now:  func(c *CookieOptions) { c.MaxAge = 20 * day },
			want: func(c *CookieOptions) { c.MaxAge = 20 * day }},
		{name: "longer life",
			own: func(c *CookieOptions) { c.MaxAge = 30 * day },
			now: func(c *CookieOptions) { c.MaxAge = 20 * day }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			apply := func(c CookieOptions, f func(*CookieOptions)) CookieOptions {
				if f != nil {
					f(&c)
				}
				return c
			}
			then := apply(base, test.then)
			now := apply(then, test.now)
			chosen := apply(then, test.own)
			own := storeOptions(then, chosen, nil, dialect{})
			d := then.demands(0)
			got := ownOptions(now, own, &d, 0)
			// What the session did not choose is the configuration's of now.
			want := apply(ownOptions(now, own, nil, 0), test.want)
			if got != want {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
		})
	}
	t.Run("unreadable demands", func(t *testing.T) { // as strange as they may be
		t.Parallel()
		for s := range 256 {
			d := record.Demands{Secure: uint8(s), HTTPOnly: uint8(s), SameSite: uint8(s), MaxAge: -int64(s)}
			c := ownOptions(complete(CookieOptions{}), nil, &d, 0)
			if c.check("") != nil {
				t.Errorf("%+v: %+v", d, c)
			}
		}
	})
}

func TestK19KoaCookie(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		given CookieOptions
		want  string
	}{
		{"nothing given", CookieOptions{}, `{"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`},
		{"one given", CookieOptions{MaxAge: 90500 * time.Millisecond}, `{"maxAge":90500,"httpOnly":true,"path":"/","overwrite":true,"signed":true}`},
		{"no expiry", CookieOptions{MaxAge: UntilBrowserCloses}, `{"maxAge":null,"httpOnly":true,"path":"/","overwrite":true,"signed":true}`},
		{"all given", CookieOptions{
			Path: "/a", HTTPOnly: Off, MaxAge: time.Second, Overwrite: Off, Signed: Off, Domain: "example.com", Secure: On,
			SameSite: SameSiteNone, Priority: PriorityMedium, Partitioned: true, Expires: time.UnixMilli(1_767_225_690_123),
		}, `{"path":"/a","httpOnly":false,"maxAge":1000,"overwrite":false,"signed":false,"domain":"example.com","secure":true,"sameSite":"none","priority":"medium","partitioned":true,"expires":"2026-01-01T00:01:30.123Z"}`},
		{"secure off, samesite", CookieOptions{Secure: Off, SameSite: SameSiteStrict}, `{"secure":false,"sameSite":"strict","httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`},
		{"samesite unset", CookieOptions{SameSite: SameSiteUnset}, `{"sameSite":false,"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := test.given.or(CookieOptions{Path: "/", MaxAge: DefaultMaxAge, HTTPOnly: On, SameSite: SameSiteUnset, Overwrite: On, Signed: On})
			got := string(jsontext.AppendMembers([]byte("{"), koaCookie(test.given, config))) + "}"
			if got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}
