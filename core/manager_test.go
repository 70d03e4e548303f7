package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// bareStore has the three methods and no ability. It must not be asked.
type bareStore struct{ t *testing.T }

func (s bareStore) Get(context.Context, string) ([]byte, error) {
	s.t.Error("Get was called")
	return nil, core.ErrNotFound
}

func (s bareStore) Set(context.Context, string, []byte, time.Duration) error {
	s.t.Error("Set was called")
	return nil
}

func (s bareStore) Destroy(context.Context, string) error {
	s.t.Error("Destroy was called")
	return nil
}

// versionedStore has versions, too.
type versionedStore struct{ bareStore }

func (s versionedStore) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	data, err := s.Get(ctx, key)
	return data, 0, err
}

func (s versionedStore) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, _ core.Version) (core.Version, error) {
	return 1, s.Set(ctx, key, data, ttl)
}

var goodKeys = [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}

// TestNewReportsProblems: New finds what can't work, and its message says what to do.
// W31 among others.
func TestNewReportsProblems(t *testing.T) {
	t.Parallel()
	type o = core.Options
	type c = core.CookieOptions
	carrier := core.Header("X-Session")
	koa := func(f func(*core.Options)) o {
		k := core.KoaCompat()
		k.Keys = [][]byte{[]byte("keys")}
		f(k)
		return *k
	}
	for _, test := range []struct {
		name    string
		options o
		noKeys  bool // else good ones are added where there are none
		want    []string
	}{
		{name: "no keys", noKeys: true, want: []string{"Options.Keys is empty", "set at least one key of 32 random bytes", "Cookie.Signed to core.Off"}},
		{name: "short key", options: o{Keys: [][]byte{[]byte("keyboard cat")}}, want: []string{"Options.Keys[0] has 12 bytes, at least 32", "openssl rand", "InsecureShortKeys"}},
		{name: "weak key", options: o{Keys: [][]byte{goodKeys[0], []byte("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")}}, want: []string{"Options.Keys[1] is not random", "openssl rand", "InsecureShortKeys"}},
		{name: "underived without signature", options: o{UnderivedUntil: time.Now(), Cookie: c{Signed: core.Off}}, noKeys: true, want: []string{"Options.UnderivedUntil is about signatures"}},
		{name: "underived with a carrier", options: o{UnderivedUntil: time.Now(), Carrier: carrier}, noKeys: true, want: []string{"Options.UnderivedUntil is about signatures"}},
		{name: "underived with KoaCompat", options: koa(func(o *o) { o.UnderivedUntil = time.Now() }), want: []string{"Options.UnderivedUntil is not available with KoaCompat"}},
		{name: "seal without keys", options: o{Seal: core.Sealing{UnsealedUntil: time.Now()}}, want: []string{"Options.Seal has no Keys"}},
		{name: "seal with a weak key", options: o{Seal: core.Sealing{Keys: [][]byte{[]byte("keyboard cat")}}}, want: []string{"Options.Seal.Keys[0] has 12 bytes", "openssl rand"}},
		{name: "seal nothing for ever", options: o{Seal: core.Sealing{Keys: goodKeys, OpenOnly: true}}, want: []string{"OpenOnly writes sessions that are not sealed: set UnsealedUntil"}},
		{name: "seal with KoaCompat", options: koa(func(o *o) { o.Seal.Keys = goodKeys }), want: []string{"Options.Seal is not available with KoaCompat"}},
		{name: "Koa without KoaCompat", options: o{Koa: core.KoaOptions{Algorithm: "sha256"}}, want: []string{"Options.Koa is about sessions of koa-generic-session: begin with KoaCompat"}},
		{name: "Koa's algorithm", options: koa(func(o *o) { o.Koa.Algorithm = "md5" }), want: []string{"Options.Koa.Algorithm is none of sha1"}},
		{name: "Koa's encoding", options: koa(func(o *o) { o.Koa.Encoding = "latin1" }), want: []string{"Options.Koa.Encoding is neither"}},
		{name: "migrate without end", options: o{Migrate: core.Migration{Keys: goodKeys}}, want: []string{"does not say until when: set Until"}},
		{name: "migrate without keys", options: o{Migrate: core.Migration{Until: time.Now()}}, want: []string{"Options.Migrate needs Keys where the cookie is signed"}},
		{name: "migrate and seal", options: o{Migrate: core.Migration{Keys: goodKeys, Until: time.Now()}, Seal: core.Sealing{Keys: goodKeys}}, want: []string{"both Migrate and Seal"}},
		{name: "migrate to a weak key", options: koa(func(o *o) { o.Migrate = core.Migration{Keys: [][]byte{[]byte("keys")}, Until: time.Now()} }), want: []string{"Options.Migrate.Keys[0] has 4 bytes"}},
		{name: "move without end", options: o{Migrate: core.Migration{From: newMemory(t)}}, want: []string{"From or Foreign, but does not say until when: set Until"}},
		{name: "move from nowhere", options: o{Migrate: core.Migration{Foreign: &core.Foreign{}, Until: time.Now()}}, want: []string{"not the store in which those sessions are: set From"}},
		{name: "move from nil", options: o{Migrate: core.Migration{From: (*storetest.Faulty)(nil), Until: time.Now()}}, want: []string{"Options.Migrate.From is a nil pointer"}},
		{name: "move to a store without versions", options: o{Migrate: core.Migration{From: newMemory(t), Until: time.Now()}}, want: []string{"From needs a new store with versions"}},
		{name: "move with KoaCompat", options: koa(func(o *o) { o.Migrate = core.Migration{Keys: goodKeys, From: newMemory(t), Until: time.Now()} }), want: []string{"From is not available with KoaCompat"}},
		{name: "move from two", options: o{Migrate: core.Migration{Keys: goodKeys, From: newMemory(t), Foreign: &core.Foreign{}, Until: time.Now()}}, want: []string{"both Keys", "and Foreign"}},
		{name: "move without decoder", options: o{Migrate: core.Migration{From: newMemory(t), Foreign: &core.Foreign{Cookie: "a"}, Until: time.Now()}}, want: []string{"Foreign needs Cookie and Values"}},
		{name: "move with a bad name", options: o{Migrate: core.Migration{From: newMemory(t), Foreign: &core.Foreign{Cookie: "a=b", Values: func([]byte) (any, error) { return nil, nil }}, Until: time.Now()}}, want: []string{"Options.Migrate.Foreign.Cookie"}},
		{name: "empty key", options: o{Keys: [][]byte{{}}, InsecureShortKeys: true}, want: []string{"Options.Keys[0] has 0 bytes"}},
		{name: "nine keys", options: o{Keys: [][]byte{goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0]}}, want: []string{"9 keys, at most 8", "drop the oldest"}},
		{name: "keys, but unsigned", options: o{Keys: goodKeys, Cookie: c{Signed: core.Off}}, want: []string{"Options has Keys, but Cookie.Signed is Off: remove one"}},
		{name: "keys and a carrier", options: o{Keys: goodKeys, Carrier: carrier}, want: []string{"both Keys and a Carrier", "remove the Keys"}},
		{name: "carrier and a bad path", options: o{Carrier: carrier, Cookie: c{Path: "a"}}, noKeys: true, want: []string{"begin with /"}},

		{name: "name with =", options: o{Name: "a=b"}, want: []string{`cookie name "a=b"`, "one of ; ="}},
		{name: "name with ;", options: o{Name: "a;b"}, want: []string{`cookie name "a;b"`}},
		{name: "name with CR LF", options: o{Name: "a\r\nb"}, want: []string{`cookie name "a\r\nb"`}},
		{name: "name with a blank", options: o{Name: "a b"}, want: []string{`cookie name "a b"`}},
		{name: "name not ASCII", options: o{Name: "é"}, want: []string{`cookie name "é"`}},
		{name: "long name", options: o{Name: strings.Repeat("n", 257)}, want: []string{"longer than 256 bytes"}},

		{name: "relative path", options: o{Cookie: c{Path: "session"}}, want: []string{"Path must begin with /"}},
		{name: "path injection", options: o{Cookie: c{Path: "/;domain=a"}}, want: []string{"Path", "none of ;"}},
		{name: "domain injection", options: o{Cookie: c{Domain: "a;secure"}}, want: []string{"Domain must be a host name, such as example.com"}},
		{name: "negative MaxAge", options: o{Cookie: c{MaxAge: -time.Second}}, want: []string{"MaxAge is negative", "destroy it"}},
		{name: "MaxAge over 400 days", options: o{Cookie: c{MaxAge: 401 * 24 * time.Hour}}, want: []string{"400 days", "choose a shorter one"}},
		{name: "MaxAge and Expires", options: o{Cookie: c{MaxAge: time.Hour, Expires: time.Now().Add(time.Hour)}}, want: []string{"Expires beside MaxAge", "remove one"}},
		{name: "Expires and IdleTimeout", options: o{IdleTimeout: time.Hour, Cookie: c{Expires: time.Now().Add(time.Hour)}}, want: []string{"Expires beside MaxAge or IdleTimeout", "remove one"}},
		{name: "Expires in the year 9999", options: o{Cookie: c{Expires: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}}, want: []string{"more than 400 days ahead"}},
		{name: "MaxAge and IdleTimeout", options: o{IdleTimeout: time.Hour, Cookie: c{MaxAge: time.Hour}}, want: []string{"both IdleTimeout and Cookie.MaxAge", "remove one", "core.UntilBrowserCloses"}},
		{name: "former names in compat", options: koa(func(o *core.Options) { o.FormerNames = []string{"b"} }), want: []string{"FormerNames is not available with KoaCompat"}},
		{name: "five former names", options: o{FormerNames: []string{"a", "b", "c", "d", "e"}}, want: []string{"5 names, at most 4", "drop the oldest"}},
		{name: "a former name twice", options: o{FormerNames: []string{"a", "a"}}, want: []string{"FormerNames[1]", "remove it"}},
		{name: "the name as a former one", options: o{FormerNames: []string{"koa.sid"}}, want: []string{"FormerNames[0]", "remove it"}},
		{name: "a former name that breaks the line", options: o{FormerNames: []string{"a;b"}}, want: []string{"FormerNames[0]", "one of ; ="}},
		{name: "domains and a domain", options: o{Domains: []string{"example.com"}, Cookie: c{Domain: "example.com"}}, want: []string{"both Domains and Cookie.Domain"}},
		{name: "domains and __Host-", options: o{Name: "__Host-a", Domains: []string{"example.com"}, Cookie: c{Secure: core.On}}, want: []string{"allows no domain"}},
		{name: "domains in compat", options: koa(func(o *core.Options) { o.Domains = []string{"example.com"} }), want: []string{"Domains is not available with KoaCompat"}},
		{name: "no domain", options: o{Domains: []string{"a b"}}, want: []string{"Options.Domains[0] is no host name"}},
		{name: "domains and a carrier", options: o{Domains: []string{"example.com"}, Carrier: carrier}, noKeys: true, want: []string{"beside a Carrier"}},
		{name: "seconds of Node", options: koa(func(o *core.Options) { o.TTL = 86400 }), want: []string{"Options.TTL of 86.4µs is shorter than a second", "86400 seconds are 86400 * time.Second, or 24h0m0s"}},
		{name: "milliseconds of Node", options: o{Cookie: c{MaxAge: 86400000}}, want: []string{"Cookie.MaxAge of 86.4ms", "86400000 milliseconds are 86400000 * time.Millisecond, or 24h0m0s"}},
		{name: "milliseconds of Node in compat", options: koa(func(o *core.Options) { o.Cookie.MaxAge = 86400000 }), want: []string{"Cookie.MaxAge of 86.4ms", "or 24h0m0s"}},
		{name: "IdleTimeout in seconds", options: o{IdleTimeout: 1800}, want: []string{"Options.IdleTimeout of 1.8µs", "or 30m0s"}},
		{name: "30 days in milliseconds, over a second", options: o{RememberFor: 30 * 24 * 60 * 60 * 1000}, want: []string{"Options.RememberFor of 2.592s looks like the milliseconds of 30 days", "30 * 24 * time.Hour"}},
		{name: "14 days in milliseconds", options: o{Cookie: c{MaxAge: 1209600000}}, want: []string{"Cookie.MaxAge of 1.2096s", "14 * 24 * time.Hour"}},
		{name: "365 days in milliseconds in compat", options: koa(func(o *core.Options) { o.TTL = 365 * 86400000 }), want: []string{"Options.TTL of 31.536s", "365 days"}},
		{name: "IdleTimeout over 400 days", options: o{IdleTimeout: 86400000 * time.Second}, want: []string{"longer than 400 days"}},
		{name: "AbsoluteTimeout shorter than a request", options: o{AbsoluteTimeout: 999 * time.Millisecond}, want: []string{"Options.AbsoluteTimeout of 999ms", "shorter than a second"}},
		{name: "RememberFor in seconds", options: o{RememberFor: 2592000}, want: []string{"Options.RememberFor of 2.592ms", "shorter than a second"}},
		{name: "RememberFor over 400 days", options: o{RememberFor: 401 * 24 * time.Hour}, want: []string{"Options.RememberFor", "400 days"}},
		{name: "RememberFor under IdleTimeout", options: o{IdleTimeout: 24 * time.Hour, RememberFor: time.Hour}, want: []string{"RememberFor of 1h0m0s is shorter than 24h0m0s", "set a longer one"}},
		{name: "RememberFor under MaxAge", options: o{Cookie: c{MaxAge: 24 * time.Hour}, RememberFor: time.Hour}, want: []string{"RememberFor of 1h0m0s is shorter than 24h0m0s"}},
		{name: "Expires that has passed", options: o{Cookie: c{Expires: time.Now().Add(-time.Hour)}}, want: []string{"Expires has passed", "MaxAge"}},
		{name: "OpTimeout in milliseconds", options: o{OpTimeout: 500}, want: []string{"Options.OpTimeout of 500ns is shorter than a millisecond", "500 * time.Millisecond"}},
		{name: "LateWindow in seconds", options: o{LateWindow: 3}, want: []string{"Options.LateWindow of 3ns"}},
		{name: "ReconnectTimeout in seconds", options: o{ReconnectTimeout: 10}, want: []string{"Options.ReconnectTimeout of 10ns"}},
		{name: "TouchEvery in seconds", options: o{IdleTimeout: time.Hour, TouchEvery: 60}, want: []string{"Options.TouchEvery of 60ns"}},
		{name: "a domain that no name can have", options: o{Name: "__Host-b", FormerNames: []string{"__Host-a"}, FormerCookies: []c{{Domain: "example.com"}}, Cookie: c{Secure: core.On}}, want: []string{"FormerCookies[0]", "no Domain"}},
		{name: "RenewAfter too short", options: o{RenewAfter: 30 * time.Second}, want: []string{"RenewAfter of 30s is not longer than RenewGrace, 30s"}},
		{name: "RenewAfter in compat", options: koa(func(o *core.Options) { o.RenewAfter = time.Hour }), want: []string{"RenewAfter is not available with KoaCompat"}},
		{name: "RenewAfter without versions", options: o{RenewAfter: time.Hour}, want: []string{"RenewAfter needs a store with versions"}},
		{name: "IdleTimeout in compat", options: koa(func(o *core.Options) { o.IdleTimeout = time.Hour }), want: []string{"IdleTimeout is not available with KoaCompat: set Rolling and TTL"}},
		{name: "TTL without compat", options: o{TTL: time.Hour}, want: []string{"of KoaCompat: set IdleTimeout"}},
		{name: "Rolling without compat", options: o{Rolling: true}, want: []string{"of KoaCompat: set IdleTimeout"}},
		{name: "TTLFunc without compat", options: o{TTLFunc: func(*core.Session) time.Duration { return time.Hour }}, want: []string{"of KoaCompat: set IdleTimeout"}},
		{name: "unknown constants", options: o{Cookie: c{SameSite: 99}}, want: []string{"unknown value", "use the constants"}},
		{name: "SameSite None", options: o{Cookie: c{SameSite: core.SameSiteNone}}, want: []string{"SameSiteNone needs Secure: core.On"}},
		{name: "Partitioned", options: o{Cookie: c{Partitioned: true}}, want: []string{"Partitioned needs Secure: core.On"}},
		{name: "__Secure-", options: o{Name: "__Secure-sid"}, want: []string{`"__Secure-sid" needs Secure: core.On`}},
		{name: "__Host-", options: o{Name: "__Host-sid"}, want: []string{`"__Host-sid" needs Secure: core.On, the Path / and no Domain`}},
		{name: "__Host- with a domain", options: o{Name: "__Host-sid", Cookie: c{Secure: core.On, Domain: "example.com"}}, want: []string{"no Domain"}},
		{name: "__Host- with a path", options: o{Name: "__Host-sid", Cookie: c{Secure: core.On, Path: "/a"}}, want: []string{"the Path /"}},

		{name: "name of a signature", options: o{Name: "sid.sig"}, want: []string{`cookie name "sid.sig" ends with .sig`}},
		{name: "header with a blank", options: o{Carrier: core.Header("X Session")}, noKeys: true, want: []string{"core.Header needs the name of a header field"}},
		{name: "header of HTTP", options: o{Carrier: core.Header("set-cookie")}, noKeys: true, want: []string{"no other meaning to browsers, proxies and servers, such as X-Session-Id"}},

		{name: "prefix and none", options: o{Prefix: "a", NoPrefix: true}, want: []string{"both Prefix and NoPrefix: remove one"}},
		{name: "prefix with a blank", options: o{Prefix: "a b"}, want: []string{"Prefix must be at most 100 bytes of printable ASCII"}},
		{name: "prefix with a control", options: o{Prefix: "a\x00"}, want: []string{"Prefix must be"}},
		{name: "long prefix", options: o{Prefix: strings.Repeat("p", 101)}, want: []string{"Prefix must be"}},

		{name: "negative TTL", options: koa(func(o *core.Options) { o.TTL = -1 }), want: []string{"is negative"}},
		{name: "negative AbsoluteTimeout", options: o{AbsoluteTimeout: -1}, want: []string{"is negative"}},
		{name: "negative OpTimeout", options: o{OpTimeout: -1}, want: []string{"is negative"}},
		{name: "negative ReconnectTimeout", options: o{ReconnectTimeout: -1}, want: []string{"is negative"}},
		{name: "negative TouchEvery", options: o{TouchEvery: -1, IdleTimeout: core.DefaultMaxAge}, want: []string{"is negative"}},
		{name: "negative MaxSize", options: o{MaxSize: -1}, want: []string{"MaxSize or MaxWaiters is negative"}},
		{name: "negative MaxWaiters", options: o{MaxWaiters: -1}, want: []string{"MaxSize or MaxWaiters is negative"}},
		{name: "TouchEvery without Rolling", options: o{TouchEvery: time.Minute}, want: []string{"TouchEvery", "set IdleTimeout too"}},
		{name: "TouchEvery over TTL", options: o{TouchEvery: time.Hour, IdleTimeout: time.Hour}, want: []string{"TouchEvery is not shorter"}},
		{name: "FailFast and a timeout", options: o{FailFast: true, ReconnectTimeout: time.Second}, want: []string{"both FailFast and ReconnectTimeout: remove one"}},
		{name: "absolute limit in compat", options: koa(func(o *core.Options) { o.AbsoluteTimeout = time.Hour }), want: []string{"AbsoluteTimeout needs the time of creation, which KoaCompat does not store"}},
		{name: "unknown policy", options: o{OnConflict: 99}, want: []string{"OnConflict has an unknown value"}},
		{name: "merge without versions", options: o{OnConflict: core.ConflictMerge}, want: []string{"OnConflict needs a store with versions (core.Swapper)"}},

		{name: "all at once", noKeys: true,
			options: o{Name: "a b", Prefix: "a", NoPrefix: true, TTL: -1, MaxSize: -1, TouchEvery: 1, OnConflict: core.ConflictRefuse, Cookie: c{Path: "x"}},
			want:    []string{"cookie name", "both Prefix and NoPrefix", "is negative", "MaxSize", "set IdleTimeout", "core.Swapper", "begin with /", "Keys is empty"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := test.options
			if o.Keys == nil && !test.noKeys {
				o.Keys = goodKeys
			}
			m, err := core.New(bareStore{t}, &o)
			if err == nil || m != nil {
				t.Fatalf("New took it: %v, %v", m, err)
			}
			for _, want := range append(test.want, "session: New: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message does not say %q: %v", want, err)
				}
			}
			for _, k := range o.Keys {
				if len(k) > 0 && strings.Contains(err.Error(), string(k)) {
					t.Error("the message shows a key")
				}
			}
			if lacks := strings.Contains(err.Error(), "core.Swapper"); lacks != errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("ErrUnsupported: %v", err)
			}
		})
	}
	t.Run("nil store", func(t *testing.T) {
		t.Parallel()
		for _, store := range []core.Store{nil, (*storetest.Faulty)(nil)} { // the second: of a New whose error was ignored
			if _, err := core.New(store, &core.Options{Keys: goodKeys}); err == nil || !strings.Contains(err.Error(), "the store is nil: pass a store") {
				t.Error(err)
			}
		}
	})
	t.Run("nil options", func(t *testing.T) {
		t.Parallel()
		if _, err := core.New(bareStore{t}, nil); err == nil || !strings.Contains(err.Error(), "Keys is empty") {
			t.Error(err)
		}
	})
}

