package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// recordText is a record under key with more members, as text.
func recordText(key, more string) string {
	return `{"_gs":{"v":1,"k":"` + keyMark(key) + `","c":1700000000000}` + more + `}`
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	const created = 1_767_225_600_123
	for _, r := range []record{
		{created: created},
		{created: created, fields: listed([]member{{Name: []byte("a"), Raw: []byte(`1`)}, {Name: []byte("b<>\u2028é\""), Raw: []byte(`{"c": [ ]}`)}, {Name: nil, Raw: []byte("null")}})},
		{created: created, own: &ownCookie{}},
		{created: created, own: &ownCookie{then: &demands{}}},
		{created: created, own: &ownCookie{members: []member{{Name: []byte("maxAge"), Raw: []byte("1000")}}, then: &demands{Secure: On, HTTPOnly: Off, SameSite: SameSiteNone, MaxAge: 1}}},
		{created: -1},
	} {
		data, err := r.payload("key", benchManager())
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(data) || cap(data) == 0 {
			t.Errorf("no JSON: %s", data)
		}
		back, err := parseRecord(data, "key", false)
		if err != nil {
			t.Errorf("%s: %v", data, err)
		}
		same := func(a, b member) bool { return bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Raw, b.Raw) }
		if !slices.EqualFunc(membersIn(t, back), membersIn(t, r), same) || !slices.EqualFunc(back.own.all(), r.own.all(), same) ||
			(back.own == nil) != (r.own == nil) || back.created != r.created ||
			r.own != nil && ((back.own.then == nil) != (r.own.then == nil) || r.own.then != nil && *back.own.then != *r.own.then) {
			t.Errorf("%s became %+v", data, back)
		}
		again, err := back.payload("key", benchManager())
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("written again: %s, %v; was %s", again, err, data)
		}
	}
}

// TestK38Koa: the JSON of the original, written back as it was.
func TestK38Koa(t *testing.T) {
	t.Parallel()
	m := benchManager()
	m.dialect = dialect{koa: true}
	for text, want := range map[string]string{
		`{}`: `{}`,
		`{"cookie":{"httpOnly":true,"path":"/","maxAge":86400000},"count":1,"_gs":{"v":9},"html":"<&>` + "\u2028" + `"}`: "",
		`{"count":1,"cookie":{}}`:                       `{"cookie":{},"count":1}`, // cookie first
		`{"cookie":null,"a":1}`:                         `{"a":1}`,
		`{ "a" : [ 1.0 , "\u003c" ] }`:                  `{"a":[ 1.0 , "\u003c" ]}`, // a value that nobody touched stays as it is
		`{"\u0061\u00e9":1}`:                            `{"aé":1}`,
		`{"cookie":{"expires":"2026-01-01T00:00:00Z"}}`: "",
	} {
		if want == "" {
			want = text
		}
		r, err := parseRecord([]byte(text), "any key", true)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := r.payload("any key", m)
		if err != nil || string(got) != want {
			t.Errorf("%s became %s, %v", text, got, err)
		}
	}
}

