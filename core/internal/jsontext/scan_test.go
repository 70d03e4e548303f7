package jsontext

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// nested is n arrays, one in another.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestParseObjectAccepts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`, " \t\r\n{ \t\r\n} \t\r\n", `{"":""}`, `{"a":1}`, "{ \"a\" : 1 , \"b\" : [ 1 , { \"c\" : null } , [ ] , { } ] }",
		`{"a":true,"b":false,"c":null,"d":"x","e":-1.5e+3,"f":0,"g":-0,"h":1E400,"i":1e-999999999999,"j":0.0}`,
		`{"\u0061":"\ud83d\ude00","\ud800":"\udc00\u2028"}`, "{\"a\u2028\":\"\u2029\"}", "{\"\xff\":\"\xff\xfe\"}", "{\"a\":\"\x7f\"}",
		`{"a":"\"\\\/\b\f\n\r\t\u00e9"}`, `{"a":` + nested(9999) + `}`, `{"a":{"b":{"c":{}}}}`,
	} {
		members, ok := ParseObject([]byte(text), nil)
		if !ok || !json.Valid([]byte(text)) {
			t.Errorf("refused: %.60q", text)
		}
		for _, m := range members {
			if !json.Valid(m.Raw) {
				t.Errorf("%.60q: value %.60q", text, m.Raw)
			}
		}
	}
}

