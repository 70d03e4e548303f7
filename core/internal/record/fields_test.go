package record

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// checkFields holds values that are walked through to the same values found by
// the strict scanner: reading, replacing, adding and removing each of them.
func checkFields(t *testing.T, object, name, value []byte) {
	members, ok := jsontext.ParseObject(object, nil)
	if !ok {
		return
	}
	members = slices.DeleteFunc(members, func(m jsontext.Member) bool { return Reserved(string(m.Name)) })
	raw, err := jsontext.Encode(string(value))
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Fields: Listed(members), Created: 1_700_000_000_000}
	data, err := r.payload("key", false)
	if err != nil {
		t.Fatal(err)
	}
	own, ok := parseOwn(data, "key")
	if !ok {
		t.Fatalf("%s: the checksum of what was written is wrong", data)
	}
	same := func(what string, a, b Fields) {
		t.Helper()
		as, errA := a.All()
		bs, errB := b.All()
		if errA != nil || errB != nil || !slices.EqualFunc(as, bs, func(x, y jsontext.Member) bool {
			return bytes.Equal(x.Name, y.Name) && bytes.Equal(x.Raw, y.Raw)
		}) {
			t.Fatalf("%s: %s %q: %q, %v; %q, %v", data, what, name, as, errA, bs, errB)
		}
	}
	finds := func(f Fields, name string, want []byte) {
		t.Helper()
		if got, err := f.Find(name); err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Fatalf("%s: after a change %q is %q, %v; want %q", data, name, got, err, want)
		}
	}
	any, err := parseAny(data, "key", false)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	same("read", own.Fields, any.Fields)

	names := []string{string(name), "a", ""}
	for _, m := range members {
		names = append(names, string(m.Name))
	}
	for _, name := range names {
		if !utf8.ValidString(name) {
			continue // JSON can't spell it
		}
		walked := Fields{buf: own.buf} // as if nobody had looked for others
		got, err := walked.Find(name)
		if want := jsontext.Find(any.found.all(), name); err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Fatalf("%s: %q is %q, %v; want %q", data, name, got, err, want)
		}
		for _, raw := range [][]byte{raw, nil} {
			w := Record{Created: r.Created}
			listed := tabulated(t, any.Fields, name, raw)
			spliced, ok := Fields{buf: own.buf}.Splice(name, raw, w.Front("key"))
			if !ok {
				spliced = tabulated(t, spliced, name, raw)
			}
			finds(spliced, name, raw)
			same("changed", spliced, listed)
			// Written with its head in front, and read back.
			w.Fields = spliced
			out, err := w.Encode("key", nil)
			if err != nil {
				t.Fatal(err)
			}
			if cap(out) > len(out)+len(",,") && spliced.room > 0 {
				t.Fatalf("%s: %d bytes are kept for %d: %s", data, cap(out), len(out), out)
			}
			back, ok := parseOwn(out[len("key"):], "key")
			if !ok {
				t.Fatalf("%s: after a change: %s", data, out)
			}
			finds(w.Fields, name, raw)
			same("written", back.Fields, listed)
			same("kept", w.Fields, listed)
		}
	}
	if before, _ := r.payload("key", false); !bytes.Equal(before, data) {
		t.Fatalf("%s was changed: %s", before, data)
	}
}

// tabulated is f with raw as the value of name, nil for none, by a table.
func tabulated(t *testing.T, f Fields, name string, raw []byte) Fields {
	t.Helper()
	members, err := f.All()
	if err != nil {
		t.Fatal(err)
	}
	result := TableOf(slices.Clone(members))
	result.Put(name, raw)
	return Listed(result.Left())
}