// TestNewTakes: what looks odd and works.
func TestNewAccepts(t *testing.T) {
	t.Parallel()
	koa := core.KoaCompat()
	koa.Keys = [][]byte{[]byte("keys")}
	for name, o := range map[string]core.Options{
		"keys alone":            {Keys: goodKeys},
		"eight keys":            {Keys: [][]byte{goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0], goodKeys[0]}},
		"short keys":            {Keys: [][]byte{[]byte("keys")}, InsecureShortKeys: true},
		"unsigned":              {Cookie: core.CookieOptions{Signed: core.Off}},
		"carrier":               {Carrier: core.Header("X-Session")},
		"koa":                   *koa,
		"__Host-":               {Keys: goodKeys, Name: "__Host-sid", Cookie: core.CookieOptions{Secure: core.On}},
		"None with Secure":      {Keys: goodKeys, Cookie: core.CookieOptions{SameSite: core.SameSiteNone, Secure: core.On, Partitioned: true}},
		"koss:test_sid":         {Keys: goodKeys, Name: "koss:test_sid"},
		"no prefix":             {Keys: goodKeys, NoPrefix: true},
		"400 days":              {Keys: goodKeys, Cookie: core.CookieOptions{MaxAge: 400 * 24 * time.Hour}},
		"browser session":       {Keys: goodKeys, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}},
		"fail fast":             {Keys: goodKeys, FailFast: true},
		"spaced":                {Keys: goodKeys, TouchEvery: time.Minute, IdleTimeout: time.Hour},
		"no limit but absolute": {Keys: goodKeys, InsecureNoLimit: true, AbsoluteTimeout: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := core.New(bareStore{t}, &o)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for policy, want := range map[core.ConflictPolicy]string{
		core.ConflictDefault: "no update is lost", core.ConflictMerge: "no update is lost",
		core.ConflictRefuse: "ErrConflict", core.ConflictLastWriteWins: "last write wins; a destroyed session stays destroyed",
	} {
		m, err := core.New(versionedStore{bareStore{t}}, &core.Options{Keys: goodKeys, OnConflict: policy})
		if err != nil {
			t.Errorf("policy %d: %v", policy, err)
		} else if got := m.Guarantees(); !strings.Contains(got, want) {
			t.Errorf("policy %d: %s", policy, got)
		}
	}
	m, err := core.New(bareStore{t}, &core.Options{Keys: goodKeys})
	if err != nil || !strings.Contains(m.Guarantees(), "has no versions") {
		t.Errorf("%v, %v", m, err)
	}
}

