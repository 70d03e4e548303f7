package core

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
	"github.com/gensession/gensession/core/internal/record"
)

// simpleCookies is parseCookies, written to be obviously right.
func simpleCookies(field, name string) (ids, sigs []string) {
	pairs := strings.Split(field, ";")
	if field == "" || len(field) > 16384 || len(pairs) > 201 || len(pairs) == 201 && pairs[200] != "" {
		return nil, nil
	}
	const blanks = " \t"
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		key, value = strings.Trim(key, blanks), strings.Trim(value, blanks)
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		switch {
		case ok && key == name:
			ids = append(ids, value)
		case ok && key == name+".sig":
			sigs = append(sigs, value)
		}
	}
	if len(ids) > 4 || len(sigs) > 4 {
		return nil, nil
	}
	return ids, sigs
}

func FuzzCookieField(f *testing.F) {
	for _, field := range []string{
		"", "koa.sid=a; koa.sid.sig=b", " koa.sid = \" a \" ;koa.sid.sig=\t\"b\"", "koa.sid=a;koa.sid=b;koa.sid=c;koa.sid=d;koa.sid=e",
		`koa.sid="`, `koa.sid="""`, "koa.sid", "koa.sid.sig", "koa.sid.sig.sig=a", "koa.sid\x00=a", "x=koa.sid=a", "=a; =; ;;", "koa.sid\t\t=\t=\t",
		strings.Repeat("koa.sid=a;", 199) + "koa.sid.sig=b", strings.Repeat(";", 200), strings.Repeat(";", 201), strings.Repeat("x", 16384), "\xff\xfe=koa.sid",
	} {
		f.Add(field, "koa.sid")
	}
	f.Add("a=1; a.sig=2; a.sig.sig=3", "a.sig")
	f.Add("koss:test_sid=a; koss:test_sid.sig=b", "koss:test_sid")
	text, err := os.ReadFile("../internal/cookiefields/recorded.json")
	if err != nil {
		f.Fatal(err)
	}
	var recorded struct {
		Fields []struct {
			Name   string
			Fields [][]any
		}
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		f.Fatal(err)
	}
	for _, group := range recorded.Fields {
		for _, row := range group.Fields {
			if field, ok := row[0].(string); ok { // not one of the long ones
				f.Add(field, group.Name)
			}
		}
	}
	f.Fuzz(func(t *testing.T, field, name string) {
		if name == "" || checkName(name) != nil {
			return
		}
		ids, sigs := parseCookies(field, name)
		wantIDs, wantSigs := simpleCookies(field, name)
		if !slices.Equal(found(ids), wantIDs) && len(found(ids))+len(wantIDs) > 0 || !slices.Equal(found(sigs), wantSigs) && len(found(sigs))+len(wantSigs) > 0 {
			t.Errorf("%q in %q: %q and %q, want %q and %q", name, field, found(ids), found(sigs), wantIDs, wantSigs)
		}
		for _, v := range append(found(ids), found(sigs)...) {
			if !strings.Contains(field, v) {
				t.Errorf("%q is no part of %q", v, field)
			}
		}
		// What is read must not depend on what stands before or behind it.
		id := newID()
		pair := name + "=" + string(id) + "; " + name + ".sig=" + string(id)
		for _, whole := range []string{pair, "x" + name + "=y; " + pair, pair + "; x" + name + "=y"} {
			ids, sigs := parseCookies(whole, name)
			if !slices.Equal(found(ids), []string{string(id)}) || !slices.Equal(found(sigs), []string{string(id)}) {
				t.Errorf("%q in %q: %q and %q", name, whole, found(ids), found(sigs))
			}
		}
	})
}