func TestFieldsWalkedAndFound(t *testing.T) {
	t.Parallel()
	for _, object := range []string{
		`{}`, `{"a":1}`, `{"a":1,"b":2,"c":3}`, `{"":null,"a":""}`, `{"a":"x,\"b\":2","b":"\\","c":"\\\"","d":"é\u2028\u0000"}`,
		`{"a":{"b":[1,{"c":"}]"}],"d":"{"},"b":[[],{}," ] "],"c":-1.5e+3,"d":true,"e":false}`,
		`{"k1\"":1,"é":2,"\ud83d\ude00":3,"` + strings.Repeat("n", 100) + `":4,"01234567":5,"012345678":6}`,
		`{ "a" : [ 1 , 2 ] , "b" : { "c" : "d" } }`,
	} {
		for _, name := range []string{"a", "b", "c", "d", "e", "k1\"", "é", "01234567", `\`, "a\x00"} {
			checkFields(t, []byte(object), []byte(name), []byte("new \"value\" \\ é"))
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":[1,"x\"]"]},"é":"\\"}`), []byte("b"), []byte("x"))
	f.Add([]byte(`{"a":"\ud800","":" "}`), []byte(""), []byte{0xff, '"', '\\'})
	f.Fuzz(func(t *testing.T, object, name, value []byte) { checkFields(t, object, name, value) })
}

// The text of a record counts, whatever its checksum is: it may have been edited by
// hand.
func TestWrongChecksumMeansFullParsing(t *testing.T) {
	t.Parallel()
	key := "koa:sess:" + strings.Repeat("0123456789", 4) + "abc" // as long as a hash
	r := Record{Fields: Listed([]jsontext.Member{{Name: []byte("n"), Raw: []byte("41")}, {Name: []byte("s"), Raw: []byte(`"x"`)}}), Created: 1_700_000_000_000}
	data, err := r.payload(key, false)
	if err != nil {
		t.Fatal(err)
	}
	for edited, want := range map[string]string{
		strings.Replace(string(data), "41", "42", 1):        "42",
		strings.Replace(string(data), `,"n":41`, ``, 1):     "",
		strings.Replace(string(data), `,"n"`, ` , "n" `, 1): "41",
		strings.Replace(string(data), `"s":"`, `"s":"0`, 1): "41",
		strings.Replace(string(data), headSum, `,"z":"`, 1): "41",
		string(data) + "\n": "41",
		strings.Replace(string(data), `"x"}`, `"x","n":7}`, 1): "7",
	} {
		if edited == string(data) {
			t.Fatal("nothing was edited")
		}
		r, err := Parse([]byte(edited), key)
		if err != nil {
			t.Errorf("%s: %v", edited, err)
		}
		if got, err := r.Find("n"); string(got) != want || err != nil {
			t.Errorf("%s: n is %q, %v; want %q", edited, got, err, want)
		}
	}
	for _, broken := range []string{
		strings.Replace(string(data), "41", "4x", 1), strings.TrimSuffix(string(data), "}"), string(data) + "x", strings.Replace(string(data), `,"n"`, `,,"n"`, 1),
	} {
		if r, err := Parse([]byte(broken), key); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, %v", broken, r, err)
		}
	}
}

// A text whose checksum is right by accident, or by somebody who can write to
// the store, is an error when it turns out to be no JSON, and nothing worse.
func TestRightChecksumOfInvalidJSON(t *testing.T) {
	t.Parallel()
	for _, rest := range []string{
		`,`, `,,`, `,"`, `,"a`, `,"a"`, `,"a":`, `,"a":1,`, `,"a":"`, `,"a":"\`, `,"a":[`, `,"a":{"b":"`, `,a:1`, `,"x":1 "a":2`, `,"x":]`, `,"x":"\u12`, `,1`,
		`,"x":` + strings.Repeat("[", 20_000),
	} {
		sum := new([sumLen]byte)
		putSum(sum, sumOf([]byte(rest+"}")))
		data := headOpen + "key" + headCreated + "1" + headSum + string(sum[:]) + headClose + rest + "}"
		r, err := Parse([]byte(data), "key")
		if errors.Is(err, ErrCorrupt) {
			continue
		}
		if err != nil {
			t.Fatalf("%.60s: %v", rest, err)
		}
		for range Few + 2 {
			if raw, err := r.Find("a"); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%.60s: %q, %v", rest, raw, err)
			}
		}
		if f, ok := r.Splice("n", []byte("1"), r.Front("key")); ok {
			if _, err := f.All(); !errors.Is(err, ErrCorrupt) && !strings.Contains(rest, `"a":`) {
				t.Errorf("%.60s: spliced: %v", rest, err)
			}
		}
		if _, err := r.All(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%.60s: %v", rest, err)
		}
	}
}
