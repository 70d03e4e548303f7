package core_test

import (
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// FuzzOptions: New never panics, says what to do, and what it accepts works: a
// session that is stored is found again.
func FuzzOptions(f *testing.F) {
	f.Add("koa.sid", "koa:sess:", "/", "", string(testKey), string(otherKey), int64(0), int64(0), int64(0), uint64(0), "", int64(0), uint64(0))
	f.Add("__Host-sid", "", "/", "", string(testKey), "", int64(30*time.Minute), int64(12*time.Hour), int64(time.Hour), uint64(0x1ff), "old", int64(time.Hour), uint64(0x1fff))
	f.Add("a", "p{x}", "/a", ".example.com", "keys", "keys", int64(-1), int64(1), int64(86400000), uint64(0xffffffff), "/a", int64(time.Minute), uint64(1<<63))
	f.Add("a\r\nb", " ", "", "a b", strings.Repeat("a", 32), "\x00", int64(time.Hour), int64(1<<62), int64(0), uint64(0x12345), "example.com; a", int64(-1), uint64(0xaaaaaaaaaaaaaaaa))
	// Options that New accepts, and each of the further ones with them.
	flags := func(digits ...[2]uint64) (all uint64) { // of next: what it returns, and its argument
		for i := len(digits) - 1; i >= 0; i-- {
			all = all*digits[i][1] + digits[i][0]
		}
		return all
	}
	rest := [][2]uint64{{1, 8}, {1, 4}, {0, 4}, {0, 6}, {0, 5}, {1, 4}, {0, 4}, {0, 5}, {1, 4}, {1, 4}, {1, 4}, {1, 4}}
	ours := flags(append([][2]uint64{{1, 3}}, rest...)...)
	koa := flags(append([][2]uint64{{0, 3}, {4, 6}, {2, 4}, {0, 2}}, rest...)...)
	for bit := range 13 {
		for _, other := range []string{"old", "/", "/a/", ".Example.com", "koa.sid.next", "x\r\ny"} {
			f.Add("koa.sid", "koa:sess:", "/", "", string(testKey), string(otherKey), int64(time.Hour), int64(24*time.Hour), int64(0), ours, other, int64(10*time.Minute), uint64(1)<<bit)
			f.Add("koss:test_sid", "", "/a", "", string(testKey), string(otherKey), int64(0), int64(0), int64(time.Hour), koa, other, int64(1<<20), uint64(1)<<bit)
		}
	}
	f.Fuzz(func(t *testing.T, name, prefix, path, domain, first, second string, idle, absolute, age int64, flags uint64, other string, renew int64, more uint64) {
		next := func(n uint64) uint64 { v := flags % n; flags /= n; return v }
		o := &core.Options{}
		if next(3) == 0 {
			o = core.KoaCompat()
			o.Koa.Algorithm = []string{"", "sha1", "sha256", "sha384", "sha512", "md5"}[next(6)]
			o.Koa.Encoding = []string{"", "base64", "hex", "x"}[next(4)]
			o.Rolling = next(2) == 1
		}
		o.Name, o.Prefix, o.NoPrefix = name, prefix, next(8) == 0
		o.Cookie = core.CookieOptions{
			Path: path, Domain: domain, MaxAge: time.Duration(age), Secure: core.Switch(next(4)), HTTPOnly: core.Switch(next(4)), SameSite: core.SameSite(next(6)),
			Priority: core.Priority(next(5)), Partitioned: next(4) == 0, Overwrite: core.Switch(next(4)), Signed: core.Switch(next(5)),
		}
		if next(4) == 0 {
			o.Cookie.MaxAge = core.UntilBrowserCloses
		}
		o.IdleTimeout, o.AbsoluteTimeout = time.Duration(idle), time.Duration(absolute)
		o.Keys = core.Keyring{[]byte(first)}
		if until := time.Now().Add(time.Hour); next(4) == 0 {
			o.Migrate = core.Migration{Keys: core.Keyring{[]byte(second)}, Until: until}
		} else if next(4) == 0 {
			o.Seal = core.Sealing{Keys: core.Keyring{[]byte(second)}, OpenOnly: next(2) == 0, UnsealedUntil: until}
		} else if next(4) == 0 {
			o.UnderivedUntil = until
		}
		o.InsecureShortKeys = o.InsecureShortKeys || next(4) == 0
		o.InsecureAllowHTTP = true
		o.OnConflict = core.ConflictPolicy(next(5))
		o.Defer, o.AllowEmpty = next(2) == 1, next(2) == 1
		given := func(bit int) bool { return more>>bit&1 == 1 }
		if given(0) {
			o.RenewAfter = time.Duration(renew)
		}
		if given(1) {
			o.RenewGrace = time.Duration(renew)
		}
		if given(2) {
			o.RememberFor = time.Duration(renew)
		}
		if given(3) {
			o.TouchEvery = time.Duration(renew)
		}
		o.Owners = given(4)
		if given(5) {
			o.FormerNames = []string{other}
		}
		if given(6) {
			o.Domains = []string{other, "example.com"}
		}
		if given(7) {
			o.FormerCookies = append(o.FormerCookies, core.CookieOptions{Path: other})
		}
		if given(8) {
			o.FormerCookies = append(o.FormerCookies, core.CookieOptions{Domain: other})
		}
		if given(9) {
			o.Koa.ValidID = func(string) bool { return true }
		}
		if given(10) {
			o.MaxSize = int(renew)
		}
		o.ResetUnknown, o.InsecureSharedCache = given(11), given(12)
		store := memorystore.New(nil)
		defer store.Close()
		m, err := core.New(store, o)
		if err != nil {
			for _, key := range []string{first, second} {
				if len(key) >= 8 && strings.Contains(err.Error(), key) && !strings.Contains(name+prefix+path+domain+other, key) {
					t.Errorf("a key is in the message: %v", err)
				}
			}
			return
		}
		defer m.Close()
		// Browsers send the cookie to its path, over TLS.
		at := path
		if at == "" {
			at = "/"
		}
		host := textproto.MIMEHeader{"Host": {"www.example.com"}}
		var pairs []string
		for visit := 1; visit <= 2; visit++ {
			jar := &jartest.Jar{Target: at, TLS: true, Request: host}
			if len(pairs) > 0 {
				jar.Cookies = []string{strings.Join(pairs, "; ")}
			}
			e := serve(t, m, jar, count(t))
			if err := e.err(); err != nil {
				t.Fatalf("New accepts it, visit %d: %v", visit, err)
			}
			if len(jar.SetCookies) == 0 {
				t.Fatalf("no cookie at visit %d", visit)
			}
			pairs = nil
			for _, line := range jar.SetCookies {
				if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
					t.Fatalf("the line %q", line)
				}
				if pair, _, _ := strings.Cut(line, ";"); !strings.HasSuffix(pair, "=") { // no removal of a former scope
					pairs = append(pairs, pair)
				}
			}
		}
		jar := &jartest.Jar{Target: at, TLS: true, Request: host, Cookies: []string{strings.Join(pairs, "; ")}}
		e := serve(t, m, jar, func(_ *core.Visit, s *core.Session) {
			if got := visits.Get(s); got != 2 {
				t.Errorf("%d visits of 2: what was stored is not found again", got)
			}
		})
		if err := e.err(); err != nil {
			t.Error(err)
		}
	})
}
