package core

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
	"github.com/gensession/gensession/core/internal/record"
)

func TestRecordTooLarge(t *testing.T) {
	t.Parallel()
	m := &Manager{o: Options{MaxSize: 1 << 20}}
	r := record.Record{Fields: record.Listed([]jsontext.Member{{Name: []byte("a"), Raw: jsontext.AppendString(nil, strings.Repeat("x", 1000))}})}
	text, err := m.encode(&r, "key")
	if err != nil {
		t.Fatal(err)
	}
	m.o.MaxSize = len(text) - len("key")
	if _, err := m.encode(&r, "key"); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	m.o.MaxSize--
	if _, err := m.encode(&r, "key"); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "Options.MaxSize") {
		t.Errorf("a byte over the limit: %v", err)
	}
}

// Many changes of a record whose checksum is right by accident are its error.
func TestManyChangesOfNoJSON(t *testing.T) {
	t.Parallel()
	const rest = `,"a":[}`
	sum := crc32.Checksum([]byte(rest), crc32.MakeTable(crc32.Castagnoli))
	var r record.Record
	err := r.Parse(fmt.Appendf(nil, `{"_gs":{"v":1,"k":"key","c":1,"s":"%08x"}%s`, sum, rest), "key", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := changeSet{}
	for i := range record.Few + 1 {
		c.values = append(c.values, valueChange{name: fmt.Sprint("n", i), raw: []byte("1")})
	}
	if _, err := c.applied(r, "key", false); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// storedCookies are the stored cookie options of sessions, and the demands.
var storedCookies = [][2]string{
	{`{"maxAge":1.5,"expires":"2026-01-01T00:00:00.000Z","path":"/a"}`, `{"s":2,"h":1,"x":9,"a":-1}`},
	{`{"domain":"a;b","sameSite":true,"priority":"HIGH","maxAge":1e-9,"httpOnly":false,"secure":true,"partitioned":true}`, `{}`},
	{`{"maxAge":1000,"path":"/a; secure","sameSite":"none","expires":"9999-12-31T23:59:59.999Z"}`, `{"s":1,"h":1,"x":1,"a":86400000}`},
	{`{"maxAge":null,"path":"/\r\n","domain":"example.com","expires":null}`, `null`},
}

// checkStoredCookie: the cookie options of a record are harmless, whatever they
// say.
func checkStoredCookie(t *testing.T, cookie, demands []byte) {
	t.Helper()
	data := fmt.Appendf(nil, `{"_gs":{"v":1,"k":"key","c":1700000000000,"d":%s},"cookie":%s}`, demands, cookie)
	for _, koa := range []bool{false, true} {
		m := &Manager{dialect: dialect{koa: koa}}
		var r record.Record
		if err := m.dialect.parse(&r, data, "key"); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%q: %v", data, err)
			}
			continue
		}
		c := dialect{}.withOwn(complete(CookieOptions{}), r.Cookie)
		checkLine(t, &c, "koa.sid", "id")
		if ttl, over := m.ttl(nil, c, r.Cookie, r.Created, time.Now()); !over && ttl <= 0 {
			t.Fatalf("%q lives %v", data, ttl)
		}
	}
}

// TestK25StoredMutated: whatever a store says of cookies is harmless.
func TestK25StoredMutated(t *testing.T) {
	t.Parallel()
	const near = `{}[]",:\u0123456789eE+-.truefalsnl;/ ` + "\x00\xff\n"
	random := rand.New(rand.NewPCG(5, 6))
	for i := range 50_000 {
		b := []byte(storedCookies[i%len(storedCookies)][0])
		for range 1 + random.IntN(4) {
			b[random.IntN(len(b))] = near[random.IntN(len(near))]
		}
		checkStoredCookie(t, b, []byte(storedCookies[i%len(storedCookies)][1]))
	}
}

func FuzzStoredOptions(f *testing.F) {
	for _, c := range storedCookies {
		f.Add([]byte(c[0]), []byte(c[1]))
	}
	f.Fuzz(checkStoredCookie)
}

// checkLine holds the Set-Cookie line of any usable options to what K2 and K9
// promise.
func checkLine(t *testing.T, c *CookieOptions, name, value string) {
	t.Helper()
	now := time.UnixMilli(1_700_000_000_000)
	for _, secure := range []bool{false, true} {
		line := string(c.appendCookie(nil, name, value, c.expiry(now), secure))
		for i := range len(line) {
			if line[i] < ' ' || line[i] >= 0x7f {
				t.Fatalf("a byte %#x in %q", line[i], line)
			}
		}
		parts := strings.Split(line, "; ")
		if strings.Count(line, ";") != len(parts)-1 || parts[0] != name+"="+value {
			t.Fatalf("%q", line)
		}
		order := []string{"path=", "expires=", "domain=", "priority=", "samesite=", "secure", "httponly", "partitioned"}
		last := -1
		for _, p := range parts[1:] {
			at := slices.IndexFunc(order, func(o string) bool { return strings.HasPrefix(p, o) })
			if at <= last {
				t.Fatalf("%q: attribute %q is unknown, twice, or in the wrong place", line, p)
			}
			last = at
		}
	}
}
