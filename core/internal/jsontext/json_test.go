package jsontext

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestK38Encode(t *testing.T) {
	t.Parallel()
	type named string
	for _, test := range []struct {
		v    any
		want string
	}{
		{nil, `null`}, {true, `true`}, {false, `false`},
		{0, `0`}, {-5, `-5`}, {int64(math.MaxInt64), `9223372036854775807`}, {int64(math.MinInt64), `-9223372036854775808`},
		{1.5, `1.5`}, {1e21, `1e+21`}, {uint8(7), `7`},
		{"", `""`}, {"a b", `"a b"`}, {named("a"), `"a"`},
		{"<script>&amp;", `"<script>&amp;"`}, {named("<&>"), `"<&>"`}, {map[string]string{"<": ">"}, `{"<":">"}`},
		{"a\u2028b\u2029", "\"a\u2028b\u2029\""}, {named("a\u2028b\u2029"), "\"a\u2028b\u2029\""},
		{[]string{"\u2028", `\u2028`, `\\u2029`}, "[\"\u2028\",\"\\\\u2028\",\"\\\\\\\\u2029\"]"},
		{[]string{"\u2027\u202a"}, "[\"\u2027\u202a\"]"},
		{"\"\\/\b\f\n\r\t\x00\x1f\x7f", `"\"\\/\b\f\n\r\t\u0000\u001f` + "\x7f" + `"`},
		{"é😀", `"é😀"`}, {"\xff", "\"\ufffd\""},
		{[]int(nil), `null`}, {[]int{}, `[]`}, {[]byte("ab"), `"YWI="`}, {map[string]int{"b": 1, "a": 2}, `{"a":2,"b":1}`},
		{struct {
			B int `json:"b"`
			A *int
		}{1, nil}, `{"b":1,"A":null}`},
		{json.RawMessage(` { "a" : "\u2028" } `), "{\"a\":\"\u2028\"}"}, {json.RawMessage(nil), `null`},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), `"2026-01-02T03:04:05Z"`},
	} {
		got, err := Encode(test.v)
		if err != nil || string(got) != test.want {
			t.Errorf("%#v: %s, %v; want %s", test.v, got, err, test.want)
		}
	}
	for _, v := range []any{math.NaN(), math.Inf(1), func() {}, make(chan int), map[bool]int{true: 1}, json.RawMessage(`{`)} {
		if b, err := Encode(v); err == nil {
			t.Errorf("%T: %s", v, b)
		}
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	texts := []string{"", "plain", "\xed\xa0\x80", "a\xc0\xafb", "\u2028\u2029", `\u2028`, "😀\xf0\x9f", strings.Repeat("é", 1000)}
	for c := range 256 {
		texts = append(texts, string([]byte{byte(c)}), "a"+string([]byte{byte(c)})+"b")
	}
	for r := rune(0); r < 0x11000; r += 7 {
		texts = append(texts, string(r))
	}
	for _, s := range texts {
		got := AppendString([]byte("x"), s)
		if got[0] != 'x' || !json.Valid(got[1:]) {
			t.Fatalf("%q: %q", s, got)
		}
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		// JSON.stringify writes these as they are, and encoding/json as escapes.
		text := strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029", `\ufffd`, "\ufffd").Replace(strings.TrimSuffix(want.String(), "\n"))
		if string(got[1:]) != text {
			t.Errorf("%q: %s, encoding/json: %s", s, got[1:], text)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	raws := []string{
		`null`, `true`, `false`, `"true"`, `""`, `"a"`, `"a\nb"`, `"\u0061"`, `"é"`, "\"\xff\"", `"\ud800"`, "\"\u2028\"", "\"\x7f\"",
		`0`, `-0`, `1`, `-1`, `12345`, `999999999999999999`, `-999999999999999999`, `1000000000000000000`, `9223372036854775807`, `-9223372036854775808`,
		`9223372036854775808`, `-9223372036854775809`, `1.0`, `1.5`, `1e2`, `1E400`, `1e999999999`, `[]`, `{}`, `[1]`, `{"a":1}`, `"1"`, `["a"]`, `-`, ``, `"`, `00`, `tru`,
	}
	for _, raw := range raws {
		agrees[string](t, raw)
		agrees[int](t, raw)
		agrees[int64](t, raw)
		agrees[bool](t, raw)
		agrees[int8](t, raw)
		agrees[float64](t, raw)
		agrees[any](t, raw)
		agrees[[]string](t, raw)
		agrees[*int](t, raw)
	}
	if v, err := Decode[float64]([]byte("-0")); v != 0 || !math.Signbit(v) || err != nil {
		t.Errorf("-0 as a float64: %v, %v", v, err)
	}
	if v, err := Decode[int](nil); v != 0 || err != nil {
		t.Errorf("an absent value: %v, %v", v, err)
	}
	if v, err := Decode[struct{ A, B int }]([]byte(`{"A":1,"B":"x"}`)); err == nil || v.A != 0 {
		t.Errorf("half a value comes with the error: %v, %v", v, err)
	}
}

// agrees compares Decode with encoding/json.
func agrees[T any](t *testing.T, raw string) {
	t.Helper()
	got, err := Decode[T]([]byte(raw))
	var want T
	wantErr := json.Unmarshal([]byte(raw), &want)
	if wantErr != nil {
		var zero T
		want = zero
	}
	if (err != nil) != (wantErr != nil) || !reflect.DeepEqual(got, want) {
		t.Errorf("%.60q as a %T: %v, %v; encoding/json: %v, %v", raw, want, got, err, want, wantErr)
	}
}

func TestDecodeKeepsNothing(t *testing.T) {
	t.Parallel()
	raw := []byte(`"abc"`)
	s, _ := Decode[string](raw)
	m, _ := Decode[json.RawMessage](raw)
	copy(raw, `"xyz"`)
	if s != "abc" || string(m) != `"abc"` {
		t.Errorf("values changed with the text: %q, %s", s, m)
	}
}

func TestChangeable(t *testing.T) {
	t.Parallel()
	type plain struct {
		A int
		B string
		C [3]float64
		D struct{ T time.Time }
	}
	type hidden struct {
		a int
		p []int
	}
	type inner struct{ I any }
	type name string
	n := 1
	for _, test := range []struct {
		v    any
		want bool
	}{
		{nil, false}, {"a", false}, {true, false}, {1, false}, {int8(1), false}, {uint64(1), false}, {1.5, false}, {complex(1, 2), false},
		{time.Now(), false}, {time.Second, false}, {json.Number("1"), false}, {name("a"), false}, {reflect.Int, false},
		{plain{}, false}, {[3]int{}, false}, {[2]plain{}, false}, {struct{}{}, false}, {[0]*int{}, false},
		{[]int{1}, true}, {[]int{}, true}, {[]int(nil), false}, {[]byte("a"), true}, {json.RawMessage("1"), true},
		{map[string]int{}, true}, {map[string]int(nil), false}, {&n, true}, {(*int)(nil), false},
		{&plain{}, true}, {(*plain)(nil), false},
		{hidden{}, false}, {hidden{p: []int{1}}, true}, {hidden{a: 1}, false}, {[2]hidden{1: {p: []int{}}}, true},
		{inner{}, false}, {inner{1}, false}, {inner{"a"}, false}, {inner{[]int{1}}, true}, {inner{inner{&n}}, true}, {inner{inner{plain{}}}, false}, {inner{time.Now()}, false},
		{struct{ E error }{fmt.Errorf("x")}, true},
		{big.Int{}, false}, {*big.NewInt(1), true}, {big.NewInt(1), true}, {netip.Addr{}, false},
		{func() {}, true}, {make(chan int), true}, {struct{ C chan int }{make(chan int)}, true},
	} {
		if got := Changeable(test.v); got != test.want {
			t.Errorf("%T %v: %v", test.v, test.v, got)
		}
	}
}

func TestK22SameJSON(t *testing.T) {
	t.Parallel()
	groups := [][]string{ // texts of one group mean the same, of two groups never
		{`null`, ` null `}, {`true`}, {`false`}, {`""`}, {`"null"`}, {`[]`, `[ ]`}, {`{}`, "{\n}"},
		{`"a"`, `"\u0061"`, ` "a"`}, {`"A"`}, {"\"\u2028\"", `"\u2028"`}, {`"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`}, {`"/"`, `"\/"`},
		{`0`, `-0`, `0.0`, `0e5`, `-0.000e-9`}, {`1`, `1.0`, `1e0`, `10e-1`, `0.1e1`, `0.01E+2`, `100e-2`}, {`-1`, `-1.0`}, {`10`, `1e1`, `1E+1`}, {`"1"`},
		{`9007199254740992`}, {`9007199254740993`, `9007199254740993.0`, `9.007199254740993e15`}, {`1e400`, `10e399`}, {`1e401`}, {`0.1`, `1e-1`}, {`0.10000000000000000001`},
		{`[1,2]`, `[ 1.0 , 2 ]`}, {`[2,1]`}, {`[1]`}, {`[1,2,3]`}, {`[1,null]`},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, `{ "\u0061" : 1.0 , "b" : 2 }`, `{"a":7,"b":2,"a":1}`}, {`{"a":1}`}, {`{"a":1,"c":2}`}, {`{"a":2,"b":1}`}, {`{"a":1,"b":null}`},
		{`{"a":{"b":[{"c":1e2}]}}`, `{"a": {"b": [{"c": 100}]}}`}, {`{"a":{"b":[{"c":1e3}]}}`}, {`{"a":{"b":[{}]}}`},
		{`[1e99999999999]`, `[ 1e99999999999 ]`}, {`[1e99999999998]`},
		{`plumless`}, {`buckeroo`}, // no JSON at all: equal only byte for byte
	}
	for i, a := range groups {
		for j, b := range groups {
			for _, x := range a {
				for _, y := range b {
					if got := Same([]byte(x), []byte(y)); got != (i == j) {
						t.Errorf("%s and %s: %v", x, y, got)
					}
				}
			}
		}
	}
	if !Same(nil, nil) || Same(nil, []byte("null")) || Same([]byte("null"), nil) {
		t.Error("an absent value is the same as null")
	}
}

func TestSameNumber(t *testing.T) {
	t.Parallel()
	numbers := []string{
		"0", "-0", "0.0", "1", "-1", "1.0", "10", "1e1", "1E1", "1e+1", "1e01", "0.1", "1e-1", "100", "0.01e4", "1.50", "15e-1", "1.5e0", "12.5", "125e-1", "1.25e1",
		"123456789012345678901234567890", "1.2345678901234567890123456789e29", "9007199254740992", "9007199254740993", "0.30000000000000004", "0.3", "5e-324", "1e308", "1e309",
		"00", "1000000", "1e6", "0.000001", "1e-6", "-1e-6", "0e100", "0e-100",
	}
	for _, a := range numbers {
		for _, b := range numbers {
			x, okx := new(big.Rat).SetString(a)
			y, oky := new(big.Rat).SetString(b)
			if !okx || !oky {
				t.Fatalf("a bad test: %s %s", a, b)
			}
			if got, want := sameNumber(a, b), x.Cmp(y) == 0; got != want {
				t.Errorf("%s and %s: %v", a, b, got)
			}
		}
	}
	// An exponent is never worked out, however large.
	for _, s := range []string{"1e999999999", "1e-999999999", "1e2147483647", "-1e-2147483648", "1e99999999999999999999"} {
		if !sameNumber(s, s) || sameNumber(s, "1") || sameNumber("0", s) {
			t.Errorf("%s is not just itself", s)
		}
	}
	if !sameNumber("10e999999998", "1e999999999") {
		t.Error("10e999999998 is not 1e999999999")
	}
}