func FuzzSetCookie(f *testing.F) {
	f.Add("koa.sid", "0123456789abcdef", "/", "", int64(86400e9), int64(0), uint64(0))
	f.Add("__Host-sid", "a", "/", "", int64(1e6), int64(1767225600000), uint64(0x0141))
	f.Add("koss:test_sid", "-_", "/a/b", ".example.com", int64(0), int64(-11644473600000), uint64(0xffff))
	f.Add("x\r\nSet-Cookie: a", "b;c", "/\r\n", "a; b", int64(-1), int64(math.MaxInt64), uint64(1<<40))
	f.Add("a", "b", "/;", "example.com\x00", int64(math.MaxInt64), int64(253402300799999), uint64(0x1210))
	f.Fuzz(func(t *testing.T, name, value, path, domain string, maxAge, expires int64, flags uint64) {
		next := func(n uint64) uint64 { v := flags % n; flags /= n; return v }
		given := CookieOptions{
			Path: path, Domain: domain, MaxAge: time.Duration(maxAge),
			HTTPOnly: Switch(next(4)), Secure: Switch(next(4)), SameSite: SameSite(next(6)), Priority: Priority(next(5)),
			Partitioned: next(2) == 1, Overwrite: Switch(next(4)), Signed: Switch(next(4)),
		}
		if expires != 0 {
			given.Expires = time.UnixMilli(expires)
		}
		c := complete(given)
		if name == "" || checkName(name) != nil || c.check(name) != nil || !ID(value).shaped() {
			return
		}
		checkLine(t, &c, name, value)
		now := time.UnixMilli(1_700_000_000_000)
		secure := c.Secure == On
		line := string(c.appendCookie(nil, name, value, c.expiry(now), secure))

		// One cookie, one line: what the browser sends back is what we read.
		ids, _ := parseCookies(strings.SplitN(line, ";", 2)[0], name)
		if !slices.Equal(found(ids), []string{value}) {
			t.Errorf("%q is read back as %q", line, found(ids))
		}
		if len(name)+len(value) > 4096 {
			t.Errorf("%d bytes", len(name)+len(value))
		}

		parsed, err := http.ParseSetCookie(line)
		if err != nil {
			if !token(name) { // names such as "a:b", which browsers take
				return
			}
			t.Fatalf("net/http can't read %q: %v", line, err)
		}
		sameSite := map[SameSite]http.SameSite{SameSiteUnset: 0, SameSiteLax: http.SameSiteLaxMode, SameSiteStrict: http.SameSiteStrictMode, SameSiteNone: http.SameSiteNoneMode}
		if parsed.Name != name || parsed.Value != value || parsed.Path != c.Path || parsed.Domain != c.Domain || parsed.MaxAge != 0 ||
			parsed.Secure != secure || parsed.HttpOnly != (c.HTTPOnly == On) || parsed.Partitioned != c.Partitioned || parsed.SameSite != sameSite[c.SameSite] {
			t.Errorf("%q from %+v: %+v", line, c, parsed)
		}
		if want := c.expiry(now); want.IsZero() != parsed.Expires.IsZero() || !want.IsZero() && !parsed.Expires.Equal(want.Truncate(time.Second)) {
			t.Errorf("%q expires %v, want %v", line, parsed.Expires, want)
		}
		if len(parsed.Unparsed) > 1 || len(parsed.Unparsed) == 1 && !strings.HasPrefix(parsed.Unparsed[0], "priority=") {
			t.Errorf("attributes that nobody knows: %q", parsed.Unparsed)
		}
		// What a session stores of these options, it reads back.
		if own := ownOptions(complete(CookieOptions{}), storeOptions(complete(CookieOptions{}), c, nil, dialect{}), nil, 0); own.appendable() != c.appendable() {
			t.Errorf("stored and read:\n%+v\n%+v", own, c)
		}
	})
}

// appendable leaves out what is stored less exactly: MaxAge to the millisecond.
func (c CookieOptions) appendable() CookieOptions {
	c.MaxAge = c.MaxAge.Truncate(time.Millisecond)
	if c.Secure == Default {
		c.Secure = Off
	}
	return c
}

// token is what net/http allows as a cookie's name.
func token(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return strings.ContainsRune("()<>@,;:\\\"/[]?={} \t", r) })
}

