package core

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/allocs"
)

// complete are options as a Manager has them.
func complete(c CookieOptions) CookieOptions {
	return c.or(CookieOptions{Path: "/", MaxAge: DefaultMaxAge, HTTPOnly: On, SameSite: SameSiteLax, Overwrite: On, Signed: On})
}

func TestK2Line(t *testing.T) {
	t.Parallel()
	expires := time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.FixedZone("", 3600))
	for _, test := range []struct {
		name    string
		options CookieOptions
		expires time.Time
		secure  bool
		want    string
	}{
		{"default", complete(CookieOptions{}), expires, false, "n=v; path=/; expires=Fri, 02 Jan 2026 02:04:05 GMT; samesite=lax; httponly"},
		{"bare", complete(CookieOptions{SameSite: SameSiteUnset, HTTPOnly: Off}), time.Time{}, false, "n=v; path=/"},
		{"all", complete(CookieOptions{Path: "/a/b", Domain: "example.com", Priority: PriorityHigh, SameSite: SameSiteNone, Secure: On, Partitioned: true}),
			expires, true, "n=v; path=/a/b; expires=Fri, 02 Jan 2026 02:04:05 GMT; domain=example.com; priority=high; samesite=none; secure; httponly; partitioned"},
		{"strict", complete(CookieOptions{Priority: PriorityMedium, SameSite: SameSiteStrict}), time.Time{}, true, "n=v; path=/; priority=medium; samesite=strict; secure; httponly"},
		{"low", complete(CookieOptions{Priority: PriorityLow}), time.Time{}, false, "n=v; path=/; priority=low; samesite=lax; httponly"},
		{"epoch", complete(CookieOptions{}), time.Unix(0, 0), false, "n=v; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; samesite=lax; httponly"},
		{"early year", complete(CookieOptions{}), time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC), false, "n=v; path=/; expires=Mon, 01 Jan 1601 00:00:00 GMT; samesite=lax; httponly"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := string(test.options.appendCookie(nil, "n", "v", test.expires, test.secure)); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestK3Expiry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fixed := now.Add(time.Hour)
	for _, test := range []struct {
		name    string
		options CookieOptions
		want    time.Time
	}{
		{"default", CookieOptions{}, now.Add(24 * time.Hour)},
		{"maxAge", CookieOptions{MaxAge: time.Minute}, now.Add(time.Minute)},
		{"maxAge beats expires", CookieOptions{MaxAge: time.Minute, Expires: fixed}, now.Add(time.Minute)},
		{"expires", CookieOptions{MaxAge: UntilBrowserCloses, Expires: fixed}, fixed},
		{"neither", CookieOptions{MaxAge: UntilBrowserCloses}, time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := complete(test.options)
			if got := c.expiry(now); !got.Equal(test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestCookieOptionsOr(t *testing.T) {
	t.Parallel()
	d := CookieOptions{
		Path: "/d", Domain: "d.example", MaxAge: time.Hour, Expires: time.UnixMilli(1000).UTC(), HTTPOnly: On, Secure: On,
		SameSite: SameSiteStrict, Priority: PriorityLow, Partitioned: true, Overwrite: Off, Signed: Off,
	}
	if got := (CookieOptions{}).or(d); got != d {
		t.Errorf("zero fields: %+v", got)
	}
	own := CookieOptions{
		Path: "/o", Domain: "o.example", MaxAge: time.Minute, Expires: time.UnixMilli(2000).UTC(), HTTPOnly: Off, Secure: Off,
		SameSite: SameSiteUnset, Priority: PriorityHigh, Partitioned: true, Overwrite: On, Signed: On,
	}
	if got := own.or(d); got != own {
		t.Errorf("set fields: %+v", got)
	}
	if got := (CookieOptions{MaxAge: UntilBrowserCloses}).or(d); got.MaxAge != UntilBrowserCloses {
		t.Errorf("UntilBrowserCloses over MaxAge: %v", got.MaxAge)
	}
	d.MaxAge = UntilBrowserCloses
	if got := (CookieOptions{}).or(d); got.MaxAge != UntilBrowserCloses {
		t.Error("UntilBrowserCloses is not inherited")
	}
	if got := (CookieOptions{MaxAge: time.Minute}).or(d); got.MaxAge != time.Minute {
		t.Errorf("MaxAge over UntilBrowserCloses: %v", got.MaxAge)
	}
	// == must hold for what is written and read back.
	local := time.Date(2026, 1, 1, 1, 2, 3, 456_789_000, time.FixedZone("x", 7200))
	if got := (CookieOptions{Expires: local}).or(d).Expires; got != time.Date(2025, 12, 31, 23, 2, 3, 456_000_000, time.UTC) {
		t.Errorf("Expires %v", got)
	}
}

func TestK9Name(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"koa.sid", "koss:test_sid", "__Host-sid", "a", "!#$%&'*+-.^_`|~", "(){}[]<>@?/:", strings.Repeat("n", 256)} {
		if err := checkName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if checkName(strings.Repeat("n", 257)) == nil {
		t.Error("257 bytes are allowed")
	}
	for c := range 256 {
		bad := c <= ' ' || c >= 0x7f || strings.IndexByte(`;=,"\`, byte(c)) >= 0
		if err := checkName("a" + string([]byte{byte(c)}) + "b"); (err != nil) != bad {
			t.Errorf("byte %#x: error %v", c, err)
		}
	}
}

func TestK9Attributes(t *testing.T) {
	t.Parallel()
	year := 365 * 24 * time.Hour
	for _, test := range []struct {
		name    string
		cookie  string
		options CookieOptions
		want    string // "" for no error
	}{
		{"default", "", CookieOptions{}, ""},
		{"path", "", CookieOptions{Path: "/a/b~%20"}, ""},
		{"path of 1024", "", CookieOptions{Path: "/" + strings.Repeat("a", 1023)}, ""},
		{"path of 1025", "", CookieOptions{Path: "/" + strings.Repeat("a", 1024)}, "Path"},
		{"relative path", "", CookieOptions{Path: "a"}, "begin with /"},
		{"path injection", "", CookieOptions{Path: "/; domain=evil.example"}, "Path"},
		{"path with CR LF", "", CookieOptions{Path: "/\r\nSet-Cookie: a=b"}, "Path"},
		{"path with blank", "", CookieOptions{Path: "/a "}, "Path"},
		{"path with DEL", "", CookieOptions{Path: "/\x7f"}, "Path"},
		{"path with NUL", "", CookieOptions{Path: "/\x00"}, "Path"},
		{"path not ASCII", "", CookieOptions{Path: "/ä"}, "Path"},
		{"domain", "", CookieOptions{Domain: "a-1.example.com"}, ""},
		{"domain with dot before", "", CookieOptions{Domain: ".example.com"}, ""},
		{"domain with dot behind", "", CookieOptions{Domain: "example.com."}, "Domain"},
		{"domain with two dots", "", CookieOptions{Domain: "example..com"}, "Domain"},
		{"domain of a dot", "", CookieOptions{Domain: "."}, "Domain"},
		{"domain injection", "", CookieOptions{Domain: "example.com; secure"}, "Domain"},
		{"domain with CR LF", "", CookieOptions{Domain: "example.com\r\n"}, "Domain"},
		{"domain with port", "", CookieOptions{Domain: "example.com:80"}, "Domain"},
		{"domain of 255", "", CookieOptions{Domain: strings.Repeat("a", 255)}, ""},
		{"domain of 256", "", CookieOptions{Domain: strings.Repeat("a", 256)}, "Domain"},
		{"negative MaxAge", "", CookieOptions{MaxAge: -1}, "destroy it"},
		{"MaxAge of 400 days", "", CookieOptions{MaxAge: 400 * 24 * time.Hour}, ""},
		{"MaxAge over 400 days", "", CookieOptions{MaxAge: 400*24*time.Hour + 1}, "400 days"},
		{"MaxAge of a millisecond", "", CookieOptions{MaxAge: time.Millisecond}, ""},
		{"MaxAge below a millisecond", "", CookieOptions{MaxAge: time.Millisecond - 1}, "millisecond"},
		{"until the browser closes", "", CookieOptions{MaxAge: UntilBrowserCloses}, ""},
		{"bad Switch", "", CookieOptions{HTTPOnly: 3}, "unknown value"},
		{"bad Secure", "", CookieOptions{Secure: 3}, "unknown value"},
		{"bad Overwrite", "", CookieOptions{Overwrite: 9}, "unknown value"},
		{"bad Signed", "", CookieOptions{Signed: 9}, "unknown value"},
		{"bad SameSite", "", CookieOptions{SameSite: 5}, "unknown value"},
		{"bad Priority", "", CookieOptions{Priority: 4}, "unknown value"},
		{"Expires", "", CookieOptions{Expires: time.Now().Add(year)}, ""},
		{"Expires in 1600", "", CookieOptions{Expires: time.Date(1600, 12, 31, 0, 0, 0, 0, time.UTC)}, "1601"},
		{"Expires in 10000", "", CookieOptions{Expires: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "9999"},
		{"Expires in 10000 in UTC", "", CookieOptions{Expires: time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -7200))}, "9999"},
		{"None alone", "", CookieOptions{SameSite: SameSiteNone}, "Secure: core.On"},
		{"None with Secure off", "", CookieOptions{SameSite: SameSiteNone, Secure: Off}, "Secure: core.On"},
		{"None with Secure", "", CookieOptions{SameSite: SameSiteNone, Secure: On}, ""},
		{"Partitioned alone", "", CookieOptions{Partitioned: true}, "Secure: core.On"},
		{"Partitioned with Secure", "", CookieOptions{Partitioned: true, Secure: On}, ""},
		{"__Secure- alone", "__Secure-sid", CookieOptions{}, "Secure: core.On"},
		{"__secure- alone", "__secure-sid", CookieOptions{}, "Secure: core.On"},
		{"__Secure-", "__Secure-sid", CookieOptions{Secure: On, Path: "/a", Domain: "a.example"}, ""},
		{"__Host- alone", "__Host-sid", CookieOptions{}, "Secure: core.On"},
		{"__HOST- alone", "__HOST-sid", CookieOptions{}, "Secure: core.On"},
		{"__Host- with path", "__Host-sid", CookieOptions{Secure: On, Path: "/a"}, "Path /"},
		{"__Host- with domain", "__Host-sid", CookieOptions{Secure: On, Domain: "a.example"}, "no Domain"},
		{"__Host-", "__Host-sid", CookieOptions{Secure: On}, ""},
		{"__Http- alone", "__Http-sid", CookieOptions{}, "Secure: core.On"},
		{"__Http- for scripts", "__Http-sid", CookieOptions{Secure: On, HTTPOnly: Off}, "HTTPOnly"},
		{"__Http-", "__Http-sid", CookieOptions{Secure: On, Path: "/a"}, ""},
		{"__Host-Http- for scripts", "__Host-Http-sid", CookieOptions{Secure: On, HTTPOnly: Off}, "HTTPOnly"},
		{"__Host-Http- with path", "__Host-Http-sid", CookieOptions{Secure: On, Path: "/a"}, "Path /"},
		{"__Host-Http-", "__Host-Http-sid", CookieOptions{Secure: On}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := complete(test.options)
			err := c.check(test.cookie)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// found lists what parseCookies gives.
func found(v values) []string { return append([]string{}, v.all[:v.n]...) }

func TestK10Parse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, field string
		ids, sigs   []string
	}{
		{"empty", "", nil, nil},
		{"one", "koa.sid=a", []string{"a"}, nil},
		{"pair", "koa.sid=a; koa.sid.sig=b", []string{"a"}, []string{"b"}},
		{"other way round", "koa.sid.sig=b; koa.sid=a", []string{"a"}, []string{"b"}},
		{"no blank", "x=1;koa.sid=a;koa.sid.sig=b;y=2", []string{"a"}, []string{"b"}},
		{"blanks", " \t koa.sid \t= \t a \t ;\tkoa.sid.sig = b ", []string{"a"}, []string{"b"}},
		{"case-sensitive", "KOA.SID=a; Koa.sid=b; koa.Sid=c", nil, nil},
		{"longer names", "xkoa.sid=a; koa.sidx=b; koa.sid2=c; koa.sid.sigx=d; koa.sid.sig.sig=e; koa.sid.=f", nil, nil},
		{"shorter names", "koa.si=a; k=b; =c; ;;; koa.sid", nil, nil},
		{"name in a value", "x=koa.sid=a", nil, nil},
		{"K11 empty", "koa.sid=; koa.sid.sig=", []string{""}, []string{""}},
		{"K11 no value", "koa.sid; koa.sid.sig", nil, nil},
		{"K11 no signature", "koa.sid=a; koa.sid.sig", []string{"a"}, nil},
		{"K13 two signatures", "koa.sid=a; koa.sid.sig=b; koa.sid.sig=c", []string{"a"}, []string{"b", "c"}},
		{"quotes", `koa.sid="a"; koa.sid.sig="b"`, []string{"a"}, []string{"b"}},
		{"quotes and blanks", `koa.sid= "a" ; koa.sid.sig=" b "`, []string{"a"}, []string{" b "}},
		{"two pairs of quotes", `koa.sid=""a""`, []string{`"a"`}, nil},
		{"one quote", `koa.sid="; koa.sid.sig="b`, []string{`"`}, []string{`"b`}},
		{"empty quotes", `koa.sid=""`, []string{""}, nil},
		{"semicolon in quotes", `koa.sid="a;b"`, []string{`"a`}, nil},
		{"equals in value", "koa.sid=a=b==", []string{"a=b=="}, nil},
		{"comma does not separate", "x=1, koa.sid=a", nil, nil},
		{"controls and high bytes", "koa.sid=\x00\xff\r\n", []string{"\x00\xff\r\n"}, nil},
		{"several in order", "koa.sid=a; koa.sid=b; koa.sid=a", []string{"a", "b", "a"}, nil},
		{"four", "koa.sid=1; koa.sid=2; koa.sid=3; koa.sid=4; koa.sid.sig=5", []string{"1", "2", "3", "4"}, []string{"5"}},
		{"R32 five", "koa.sid=1; koa.sid=2; koa.sid=3; koa.sid=4; koa.sid=5; koa.sid.sig=6", nil, nil},
		{"R32 five signatures", "koa.sid=1; koa.sid.sig=2; koa.sid.sig=3; koa.sid.sig=4; koa.sid.sig=5; koa.sid.sig=6", nil, nil},
		{"blank before .sig", "koa.sid .sig=a", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ids, sigs := parseCookies(test.field, "koa.sid")
			if !slices.Equal(found(ids), test.ids) || !slices.Equal(found(sigs), test.sigs) {
				t.Errorf("%q: %q and %q, want %q and %q", test.field, found(ids), found(sigs), test.ids, test.sigs)
			}
		})
	}
	t.Run("koss:test_sid", func(t *testing.T) { // K9
		t.Parallel()
		ids, sigs := parseCookies("koss:test_sid=a; koss:test_sid.sig=b", "koss:test_sid")
		if !slices.Equal(found(ids), []string{"a"}) || !slices.Equal(found(sigs), []string{"b"}) {
			t.Errorf("%q and %q", found(ids), found(sigs))
		}
	})
}

// TestCookieBomb is requirement 34. The times are bounds of the order of
// growth, not of speed.
func TestCookieBomb(t *testing.T) {
	const pair = "koa.sid=a; koa.sid.sig=b"
	for name, test := range map[string]struct {
		field string
		read  bool
	}{
		"16 KiB":               {pair + "; x=" + strings.Repeat("y", 16<<10-len(pair)-4), true},
		"a byte more":          {pair + "; x=" + strings.Repeat("y", 16<<10-len(pair)-3), false},
		"1 MiB":                {pair + "; x=" + strings.Repeat("y", 1<<20), false},
		"200 pairs":            {pair + strings.Repeat("; x=y", 198), true},
		"201 pairs":            {pair + strings.Repeat("; x=y", 199), false},
		"200 pairs, ours last": {strings.Repeat("x=y; ", 198) + pair, true},
		"100,000 pairs":        {pair + strings.Repeat("; x=y", 100_000), false},
		"semicolons":           {pair + strings.Repeat(";", 1<<13), false},
		"blanks":               {pair + strings.Repeat(" ", 1<<13), true},
		"ours 200 times":       {strings.Repeat("koa.sid=a; ", 199) + "koa.sid.sig=b", false},
		"ours 100,000 times":   {strings.Repeat(pair+"; ", 100_000), false},
	} {
		t.Run(name, func(t *testing.T) {
			ids, sigs := parseCookies(test.field, "koa.sid")
			if read := ids.n > 0 && sigs.n > 0; read != test.read {
				t.Errorf("read %v, want %v", read, test.read)
			}
			if n := allocs.Fewest(10, func() { parseCookies(test.field, "koa.sid") }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestK33PathMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		request, cookie string
		want            bool
	}{
		{"/", "/", true},
		{"/a/b", "/", true},
		{"", "/", true},
		{"*", "/", true},
		{"/session", "/session", true},
		{"/session/", "/session", true},
		{"/session/x", "/session", true},
		{"/sessionfoo", "/session", false},
		{"/Session", "/session", false},
		{"/sess", "/session", false},
		{"/", "/session", false},
		{"", "/session", false},
		{"/session/", "/session/", true},
		{"/session/x", "/session/", true},
		{"/session", "/session/", false},
		{"/x/session", "/session", false},
	} {
		if got := pathMatch(test.request, test.cookie); got != test.want {
			t.Errorf("a request of %q, a cookie of %q: %v", test.request, test.cookie, got)
		}
	}
}

func TestDatesEqualTimeFormat(t *testing.T) {
	t.Parallel()
	check := func(at time.Time) {
		t.Helper()
		if got, want := string(appendDate(nil, at)), at.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	zone := time.FixedZone("", -11*3600)
	for day := range 3 * 366 {
		check(time.Date(2023, 1, 1+day, 23, 59, 59, 999_999_999, zone))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		check(time.Unix(random.Int64N(253402300800+62167219200)-62167219200, 0)) // years 0 to 9999
	}
}
