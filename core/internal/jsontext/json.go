// Package jsontext is JSON as text: values as encoding/json means them, written as
// JSON.stringify writes them, one strict scanner, and the comparison of two texts.
// It knows nothing of sessions.
package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// Values are encoded by the rules of encoding/json, in the notation of
// JSON.stringify (K38). This file implements the difference between the two, and
// fast paths for common types. The fast paths have the same result as
// encoding/json; a fuzz target checks that.

// Encode returns v as JSON without blanks, with <, >, & and U+2028/9 as they
// are.
//
// A value that could not be decoded again is an error: it would make the whole
// record unreadable.
func Encode[T any](v T) ([]byte, error) {
	switch p := any(&v).(type) { // a pointer, since any(v) would allocate
	case *string:
		return AppendString(nil, *p), nil
	case *int:
		return strconv.AppendInt(nil, int64(*p), 10), nil
	case *int64:
		return strconv.AppendInt(nil, *p, 10), nil
	case *bool:
		return strconv.AppendBool(nil, *p), nil
	case *any:
		switch v := (*p).(type) {
		case string:
			return AppendString(nil, v), nil
		case bool:
			return strconv.AppendBool(nil, v), nil
		case nil:
			return []byte("null"), nil
		}
	}
	return encodeLong(v)
}

func encodeLong(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	raw := rawSeparators(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	if len(raw) > MaxDepth { // encoding/json writes deeper than it reads
		s := scanner{text: raw}
		if !s.value(1) {
			return nil, errors.New("it nests too deep")
		}
	}
	return raw, nil
}

// rawSeparators undoes the escape of U+2028 and U+2029, which encoding/json
// always makes and JSON.stringify never.
func rawSeparators(b []byte) []byte {
	if !bytes.Contains(b, []byte(`\u202`)) {
		return b
	}
	out := b[:0]
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		if rest := b[i:]; bytes.HasPrefix(rest, []byte(`\u2028`)) || bytes.HasPrefix(rest, []byte(`\u2029`)) {
			r := rune(0x2028 + int(rest[5]-'8')) // #nosec G115 -- 0x2028 or 0x2029
			i += 5
			out = utf8.AppendRune(out, r)
			continue
		}
		out = append(out, b[i], b[i+1]) // a valid text never ends in a backslash
		i++
	}
	return out
}

// AppendString appends s as JSON text.
func AppendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendOddString(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

const hexDigits = "0123456789abcdef"

func appendOddString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ':
			b = utf8.AppendRune(b, r)
		case r == '\b':
			b = append(b, '\\', 'b')
		case r == '\f':
			b = append(b, '\\', 'f')
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		}
	}
	return append(b, '"')
}

// Decode returns raw as a T. An absent value (nil) is the zero T.
func Decode[T any](raw []byte) (T, error) {
	var v T
	if raw == nil || decodeShort(raw, &v) {
		return v, nil
	}
	long := new(T) // separate from v, so that v does not escape to the heap
	// A copy, since a user's UnmarshalJSON may keep it or write into it.
	err := json.Unmarshal(bytes.Clone(raw), long)
	if err != nil {
		var zero T
		return zero, err
	}
	return *long, nil
}

// decodeShort decodes plain strings, whole numbers and booleans, and leaves
// everything else to encoding/json.
func decodeShort[T any](raw []byte, v *T) bool {
	switch p := any(v).(type) {
	case *string:
		s, ok := PlainString(raw)
		if ok {
			*p = string(s)
		}
		return ok
	case *int:
		n, ok := plainInt(raw)
		if ok = ok && n >= math.MinInt && n <= math.MaxInt; ok {
			*p = int(n)
		}
		return ok
	case *int64:
		n, ok := plainInt(raw)
		if ok {
			*p = n
		}
		return ok
	case *float64:
		n, ok := plainInt(raw)
		if ok = ok && (n != 0 || raw[0] != '-'); ok { // float64 has a -0
			*p = float64(n)
		}
		return ok
	case *bool:
		switch string(raw) {
		case "true":
			*p = true
			return true
		case "false":
			*p = false
			return true
		}
	}
	return false
}

