package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// recordText is a record under key with more members, as text.
func recordText(key, more string) string {
	return `{"_gs":{"v":1,"k":"` + keyMark(key) + `","c":1700000000000}` + more + `}`
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	const created = 1_767_225_600_123
	some := []jsontext.Member{{Name: []byte("w"), Raw: []byte(`"ada"`)}, {Name: []byte("é\""), Raw: []byte(`{"y":[1 ,2]}`)}, {Name: nil, Raw: []byte("null")}}
	spliced, ok := Empty().Splice("a", []byte("1"), 300)
	if !ok {
		t.Fatal("not spliced")
	}
	for _, r := range []Record{
		{Created: created},
		{Created: created, Fields: Listed([]jsontext.Member{{Name: []byte("a"), Raw: []byte(`1`)}, {Name: []byte("b<>\u2028é\""), Raw: []byte(`{"c": [ ]}`)}, {Name: nil, Raw: []byte("null")}})},
		{Created: created, Cookie: &Cookie{}},
		{Created: created, Cookie: &Cookie{Demands: &Demands{}}},
		{Created: created, Cookie: &Cookie{Members: []jsontext.Member{{Name: []byte("maxAge"), Raw: []byte("1000")}}, Demands: &Demands{Secure: 1, HTTPOnly: 2, SameSite: 4, MaxAge: 1}}},
		{Created: created, Cookie: &Cookie{Life: &Life{Idle: 1000, Absolute: 2000, Renew: 3000, Closes: true, Remembered: true}}},
		{Created: created, Login: created + 1, Fence: 3, Cookie: &Cookie{Members: []jsontext.Member{{Name: []byte("path"), Raw: []byte(`"/a"`)}}, Demands: &Demands{Secure: 1}, Life: &Life{Idle: 1}}, extra: &some},
		{Created: created, Since: created + 2},
		{Created: created, Login: created + 1, Owned: AppendOwned(nil, Owned{"ada", "x", "Firefox"}), Used: created + 5},
		{Created: created, Owned: AppendOwned(nil, Owned{"ada", "x", ""}), Since: created + 2, Fence: 9, Fields: spliced, extra: &some},
		{Created: created, Owned: AppendOwned(nil, Owned{"\"]é\\", "x", "\"],["}), Used: 1, Next: "abc-_", Fields: spliced},
		{Created: created, Login: created + 1, Since: created + 2, Fence: 9, Fields: spliced},
		{Created: created, Since: created + 2, Next: "abc-_", Fields: spliced},
		{Created: created, Since: created + 2, Next: "abc-_", Moved: true, Fence: 8, extra: &some},
		{Created: -1},
		{Created: created, extra: &some, Fence: 7, Fields: spliced},
		{Created: created, extra: &some, Cookie: &Cookie{Members: []jsontext.Member{{Name: []byte("path"), Raw: []byte(`"/a"`)}}, Demands: &Demands{Secure: 1}}},
	} {
		data, err := r.payload("key", false)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(data) || cap(data) == 0 {
			t.Errorf("no JSON: %s", data)
		}
		back, err := Parse(data, "key")
		if err != nil {
			t.Errorf("%s: %v", data, err)
		}
		same := func(a, b jsontext.Member) bool { return bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Raw, b.Raw) }
		if !slices.EqualFunc(membersIn(t, back), membersIn(t, r), same) || back.Cookie.Lives() != r.Cookie.Lives() || !slices.EqualFunc(back.Cookie.All(), r.Cookie.All(), same) ||
			(back.Cookie == nil) != (r.Cookie == nil) || back.Created != r.Created ||
			r.Cookie != nil && ((back.Cookie.Demands == nil) != (r.Cookie.Demands == nil) || r.Cookie.Demands != nil && *back.Cookie.Demands != *r.Cookie.Demands) ||
			back.Fence != r.Fence || back.Login != r.Login || back.Since != r.Since || !bytes.Equal(back.Owned, r.Owned) || back.Used != r.Used || back.Next != r.Next || back.Moved != r.Moved || !slices.EqualFunc(back.unknown(), r.unknown(), same) {
			t.Errorf("%s became %+v", data, back)
		}
		again, err := back.payload("key", false)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("written again: %s, %v; was %s", again, err, data)
		}
	}
}