func TestK39Corrupt(t *testing.T) {
	t.Parallel()
	key := hashedKey("koa:sess:", "an id")
	hash := keyMark(key)
	meta := func(s string) string { return `{"_gs":` + s + `,"secret":"canary"}` }
	for _, text := range []string{
		``, `null`, `[]`, `1`, `"canary"`, `{`, `canary`, `{"canary":`, "\x80\x04canary", "\ufeff" + recordText(key, ""), recordText(key, "") + "x",
		`{}`, `{"canary":1}`, recordText(key, `,"cookie":[]`), recordText(key, `,"cookie":"canary"`), recordText(key, `,"cookie":1`),
		meta(`null`), meta(`[]`), meta(`{}`), meta(`"canary"`), meta(`{"v":1}`), meta(`{"v":1,"k":1}`), meta(`{"v":1,"k":null}`), meta(`{"v":1,"k":"é"}`),
		meta(`{"v":0,"k":"` + hash + `"}`), meta(`{"v":2,"k":"` + hash + `"}`), meta(`{"v":"1","k":"` + hash + `"}`), meta(`{"v":1.5,"k":"` + hash + `"}`), meta(`{"v":null,"k":"` + hash + `"}`),
		meta(`{"v":1,"k":"` + hash + `","c":"canary"}`), meta(`{"v":1,"k":"` + hash + `","c":1.5}`), meta(`{"v":1,"k":"` + hash + `","c":1e400}`),
		meta(`{"v":1,"k":"` + hash + `","c":1,"d":[]}`), meta(`{"v":1,"k":"` + hash + `","c":1,"d":{"s":-1}}`), meta(`{"v":1,"k":"` + hash + `","c":1,"d":{"s":"canary"}}`), meta(`{"v":1,"k":"` + hash + `","c":1,"d":{"s":256}}`),
		`{"_gs":{"v":1,"k":"` + hash + `","c":1},"a":1,"_gs":{}}`,        // the later one counts
		`{"_gs":{"v":1,"k":"` + hash + `","c":1},"a":1,"\u005fgs":null}`, // in whatever spelling
	} {
		r, err := parseRecord([]byte(text), key, false)
		switch {
		case !errors.Is(err, ErrCorrupt):
			t.Errorf("%s: %v, %+v", text, err, r)
		case strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), hash):
			t.Errorf("the error quotes the record: %v", err)
		case err == errForeign:
			t.Errorf("%s counts as another key's", text)
		}
	}
	for _, text := range []string{``, `null`, `[]`, `"x"`, `{"a":}`, `{"cookie":[]}`, `{"cookie":"x"}`} {
		if _, err := parseRecord([]byte(text), "key", true); !errors.Is(err, ErrCorrupt) {
			t.Errorf("koa: %s: %v", text, err)
		}
	}
}

// TestRecordOfAnotherKey is requirement 42.
func TestRecordOfAnotherKey(t *testing.T) {
	t.Parallel()
	data := []byte(recordText("key", `,"a":1`))
	if _, err := parseRecord(data, "key", false); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "kez", "key ", "koa:sess:key"} {
		if _, err := parseRecord(data, key, false); err != errForeign {
			t.Errorf("under %q: %v", key, err)
		}
	}
}

func TestRecordTooLarge(t *testing.T) {
	t.Parallel()
	m := benchManager()
	r := record{fields: listed([]member{{Name: []byte("a"), Raw: jsontext.AppendString(nil, strings.Repeat("x", 1000))}})}
	data, err := r.payload("key", m)
	if err != nil {
		t.Fatal(err)
	}
	m.o.MaxSize = len(data)
	if _, err := r.payload("key", m); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	m.o.MaxSize = len(data) - 1
	if _, err := r.payload("key", m); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "Options.MaxSize") {
		t.Errorf("a byte over the limit: %v", err)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	text := func(ms []member) string { return string(appendMembers([]byte{'{'}, ms)) + "}" }
	ms, _ := jsontext.ParseObject([]byte(`{"a":1,"b":2,"c":3}`), nil)
	if got := string(find(ms, "b")); got != "2" || find(ms, "B") != nil || find(nil, "a") != nil {
		t.Errorf("find b: %s", got)
	}
	ms = put(ms, "b", []byte("9"))
	ms = put(ms, "d", []byte("4"))
	ms = drop(ms, "a")
	ms = drop(ms, "x")
	if got := text(ms); got != `{"b":9,"c":3,"d":4}` {
		t.Error(got)
	}
	for name, want := range map[string]bool{"cookie": true, "_gs": true, "Cookie": false, "": false, "_gs2": false} {
		if reserved(name) != want {
			t.Errorf("reserved(%q) = %v", name, !want)
		}
	}
}

// TestRecordMutated is requirement 45: whatever the store returns, at worst it
// is ErrCorrupt.
func TestRecordMutated(t *testing.T) {
	t.Parallel()
	const n = 100_000
	seeds := []string{
		recordText("key", ``),
		recordText("key", `,"cookie":{"maxAge":1000,"path":"/a","sameSite":"none","expires":"2026-01-01T00:00:00.000Z"},"user":"ada","n":[1,2.5e3,{"x":null}],"é":"\u2028"`),
		fmt.Sprintf(`{"_gs":{"v":1,"k":"%s","c":1700000000000,"d":{"s":1,"h":1,"x":1,"a":86400000}},"a":true}`, keyMark("key")),
	}
	const near = `{}[]",:\u0123456789eE+-.truefalsnl` + "\x00\xff \n"
	random := rand.New(rand.NewPCG(3, 4))
	good := 0
	for i := range n {
		b := []byte(seeds[i%len(seeds)])
		for range 1 + random.IntN(4) {
			at := random.IntN(len(b))
			switch random.IntN(5) {
			case 0:
				b[at] = near[random.IntN(len(near))]
			case 1:
				b = slices.Delete(b, at, min(len(b), at+1+random.IntN(8)))
			case 2:
				b = slices.Insert(b, at, near[random.IntN(len(near))])
			case 3:
				b = b[:at]
			case 4:
				b = slices.Insert(b, at, b[random.IntN(at+1):at]...)
			}
			if len(b) == 0 {
				break
			}
		}
		checkRecord(t, b, i%2 == 0)
		if _, err := parseRecord(b, "key", false); err == nil {
			good++
		}
	}
	if good == 0 || good == n {
		t.Errorf("%d of %d are good: the mutations are worthless", good, n)
	}
}