// PlainString returns the text of a JSON string of printable ASCII without
// escapes.
func PlainString(raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, false
	}
	s := raw[1 : len(raw)-1]
	return s, plainBytes(s) == len(s)
}

// plainInt returns a JSON number of at most 18 digits without fraction and
// exponent.
func plainInt(raw []byte) (int64, bool) {
	digits := raw
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(raw) {
		n = -n
	}
	return n, true
}

// Changeable reports whether the holder of v can change it in place: whether v is
// a non-nil map, slice or pointer, or contains one.
func Changeable(v any) bool {
	switch v.(type) {
	case nil, string, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64, time.Time, time.Duration, json.Number:
		return false
	}
	return changeableValue(reflect.ValueOf(v))
}

func changeableValue(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice, reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return false
		}
		if v.Kind() == reflect.Interface {
			return changeableValue(v.Elem())
		}
		return true
	case reflect.Array:
		for i := range v.Len() {
			if changeableValue(v.Index(i)) {
				return true
			}
		}
		return false
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return false // its pointer leads to a Location, which nobody changes
		}
		for i := range v.NumField() {
			if changeableValue(v.Field(i)) {
				return true
			}
		}
		return false
	case reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	default:
		return false
	}
}

// Same reports whether two valid JSON texts mean the same value: blanks,
// the order of members, escapes and the spelling of numbers do not matter
// (K22).
func Same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	a, b = bytes.TrimSpace(a), bytes.TrimSpace(b)
	if kind(a) != kind(b) {
		return false
	}
	// The usual ways to differ, without decoding.
	na, oka := plainInt(a)
	nb, okb := plainInt(b)
	if oka && okb {
		return na == nb
	}
	sa, oka := PlainString(a)
	sb, okb := PlainString(b)
	if oka && okb {
		return bytes.Equal(sa, sb)
	}
	var va, vb any
	if unmarshalNumbers(a, &va) != nil || unmarshalNumbers(b, &vb) != nil {
		return false
	}
	return sameValue(va, vb)
}

// kind returns a byte that distinguishes objects, arrays, strings, numbers and
// each of the literals true, false and null.
func kind(raw []byte) byte {
	if len(raw) == 0 {
		return 0
	}
	switch c := raw[0]; c {
	case '{', '[', '"', 't', 'f', 'n':
		return c
	}
	return '0'
}

func unmarshalNumbers(b []byte, v *any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(string(a), string(b))
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameValue(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			w, ok := b[k]
			if !ok || !sameValue(v, w) {
				return false
			}
		}
		return true
	default:
		return a == b
	}
}

// sameNumber compares decimal texts exactly: float64 would call 2^53 and
// 2^53+1 the same.
func sameNumber(a, b string) bool {
	da, ea, na, oka := decimal(a)
	db, eb, nb, okb := decimal(b)
	return a == b || oka && okb && string(da) == string(db) && (len(da) == 0 || ea == eb && na == nb)
}

// decimal splits a JSON number into its digits without zeros at either end, the
// exponent of the last digit, and its sign. Zero has no digits.
func decimal(s string) (digits []byte, exp int64, negative, ok bool) {
	if negative = s[0] == '-'; negative {
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '.':
			exp = -int64(len(s) - i - 1)
		case 'e', 'E':
			if exp != 0 {
				exp += int64(len(s) - i)
			}
			e, err := strconv.ParseInt(s[i+1:], 10, 32)
			if err != nil {
				return nil, 0, false, false
			}
			exp += e
			i = len(s)
		default:
			if len(digits) > 0 || c != '0' {
				digits = append(digits, c)
			}
		}
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
		exp++
	}
	return digits, exp, negative, true
}
