package core

import (
	"strings"
	"testing"
	"time"
)

// Benchmarks of what every request passes through.

func BenchmarkParseCookies(b *testing.B) {
	pair := "koa.sid=" + strings.Repeat("x", 32) + "; koa.sid.sig=" + strings.Repeat("y", 43)
	for name, field := range map[string]string{
		"pair":      pair,
		"among=10":  strings.Repeat("_ga=GA1.2.1234567890.1700000000; ", 10) + pair,
		"bomb=1MiB": strings.Repeat("koa.sid=x; ", 1<<20/11),
	} {
		b.Run("field="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ids, _ := parseCookies(field, "koa.sid")
				if (ids.n == 0) != strings.HasPrefix(name, "bomb") {
					b.Fatal("wrong result")
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, bench := range []struct {
		name string
		keys int
		sha1 bool
	}{{"sha256/keys=1", 1, false}, {"sha256/keys=8", 8, false}, {"sha1/keys=1", 1, true}} {
		b.Run(bench.name, func(b *testing.B) {
			var keys [][]byte
			for i := range bench.keys {
				keys = append(keys, key32(byte(i)))
			}
			ring, err := newKeyring(keys, bench.sha1, false)
			if err != nil {
				b.Fatal(err)
			}
			id := string(newID())
			sig := string(ring.macs[bench.keys-1].append(nil, "koa.sid", id))
			b.ReportAllocs()
			for b.Loop() {
				if ring.verify("koa.sid", id, sig) != bench.keys-1 {
					b.Fatal("not verified")
				}
			}
		})
	}
}

func BenchmarkHashedKey(b *testing.B) {
	id := newID()
	b.ReportAllocs()
	for b.Loop() {
		if len(hashedKey("koa:sess:", id)) != 52 {
			b.Fatal("wrong key")
		}
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if len(newID()) != 32 {
			b.Fatal("wrong id")
		}
	}
}

// BenchmarkOwnOptions reads the cookie object that every session of KoaCompat
// has.
func BenchmarkOwnOptions(b *testing.B) {
	config := CookieOptions{Path: "/", MaxAge: DefaultMaxAge, HTTPOnly: On, SameSite: SameSiteUnset, Overwrite: On, Signed: On}
	own := koaCookie(CookieOptions{}, config)
	b.ReportAllocs()
	for b.Loop() {
		if ownOptions(config, own, nil, 0) != config {
			b.Fatal("wrong options")
		}
	}
}

func BenchmarkAppendCookie(b *testing.B) {
	c := CookieOptions{Path: "/", MaxAge: DefaultMaxAge, HTTPOnly: On, SameSite: SameSiteLax}
	expires := time.UnixMilli(1_700_000_000_000)
	line := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if line = c.appendCookie(line[:0], "koa.sid", "0123456789abcdef0123456789abcdef", expires, true); len(line) < 100 {
			b.Fatal("wrong line")
		}
	}
}