// membersIn are the values of r.
func membersIn(t *testing.T, r record) []member {
	t.Helper()
	members, err := r.all()
	if err != nil {
		t.Fatal(err)
	}
	return members
}

// checkRecord holds parseRecord to its promises on any bytes.
func checkRecord(t *testing.T, data []byte, koa bool) {
	t.Helper()
	before := bytes.Clone(data)
	r, err := parseRecord(data, "key", koa)
	if !bytes.Equal(before, data) {
		t.Fatalf("the data was changed: %q", before)
	}
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%q: %v", data, err)
		}
		return
	}
	if !json.Valid(data) {
		t.Fatalf("%q is no JSON", data)
	}
	m := benchManager()
	m.dialect = dialect{koa: koa}
	// Its cookie options must be harmless, whatever they say.
	c := r.own.over(complete(CookieOptions{}))
	checkLine(t, &c, "koa.sid", "id")
	if ttl, over := m.ttl(nil, c, r.created, time.Now()); !over && ttl <= 0 {
		t.Fatalf("%q lives %v", data, ttl)
	}

	out, err := r.payload("key", m)
	if err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	again, err := parseRecord(out, "key", koa)
	if err != nil {
		t.Fatalf("%q was written as %q: %v", data, out, err)
	}
	same := func(a, b member) bool { return bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Raw, b.Raw) }
	if !slices.EqualFunc(membersIn(t, r), membersIn(t, again), same) || !slices.EqualFunc(r.own.all(), again.own.all(), same) || r.created != again.created {
		t.Fatalf("%q was written as %q", data, out)
	}
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

// payload is what a store gets of encode's text.
func (r *record) payload(key string, m *Manager) ([]byte, error) {
	text, err := r.encode(key, m)
	if err != nil {
		return nil, err
	}
	if string(text[:len(key)]) != key {
		return nil, errors.New("the key does not stand in front")
	}
	return text[len(key):], nil
}

// TestEncodeDepth: what goes into a record must come out of it again.
func TestEncodeDepth(t *testing.T) {
	t.Parallel()
	deep := func(n int) any {
		var v any
		for range n {
			v = []any{v}
		}
		return v
	}
	raw, err := jsontext.Encode(deep(jsontext.MaxDepth - 1))
	if err != nil {
		t.Fatal(err)
	}
	r := record{fields: listed([]jsontext.Member{{Name: []byte("deep"), Raw: raw}})}
	data, err := r.payload("key", benchManager())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseAny(data, "key", false); err != nil {
		t.Errorf("the deepest value that is taken makes a record unreadable: %v", err)
	}
	if _, err := jsontext.Decode[any](raw); err != nil {
		t.Error(err)
	}
	for _, n := range []int{jsontext.MaxDepth, jsontext.MaxDepth + 1, 2 * jsontext.MaxDepth} {
		if _, err := jsontext.Encode(deep(n)); err == nil {
			t.Errorf("%d levels are taken", n)
		}
	}
	if _, err := jsontext.Encode(json.RawMessage(strings.Repeat("[", jsontext.MaxDepth) + strings.Repeat("]", jsontext.MaxDepth))); err == nil {
		t.Error("a raw value of 10,000 levels is taken")
	}
	if _, err := jsontext.Encode(strings.Repeat("[", 3*jsontext.MaxDepth)); err != nil {
		t.Errorf("brackets in a string: %v", err)
	}
	if _, err := jsontext.Encode([]string{strings.Repeat("[", 3*jsontext.MaxDepth)}); err != nil {
		t.Errorf("brackets in a string: %v", err)
	}
}
