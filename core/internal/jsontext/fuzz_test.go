package jsontext

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"testing"
)

// FuzzJSON holds the short ways of json.go to encoding/json.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`null`, `true`, `"a"`, `"\u2028` + "\u2029" + `"`, `"\\u2028"`, `"\\\u2028"`, `-0`, `9007199254740993`, `1E400`, `1e999999999`, `-9223372036854775808`, `123456789012345678`, `1234567890123456789`,
		`[1,2.0,{"a":"b"}]`, `{"b":1,"a":[]}`, ` "a" `, `"\ud800"`, "\"\xff\"", `""`, `"`, `-`, `1.`, `[`, "\x7f",
	} {
		f.Add(s, `{ "a" : 1.0 }`, int64(len(s)))
	}
	f.Add(`[1]`, `[1.0]`, int64(math.MinInt64))
	f.Add(`0.1e1`, `10e-1`, int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, a, b string, n int64) {
		// Reading.
		agrees[string](t, a)
		agrees[int](t, a)
		agrees[int64](t, a)
		agrees[bool](t, a)
		agrees[float64](t, a)
		agrees[any](t, a)

		// Writing: a and b are texts here, whatever they are.
		type named string
		for _, v := range []any{a, n, int(n), n%2 == 0, named(a), []string{a, b}, map[string]any{a: b, "n": n}, float64(n) / 8} {
			got, err := Encode(v)
			if err != nil {
				t.Fatalf("%T: %v", v, err)
			}
			var want bytes.Buffer
			e := json.NewEncoder(&want)
			e.SetEscapeHTML(false)
			if err := e.Encode(v); err != nil {
				t.Fatal(err)
			}
			var x, y any
			if json.Unmarshal(got, &x) != nil || json.Unmarshal(want.Bytes(), &y) != nil || !reflect.DeepEqual(x, y) {
				t.Fatalf("%T: %s, encoding/json: %s", v, got, want.Bytes())
			}
			if rest := bytes.ReplaceAll(got, []byte(`\\`), nil); bytes.Contains(rest, []byte(`\u2028`)) || bytes.Contains(rest, []byte(`\u2029`)) {
				t.Fatalf("an escape that JSON.stringify does not make: %s", got)
			}
		}
		// Bytes that are no UTF-8 come back as U+FFFD each.
		if v, err := Decode[string](AppendString(nil, a)); err != nil || v != string([]rune(a)) {
			t.Fatalf("%q comes back as %q, %v", a, v, err)
		}
		if v, err := Decode[int64](fmt.Append(nil, n)); err != nil || v != n {
			t.Fatalf("%d comes back as %d, %v", n, v, err)
		}

		// Comparing: a and b are JSON here, if they are.
		if !json.Valid([]byte(a)) || !json.Valid([]byte(b)) {
			return
		}
		same := Same([]byte(a), []byte(b))
		if same != Same([]byte(b), []byte(a)) || !Same([]byte(a), []byte(" "+a+" ")) {
			t.Fatalf("Same does not know what it wants: %s and %s", a, b)
		}
		var x, y any
		if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
			return // a number that float64 can't hold
		}
		if equal := reflect.DeepEqual(x, y); same && !equal || equal && !same && simple(a) && simple(b) {
			t.Fatalf("%s and %s: %v, decoded they are the same: %v", a, b, same, equal)
		}
		if compact := new(bytes.Buffer); json.Compact(compact, []byte(a)) != nil || !Same(compact.Bytes(), []byte(a)) {
			t.Fatalf("%s is not what it is without blanks", a)
		}
	})
}

// simple reports whether float64 holds every number in a text exactly enough
// to tell it from others, for certain.
func simple(s string) bool {
	digits := 0
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			digits++
		case c == 'e' || c == 'E':
			return false
		}
	}
	return digits <= 15
}