// TestK38Koa: the JSON of the original, written back as it was.
func TestK38Koa(t *testing.T) {
	t.Parallel()
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
		r, err := ParseKoa([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := r.payload("any key", true)
		if err != nil || string(got) != want {
			t.Errorf("%s became %s, %v", text, got, err)
		}
	}
}

func TestK39Corrupt(t *testing.T) {
	t.Parallel()
	key := "koa:sess:" + strings.Repeat("0123456789", 4) + "abc" // as long as a hash
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
		r, err := Parse([]byte(text), key)
		switch {
		case !errors.Is(err, ErrCorrupt):
			t.Errorf("%s: %v, %+v", text, err, r)
		case strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), hash):
			t.Errorf("the error quotes the record: %v", err)
		case err == ErrForeign:
			t.Errorf("%s counts as another key's", text)
		}
	}
	for _, text := range []string{``, `null`, `[]`, `"x"`, `{"a":}`, `{"cookie":[]}`, `{"cookie":"x"}`} {
		if _, err := ParseKoa([]byte(text)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("koa: %s: %v", text, err)
		}
	}
}

// TestRecordOfAnotherKey is requirement 42.
func TestRecordOfAnotherKey(t *testing.T) {
	t.Parallel()
	data := []byte(recordText("key", `,"a":1`))
	if _, err := Parse(data, "key"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "kez", "key ", "koa:sess:key"} {
		if _, err := Parse(data, key); err != ErrForeign {
			t.Errorf("under %q: %v", key, err)
		}
	}
}

func TestReserved(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"cookie": true, "_gs": true, "Cookie": false, "": false, "_gs2": false} {
		if Reserved(name) != want {
			t.Errorf("Reserved(%q) = %v", name, !want)
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
		fmt.Sprintf(`{"_gs":{"v":1,"k":"%s","c":1700000000000,"w":"ada","x":{"y":[1]},"s":"00000000"},"a":true}`, keyMark("key")),
	}
	// As this library writes it, which has a fast path.
	some := Listed([]jsontext.Member{{Name: []byte("user"), Raw: []byte(`"ada"`)}, {Name: []byte("n"), Raw: []byte(`[1,{"x":null}]`)}})
	owned := AppendOwned(nil, Owned{Owner: "ada", Serial: "1", Label: "a browser"})
	for _, r := range []Record{
		{Created: 1700000000000},
		{Created: 1700000000000, Fields: some},
		{Created: 1700000000000, Login: 1700000000001, Owned: owned, Used: 1700000000002, Since: 1700000000003, Fence: 4, Fields: some},
	} {
		text, err := r.payload("key", false)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, string(text))
	}
	const near = `{}[]",:\u0123456789eE+-.truefalsnl` + "\x00\xff \n"
	for _, seed := range seeds { // a store that has kept the beginning
		for end := range len(seed) {
			checkRecord(t, []byte(seed[:end]), false)
			checkRecord(t, []byte(seed[:end]), true)
		}
	}
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
		if _, err := Parse(b, "key"); err == nil {
			good++
		}
	}
	if good == 0 || good == n {
		t.Errorf("%d of %d are good: the mutations are worthless", good, n)
	}
}

// Parse is Record.Parse of a new one, with and without the prefix of key.
func Parse(data []byte, key string) (r Record, err error) {
	for _, prefix := range []string{prefixOf(key), "another:"} {
		var same Record
		if e := same.Parse(data, key, PrefixOf(prefix)); !reflect.DeepEqual(e, r.Parse(data, key, nil)) || e == nil && !reflect.DeepEqual(same, r) {
			return r, fmt.Errorf("another record with the prefix %q: %w", prefix, e)
		}
	}
	err = r.Parse(data, key, nil)
	return r, err
}

// ParseKoa is Record.ParseKoa of a new one.
func ParseKoa(data []byte) (r Record, err error) {
	err = r.ParseKoa(data)
	return r, err
}