func FuzzSignature(f *testing.F) {
	f.Add("koa.sid", "seeded", []byte("keys"), []byte{0}, "34Caw-ta-vPGVbrG5wkOhvc1U_4", 3, byte(1))
	f.Add("a", "", bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 64), "", 0, byte(0x80))
	f.Add("n=", "=v", bytes.Repeat([]byte{0}, 200), []byte("x"), strings.Repeat("A", 43), 40, byte(0xff))
	f.Fuzz(func(t *testing.T, name, value string, first, second []byte, junk string, at int, flip byte) {
		if len(first) == 0 || len(second) == 0 {
			return
		}
		// Ours, and each form of keygrip's.
		schemes := []KoaOptions{{}}
		for _, algorithm := range []string{"sha1", "sha256", "sha384", "sha512"} {
			schemes = append(schemes, KoaOptions{Algorithm: algorithm, Encoding: "base64"}, KoaOptions{Algorithm: algorithm, Encoding: "hex"})
		}
		sums := map[string]func() hash.Hash{"sha1": sha1.New, "": sha256.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}
		for _, scheme := range schemes {
			koa := scheme.Algorithm != ""
			r := new(keyring)
			if err := (&Options{Name: "koa.sid", Koa: scheme}).sign(r, koa, Keyring{first, second}, time.Time{}); err != nil {
				t.Fatal(err)
			}
			first, second := first, second
			if !koa {
				first, second = derived(first), derived(second)
			}
			directly := func(key []byte, text string) string {
				m := hmac.New(sums[scheme.Algorithm], key)
				m.Write([]byte(text))
				if scheme.Encoding == "hex" {
					return hex.EncodeToString(m.Sum(nil))
				}
				return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
			}
			sig := string(r.sign(nil, name, value))
			if want := directly(first, name+"="+value); sig != want {
				t.Fatalf("signature %q, want %q", sig, want)
			}
			if got := r.verify(name, value, sig); got != 0 {
				t.Fatalf("the first key's signature is of key %d", got)
			}
			other := directly(second, name+"="+value)
			if got := r.verify(name, value, other); got != 1 && other != sig {
				t.Fatalf("the second key's signature is of key %d", got)
			}
			if junk != sig && junk != other && r.verify(name, value, junk) != -1 {
				t.Fatalf("%q is taken for a signature", junk)
			}
			if flip == 0 {
				continue
			}
			changed := func(s string) string {
				b := []byte(s)
				b[uint(at)%uint(len(b))] ^= flip
				return string(b)
			}
			if r.verify(name, value, changed(sig)) != -1 {
				t.Fatal("a changed signature is accepted")
			}
			if value != "" && r.verify(name, changed(value), sig) != -1 {
				t.Fatal("a changed value is accepted")
			}
			if name != "" && r.verify(changed(name), value, sig) != -1 {
				t.Fatal("a changed name is accepted")
			}
		}
	})
}

func FuzzID(f *testing.F) {
	for _, s := range []string{"", "a", "0123456789abcdef", string(newID()), "{slot}", "../../etc/passwd", "a b", "a\x00", "é", strings.Repeat("-", 128), strings.Repeat("_", 129), "a\r\n"} {
		f.Add(s, "koa:sess:")
	}
	f.Fuzz(func(t *testing.T, s, prefix string) {
		id := ID(s)
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		if want := s != "" && len(s) <= 128 && strings.Trim(s, alphabet) == ""; id.shaped() != want {
			t.Fatalf("shaped(%q) = %v", s, !want)
		}
		if (id.checkNew() == nil) != (id.shaped() && len(s) >= 16) {
			t.Fatalf("checkNew(%q) = %v", s, id.checkNew())
		}
		out := fmt.Sprintf("%s%v%+v%#v%q%x%d", id, id, id, id, id, id, id)
		if text, err := id.MarshalText(); err != nil || out != strings.Repeat(string(text), 7) || len(s) > 11 && strings.Contains(out, s) {
			t.Fatalf("%q prints as %q", s, out)
		}
		if !id.shaped() || len(prefix) > 100 || !keyText(prefix) {
			return
		}
		// Both keys are what a store may be given.
		for _, koa := range []bool{false, true} {
			m := &Manager{o: Options{Prefix: prefix}, dialect: dialect{koa: koa}}
			key := m.key(id)
			if len(key) > 250 || !keyText(key) || !strings.HasPrefix(key, prefix) || koa != (key == prefix+s) {
				t.Fatalf("the key of %q is %q", s, key)
			}
		}
	})
}