// TestNewCopies: the options stay the caller's.
func TestNewCopies(t *testing.T) {
	t.Parallel()
	key := append([]byte(nil), goodKeys[0]...)
	o := &core.Options{Keys: [][]byte{key}, NewID: newFixedID, Cookie: core.CookieOptions{Signed: core.On}}
	m, err := core.New(keepStore{}, o)
	if err != nil {
		t.Fatal(err)
	}
	first := setCookies(t, m)
	if o.Name != "" || o.MaxSize != 0 || len(o.Keys) != 1 {
		t.Errorf("New changed the options: %+v", o)
	}
	clear(key)
	o.Keys[0], o.Name, o.Cookie = nil, "changed", core.CookieOptions{}
	if second := setCookies(t, m); first[0][:20] != second[0][:20] || first[1][:60] != second[1][:60] {
		t.Errorf("the manager changed with its options:\n%q\n%q", first, second)
	}
}

func TestRotateKeys(t *testing.T) {
	t.Parallel()
	other := []byte("q8Wd2LxN7vKb4Rz0Tj6Yh1Mc9Fs3Pg5E")
	m, err := core.New(keepStore{}, &core.Options{Keys: goodKeys, NewID: newFixedID})
	if err != nil {
		t.Fatal(err)
	}
	before := setCookies(t, m)
	for name, keys := range map[string][][]byte{"none": nil, "short": {[]byte("keys")}, "one short": {other, nil}} {
		if err := m.RotateKeys(keys); err == nil || !strings.Contains(err.Error(), "session: RotateKeys: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := setCookies(t, m); after[1][:60] != before[1][:60] {
		t.Error("a refused rotation changed the keys")
	}
	if err := m.RotateKeys([][]byte{other, goodKeys[0]}); err != nil {
		t.Fatal(err)
	}
	if after := setCookies(t, m); after[1][:60] == before[1][:60] {
		t.Error("the new first key does not sign")
	}
	unsigned, err := core.New(keepStore{}, &core.Options{Cookie: core.CookieOptions{Signed: core.Off}})
	if err != nil {
		t.Fatal(err)
	}
	if err := unsigned.RotateKeys(goodKeys); err == nil || !strings.Contains(err.Error(), "not signed") {
		t.Errorf("unsigned: %v", err)
	}
}

// keepStore takes everything and has nothing.
type keepStore struct{}

func (keepStore) Get(context.Context, string) ([]byte, error) { return nil, core.ErrNotFound }

func (keepStore) Set(context.Context, string, []byte, time.Duration) error { return nil }

func (keepStore) Destroy(context.Context, string) error { return nil }

const fixedID = "0123456789abcdef"

func newFixedID(context.Context) (string, error) { return fixedID, nil }

// setCookies returns the pair that m sends for a new session.
func setCookies(t *testing.T, m *core.Manager) []string {
	t.Helper()
	jar := new(jartest.Jar)
	v, ok := m.NewVisit(jar, nil)
	if !ok {
		t.Fatal("no visit")
	}
	ctx := context.Background()
	s, err := v.Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set("a", 1); err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if len(jar.SetCookies) != 2 {
		t.Fatalf("Set-Cookie: %q", jar.SetCookies)
	}
	return jar.SetCookies
}

func TestK15OwnGenerator(t *testing.T) {
	for name, c := range map[string]struct {
		id   string
		err  error
		fail bool
	}{
		"good":      {id: "a-good_id-0123456789"},
		"empty":     {fail: true},
		"short":     {id: "abc", fail: true},
		"malformed": {id: "has a blank 0123456789", fail: true},
		"path":      {id: "../../../../etc/passwd", fail: true},
		"long":      {id: strings.Repeat("a", 129), fail: true},
		"error":     {err: errors.New("no randomness"), fail: true},
	} {
		t.Run(name, func(t *testing.T) {
			var seen core.Op
			a := newApp(t, &core.Options{
				NewID: func(context.Context) (string, error) { return c.id, c.err },
				Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { seen = e.Op; return e }},
			})
			e := a.get("/", count(t))
			if c.fail != (e.commit != nil) {
				t.Errorf("commit: %v, want failure %v", e.commit, c.fail)
			}
			if c.fail && (seen != core.OpID || e.cookies() != "" || a.store.Calls(storetest.OpSetVersion) != 0) {
				t.Errorf("op %q, cookies %q, %d writes", seen, e.cookies(), a.store.Calls(storetest.OpSetVersion))
			}
		})
	}
	t.Run("repeated", func(t *testing.T) {
		a := newApp(t, &core.Options{NewID: func(context.Context) (string, error) { return "always-the-same-id", nil }})
		a.ok(a.get("/", count(t)))
		a.browser = &jartest.Browser{}
		e := a.get("/", func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, 77)) })
		if e.commit == nil || e.cookies() != "" {
			t.Errorf("a repeated id was used: %v, %q", e.commit, e.cookies())
		}
	})
	t.Run("made only when needed", func(t *testing.T) {
		made := 0
		a := newApp(t, &core.Options{NewID: func(context.Context) (string, error) { made++; return "0123456789abcdef", nil }})
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { visits.Get(s) }))
		if made != 0 {
			t.Errorf("%d ids made for a request that needs none", made)
		}
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if first := s.ID(); first == "" || s.ID() != first {
				t.Error("no id, or another one at each call")
			}
		}))
		if made != 1 {
			t.Errorf("%d ids made, want 1", made)
		}
	})
}