// parseOwn is Record.parseOwn of a new one.
func parseOwn(data []byte, key string) (r Record, ok bool) {
	ok = r.parseOwn(data, key, nil)
	return r, ok
}

// parse is Parse or ParseKoa.
func parse(data []byte, key string, koa bool) (Record, error) {
	if koa {
		return ParseKoa(data)
	}
	return Parse(data, key)
}

// payload is what a store gets of what Encode or EncodeKoa return.
func (r *Record) payload(key string, koa bool) (text []byte, err error) {
	if koa {
		text = r.EncodeKoa(key)
	} else {
		again := *r
		if text, err = again.Encode(key, PrefixOf(prefixOf(key))); err != nil {
			return nil, err
		}
		if other, err := r.Encode(key, nil); err != nil || string(other) != string(text) {
			return nil, fmt.Errorf("another text with the prefix: %w", err)
		}
	}
	if string(text[:len(key)]) != key {
		return nil, errors.New("the key does not stand in front")
	}
	return text[len(key):], nil
}

// membersIn are the values of r.
func membersIn(t *testing.T, r Record) []jsontext.Member {
	t.Helper()
	members, err := r.All()
	if err != nil {
		t.Fatal(err)
	}
	return members
}

// checkRecord holds the parsers to their promises on any bytes.
func checkRecord(t *testing.T, data []byte, koa bool) {
	t.Helper()
	before := bytes.Clone(data)
	data = slices.Clip(bytes.Clone(data)) // who reads behind its end panics
	r, err := parse(data, "key", koa)
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
	out, err := r.payload("key", koa)
	if err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	again, err := parse(out, "key", koa)
	if err != nil {
		t.Fatalf("%q was written as %q: %v", data, out, err)
	}
	same := func(a, b jsontext.Member) bool { return bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Raw, b.Raw) }
	if !slices.EqualFunc(membersIn(t, r), membersIn(t, again), same) || !slices.EqualFunc(r.Cookie.All(), again.Cookie.All(), same) || !slices.EqualFunc(r.unknown(), again.unknown(), same) || r.Created != again.Created {
		t.Fatalf("%q was written as %q", data, out)
	}
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
	r := Record{Fields: Listed([]jsontext.Member{{Name: []byte("deep"), Raw: raw}})}
	data, err := r.payload("key", false)
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

// A record with an owner is read as fast as others, where its text is plain.
func TestOwnedIsReadInOneLook(t *testing.T) {
	r := Record{Created: 1, Login: 2, Owned: AppendOwned(nil, Owned{"ada", "x", "Firefox on Linux"}), Used: 3}
	data, err := r.payload("key", false)
	if err != nil {
		t.Fatal(err)
	}
	if back, ok := parseOwn(data, "key"); !ok || !bytes.Equal(back.Owned, r.Owned) || back.Used != 3 {
		t.Errorf("%s: %v", data, ok)
	}
	for _, odd := range []string{`[]`, `["ada"]`, `["ada","x"]`, `["","x",""]`, `["ada","",""]`, `"ada"`, `[1,2,3]`, `{}`, `null`} {
		if _, ok := ParseOwned([]byte(odd)); ok || OwnerIn([]byte(odd)) == "ada" && odd[0] != '[' {
			t.Errorf("%s names an owner", odd)
		}
	}
	for _, o := range []Owned{{"ada", "x", ""}, {"a\"],[b", "x", "y"}, {"Zoë", "x", "é"}, {"ada", "x", "["}} {
		raw := AppendOwned(nil, o)
		if got, ok := ParseOwned(raw); !ok || got != o || OwnerIn(raw) != o.Owner {
			t.Errorf("%s is read as %v, %q", raw, got, OwnerIn(raw))
		}
	}
	if OwnerIn(nil) != "" {
		t.Error("nothing has an owner")
	}
	if o, ok := ParseOwned([]byte(`["ada","x","l","of a later version"]`)); !ok || o.Owner != "ada" {
		t.Error("what a later version adds is in the way")
	}
}