func FuzzTTL(f *testing.F) {
	f.Add(int64(0), int64(0), int64(0), int64(86400e9), int64(0), int64(0), byte(0))
	f.Add(int64(1), int64(-1), int64(1), int64(1), int64(1), int64(1), byte(0xff))
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(1500e6), int64(253402300799999), int64(-62135596800000), byte(0x55))
	f.Add(int64(0), int64(math.MinInt64), int64(0), int64(0), int64(math.MinInt64), int64(math.MaxInt64), byte(3))
	f.Add(int64(0), int64(0), int64(0), int64(0), int64(1_700_000_000_000), int64(0), byte(16)) // an end that has passed
	f.Add(int64(1500e6), int64(0), int64(0), int64(0), int64(0), int64(0), byte(2))             // no whole second
	f.Fuzz(func(t *testing.T, ttl, says, absolute, maxAge, expires, created int64, flags byte) {
		o := Options{InsecureNoLimit: flags&1 != 0, koa: flags&2 != 0}
		switch {
		case o.koa:
			o.TTL = time.Duration(max(ttl, 0))
			if flags&4 != 0 {
				o.TTLFunc = func(*Session) time.Duration { return time.Duration(says) }
			}
		default:
			o.IdleTimeout, o.AbsoluteTimeout = time.Duration(max(ttl, 0)), time.Duration(max(absolute, 0))
			if flags&4 != 0 {
				o.RememberFor = time.Duration(max(says, 0))
			}
		}
		// Cookie options as a record may hold them.
		own := []jsontext.Member{{Name: []byte("maxAge"), Raw: fmt.Append(nil, maxAge)}}
		if flags&8 != 0 {
			own = []jsontext.Member{{Name: []byte("maxAge"), Raw: fmt.Append(nil, float64(maxAge)/1e12)}}
		}
		if at := time.UnixMilli(expires).UTC(); flags&16 != 0 && at.Year() >= 0 && at.Year() < 12000 {
			own = append(own, jsontext.Member{Name: []byte("expires"), Raw: jsontext.AppendString(nil, at.Format(isoMillis))})
		}
		c := ownOptions(complete(CookieOptions{}), own, nil, 0)
		now := time.UnixMilli(1_767_225_600_000)

		m := &Manager{o: o, dialect: dialect{koa: o.koa}}
		var life *record.Life
		if !o.koa && flags&32 != 0 { // also numbers that nobody has stored
			life = &record.Life{Idle: says, Absolute: ttl, Renew: absolute, Closes: flags&64 != 0, Remembered: flags&128 != 0}
		}
		got, over := m.ttl(m.detached("", new(record.Record)), c, &record.Cookie{Members: own, Life: life}, created, now)
		remembered := o.RememberFor > 0 && life != nil && life.Remembered
		switch {
		case over && got != 0:
			t.Fatalf("over, and %v left", got)
		case got < 0:
			t.Fatalf("negative: %v", got)
		case got == 0 && !over && (!o.InsecureNoLimit || o.TTL != 0 || o.IdleTimeout != 0 || o.AbsoluteTimeout != 0 || c.MaxAge != UntilBrowserCloses || !c.Expires.IsZero()):
			t.Fatal("for ever, and nobody asked for it")
		case o.AbsoluteTimeout > 0 && got > o.AbsoluteTimeout && !remembered:
			t.Fatalf("%v outlives AbsoluteTimeout %v", got, o.AbsoluteTimeout)
		case remembered && got > o.RememberFor:
			t.Fatalf("%v outlives RememberFor %v", got, o.RememberFor)
		case life != nil && life.Idle > 0 && got > millis(life.Idle):
			t.Fatalf("%v outlives its own idle limit, %d ms", got, life.Idle)
		case o.koa && got%time.Second != 0 && got < math.MaxInt64-time.Second:
			t.Fatalf("%v is no whole second", got)
		}
	})
}