func TestK52Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true})
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, a.manager.Close())
			must(t, visits.Set(s, 2)) // a request in flight finishes its commit
		})).wantCookies(t, pair)
		must(t, a.manager.Close())
		b := newAppOn(t, a.store, nil)
		a.store.Down()
		done := make(chan error)
		go func() { done <- b.send(&jartest.Jar{}, nil).begin }()
		time.Sleep(time.Second)
		must(t, b.manager.Close())
		wantIs(t, <-done, core.ErrUnavailable)
		a.store.Up()
	})
}

func TestNoSecretsInErrorsAndLogs(t *testing.T) {
	var log bytes.Buffer
	var reported []string
	a := newApp(t, &core.Options{
		FailFast:    true,
		IdleTimeout: core.DefaultMaxAge,
		Logger:      slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			reported = append(reported, e.Error())
			return e
		}},
	})
	ids := map[string]bool{}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("secret", "payload-canary")) }))
	ids[a.value()] = true
	for _, op := range []storetest.Op{storetest.OpGetVersion, storetest.OpSetVersion, storetest.OpTouch, storetest.OpDestroy} {
		for _, err := range []error{core.ErrNotFound, core.ErrConflict, core.ErrRefused, core.ErrCorrupt, context.DeadlineExceeded} {
			a.store.Before(failing(op, err))
			for _, h := range []handler{
				func(_ *core.Visit, s *core.Session) {}, count(t),
				func(_ *core.Visit, s *core.Session) { s.Renew(bg) },
				func(_ *core.Visit, s *core.Session) { core.Key[int]("secret").Get(s) },
				func(_ *core.Visit, s *core.Session) { s.Destroy(bg) },
			} {
				if e := a.send(a.browser.Jar("/"), h); e.err() != nil {
					reported = append(reported, e.err().Error())
				}
			}
			a.store.Before(nil)
		}
	}
	all := log.String() + strings.Join(reported, "\n")
	if len(reported) < 20 || log.Len() == 0 {
		t.Fatalf("the test saw too little: %d errors", len(reported))
	}
	for id := range ids {
		if strings.Contains(all, id) || strings.Contains(all, hashedKey(core.ID(id))) {
			t.Error("an id or a key is in an error or a log line")
		}
	}
	if strings.Contains(all, "canary") {
		t.Error("a value is in an error or a log line")
	}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if text := fmt.Sprintf("%v %+v %#v %s %q %d %x", s, s, s, s, s, s, s); strings.Contains(text, a.value()) || strings.Contains(text, "canary") {
			t.Errorf("a printed session tells %q", text)
		}
	}))
}

func TestNewReportsMoreConflicts(t *testing.T) {
	for want, o := range map[string]*core.Options{
		"core.Header": {Carrier: core.Header("a b")},
		"FailFast":    {FailFast: true, ReconnectTimeout: time.Second, Keys: [][]byte{testKey}},
		"TouchEvery":  {IdleTimeout: core.DefaultMaxAge, TouchEvery: 48 * time.Hour, Keys: [][]byte{testKey}},
		"Path":        {Cookie: core.CookieOptions{Path: "/a?b"}, Keys: [][]byte{testKey}},
	} {
		if _, err := core.New(newMemory(t), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