func TestParseObjectRefuses(t *testing.T) {
	t.Parallel()
	texts := []string{
		``, ` `, `null`, `[]`, `1`, `"a"`, `true`, `{`, `}`, `{}{}`, `{},`, `{} x`, "{}\x00", "\ufeff{}", "\xff\xfe{\x00}\x00",
		`{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{"a":1,,"b":2}`, `{a:1}`, `{'a':1}`, `{1:1}`, `{"a":1;"b":2}`, `{"a" 1}`,
		`{"a":01}`, `{"a":+1}`, `{"a":-}`, `{"a":.5}`, `{"a":1.}`, `{"a":1e}`, `{"a":1e+}`, `{"a":0x1}`, `{"a":1_0}`, `{"a":--1}`, `{"a":NaN}`, `{"a":-Infinity}`,
		`{"a":"}`, `{"a":"\"}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\u`, `{"a":"\`, "{\"a\":\"\n\"}", "{\"a\":\"\x00\"}", "{\"a\nb\":1}", `{"\u12":1}`,
		`{"a":tru}`, `{"a":True}`, `{"a":nul`, `{"a":[1,]}`, `{"a":[1 2]}`, `{"a":[}`, `{"a":{"b"}}`, `{"a":{"b":1,}}`, `{"a":{b:1}}`, `{"a":{"b" 1}}`, `{"a":[`,
		"{\v}", "{\u00a0}", `/**/{}`, `{"a":1}//`,
		`{"a":` + nested(10000) + `}`, `{"a":` + strings.Repeat("[", 1<<20), `{"a":` + strings.Repeat(`{"a":`, 1<<18),
	}
	for _, text := range texts {
		if _, ok := ParseObject([]byte(text), nil); ok {
			t.Errorf("accepted: %.60q", text)
		}
		if json.Valid([]byte(text)) && strings.HasPrefix(strings.TrimSpace(text), "{") {
			t.Errorf("a bad test: %.60q is an object", text)
		}
	}
	// Every cut of a good text is refused, and nothing is read past its end.
	good := []byte(`{"a":[true,false,null,-1.5e+3,"\u00e9\\"],"b":{"c":"d"}}`)
	for i := range good {
		if _, ok := ParseObject(good[:i:i], nil); ok {
			t.Errorf("accepted: %q", good[:i])
		}
	}
}

func TestParseObjectMembers(t *testing.T) {
	t.Parallel()
	list := func(members []Member) (out []string) {
		for _, m := range members {
			out = append(out, string(m.Name)+"="+string(m.Raw))
		}
		return out
	}
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"order", `{"b":1,"a":2,"c":3}`, []string{"b=1", "a=2", "c=3"}},
		{"blanks", "{ \"a\" :\t[ 1 ] \n, \"b\":{ } }", []string{"a=[ 1 ]", "b={ }"}},
		{"the later of two counts", `{"a":1,"b":2,"a":3}`, []string{"a=3", "b=2"}},
		{"escaped twin", `{"a":1,"\u0061":3}`, []string{"a=3"}},
		{"surrogates", `{"\ud83d\ude00":1,"😀":2}`, []string{"😀=2"}},
		{"lone surrogate", `{"\ud800":1}`, []string{"\ufffd=1"}},
		{"no UTF-8", "{\"\xff\":1}", []string{"\ufffd=1"}},
		{"separators", "{\"\\u2028\":1,\"\u2029\":2}", []string{"\u2028=1", "\u2029=2"}},
		{"empty name", `{"":1,"":2}`, []string{"=2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			members, ok := ParseObject([]byte(test.text), nil)
			if !ok || !slices.Equal(list(members), test.want) {
				t.Errorf("%q, want %q", list(members), test.want)
			}
		})
	}
	t.Run("many", func(t *testing.T) { // at the border of the two ways of finding twins
		t.Parallel()
		for _, n := range []int{63, 64, 65, 66, 129, 5000} {
			var text bytes.Buffer
			text.WriteByte('{')
			for round := range 2 {
				for i := range n {
					fmt.Fprintf(&text, `"%d":%d,`, i, i+round)
				}
			}
			text.WriteString(`"0":"last","new":true,"new":false}`)
			members, ok := ParseObject(text.Bytes(), nil)
			if !ok || len(members) != n+1 {
				t.Fatalf("%d names: %d members, %v", n, len(members), ok)
			}
			for i, m := range members[1:n] {
				if string(m.Name) != fmt.Sprint(i+1) || string(m.Raw) != fmt.Sprint(i+2) {
					t.Fatalf("member %d: %s=%s", i+1, m.Name, m.Raw)
				}
			}
			if string(members[0].Raw) != `"last"` || string(members[n].Raw) != "false" {
				t.Errorf("first %s, last %s", members[0].Raw, members[n].Raw)
			}
		}
	})
	t.Run("parts of the text", func(t *testing.T) {
		t.Parallel()
		text := []byte(`{"a":1,"b":2}`)
		members, _ := ParseObject(text, nil)
		for _, m := range members { // an append must not run into what follows
			_ = append(m.Name, "xxxx"...)
			_ = append(m.Raw, "xxxx"...)
		}
		if string(text) != `{"a":1,"b":2}` {
			t.Errorf("the text became %s", text)
		}
	})
	t.Run("into", func(t *testing.T) {
		t.Parallel()
		members, ok := ParseObject([]byte(`{}`), []Member{})
		if !ok || members == nil {
			t.Error("an empty object is no members at all") // a nil cookie means none
		}
	})
}

func TestPlainBytes(t *testing.T) {
	t.Parallel()
	slow := func(b []byte) int {
		for i, c := range b {
			if c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
				return i
			}
		}
		return len(b)
	}
	for n := range 40 {
		text := bytes.Repeat([]byte("a"), n)
		if got := plainBytes(text); got != n {
			t.Errorf("%d plain bytes: %d", n, got)
		}
		for at := range n {
			for c := range 256 {
				text[at] = byte(c)
				if got, want := plainBytes(text), slow(text); got != want {
					t.Errorf("%q: %d, want %d", text, got, want)
				}
			}
			text[at] = 'a'
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	const near = "\x00\x1f !\"#[\\]\x7e\x7f\x80\xff\xa2\xdc"
	for range 100_000 {
		text := make([]byte, random.IntN(30))
		for i := range text {
			text[i] = near[random.IntN(len(near))]
		}
		if got, want := plainBytes(text), slow(text); got != want {
			t.Fatalf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	text := func(ms []Member) string { return string(AppendMembers([]byte{'{'}, ms)) + "}" }
	ms, _ := ParseObject([]byte(`{"a":1,"b":2,"c":3}`), nil)
	if got := string(Find(ms, "b")); got != "2" || Find(ms, "B") != nil || Find(nil, "a") != nil {
		t.Errorf("find b: %s", got)
	}
	ms = Put(ms, "b", []byte("9"))
	ms = Put(ms, "d", []byte("4"))
	ms = Drop(ms, "a")
	ms = Drop(ms, "x")
	if got := text(ms); got != `{"b":9,"c":3,"d":4}` {
		t.Error(got)
	}
}
