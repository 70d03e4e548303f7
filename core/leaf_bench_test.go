package core

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// Benchmarks of what every request passes through.

// benchRecord is a record of about size bytes with that many values.
func benchRecord(b *testing.B, m *Manager, key string, size, n int) []byte {
	b.Helper()
	r := record{created: 1_700_000_000_000}
	var members []member
	each := (size-80)/n - len(`"value000":"",`)
	for i := range n {
		members = append(members, member{Name: fmt.Appendf(nil, "value%03d", i), Raw: jsontext.AppendString(nil, strings.Repeat("x", each))})
	}
	r.fields = listed(members)
	data, err := r.payload(key, m)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

func benchManager() *Manager { return &Manager{o: Options{MaxSize: 1 << 20}, dialect: dialect{}} }

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
				keys = append(keys, bytes.Repeat([]byte{byte(i)}, 32))
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

// benchSizes are an ordinary session and a big one.
var benchSizes = []struct {
	name         string
	bytes, count int
}{{"size=250/values=4", 250, 4}, {"size=16KiB/values=200", 16 << 10, 200}}

func BenchmarkParseRecord(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			data := benchRecord(b, benchManager(), "key", size.bytes, size.count)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if r, err := parseRecord(data, "key", false); err != nil || r.buf == nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParseAny reads a record that somebody else has written.
func BenchmarkParseAny(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			data := benchRecord(b, benchManager(), "key", size.bytes, size.count)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if r, err := parseAny(data, "key", false); err != nil || len(r.found.all()) != size.count {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeRecord(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			m := benchManager()
			data := benchRecord(b, m, "key", size.bytes, size.count)
			r, err := parseRecord(data, "key", false)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if out, err := r.payload("key", m); err != nil || len(out) != len(data) {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOwnOptions reads the cookie object that every session of KoaCompat
// has.
func BenchmarkOwnOptions(b *testing.B) {
	config := CookieOptions{Path: "/", MaxAge: DefaultMaxAge, HTTPOnly: On, SameSite: SameSiteUnset, Overwrite: On, Signed: On}
	own := koaCookie(CookieOptions{}, config)
	b.ReportAllocs()
	for b.Loop() {
		if ownOptions(config, own, nil) != config {
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
