package core

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
)

// A withheld is an error of a store that quotes a key or a value, though it must not,
// without them. What it wraps can be asked for, but does not print.
type withheld struct {
	text  string
	inner func() error
}

func (w *withheld) Error() string        { return w.text }
func (w *withheld) Is(target error) bool { return errors.Is(w.inner(), target) }
func (w *withheld) As(target any) bool   { return errors.As(w.inner(), target) }

// withhold returns err without secret in its text. A short one is an id of nobody, and
// would stand in many a text by chance.
func withhold(err error, secret string) error {
	const least = 8
	if err == nil || len(secret) < least {
		return err
	}
	text := err.Error()
	if !strings.Contains(text, secret) {
		return err
	}
	return &withheld{strings.ReplaceAll(text, secret, "[key]"), func() error { return err }}
}

// withholdValue returns err without what its text quotes of value, which the call has
// written: servers quote the beginning of what they can't take, or all of it, as it is or
// escaped. A part shorter than eight bytes stays, if none of it is escaped as \x and two
// digits: it would stand in many a text by chance.
// The everyday answers of a store are not looked at: it has no text of a server for them.
func withholdValue(err error, value []byte) error {
	if err == nil || len(value) < quoted || errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
		return err
	}
	whole := err.Error()
	text := withoutBytes(whole)
	for _, read := range []func(string) ([]byte, []int){asItIs, unescaped, fromHex} {
		text = withoutParts(text, value, read)
	}
	if text == whole {
		return err
	}
	return &withheld{text, func() error { return err }}
}

// withoutBytes replaces what stands in quotes and has a byte as \x and two digits, of which
// MariaDB and MySQL print six: "Incorrect string value: '\xF0\x9F\x98\x80 a...'".
func withoutBytes(text string) string {
	var b strings.Builder
	for {
		i := strings.Index(text, `\x`)
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		begin, length := strings.LastIndexAny(text[:i], `'"`)+1, strings.IndexAny(text[i:], `'"`)
		if begin == 0 || length < 0 {
			b.WriteString(text[:i+2])
			text = text[i+2:]
			continue
		}
		b.WriteString(text[:begin] + "[value]")
		text = text[i+length:]
	}
}

// quoted is the length of a part that is not found by chance.
const quoted = 8

// withoutParts replaces the parts of value in text, as read reads it: as bytes, with the
// place in text where each begins, and at last its end; or as nil, if that is nothing else
// than the text.
func withoutParts(text string, value []byte, read func(string) ([]byte, []int)) string {
	plain, at := read(text)
	parts := make(map[uint64]bool) // of text: whether it is one of value
	var some [1 << 13]uint8        // a value may be long: most of its parts are not even of these
	mark := func(part uint64) (*uint8, uint8) {
		h := part * 0x9e3779b97f4a7c15 >> 48
		return &some[h>>3], 1 << (h & 7)
	}
	for i := 0; i+quoted <= len(plain); i++ {
		part := binary.LittleEndian.Uint64(plain[i:])
		at, bit := mark(part)
		*at |= bit
		parts[part] = false
	}
	found := false
	for i := 0; i+quoted <= len(value); i++ {
		part := binary.LittleEndian.Uint64(value[i:])
		if at, bit := mark(part); *at&bit == 0 {
			continue
		}
		if _, in := parts[part]; in {
			parts[part], found = true, true
		}
	}
	if !found {
		return text
	}
	within := make([]bool, len(plain))
	for i := 0; i+quoted <= len(plain); i++ {
		if parts[binary.LittleEndian.Uint64(plain[i:])] {
			for j := range quoted {
				within[i+j] = true
			}
		}
	}
	var b strings.Builder
	for i, in := range within {
		switch {
		case !in:
			b.WriteString(text[at[i]:at[i+1]])
		case i == 0 || !within[i-1]:
			b.WriteString("[value]")
		}
	}
	return b.String()
}

// asItIs reads text byte by byte.
func asItIs(text string) (plain []byte, at []int) {
	for i := range len(text) + 1 {
		at = append(at, i)
	}
	return []byte(text), at
}

// unescaped reads what a string of SQL, JSON or Go, or a server, has escaped.
func unescaped(text string) (plain []byte, at []int) {
	if !strings.Contains(text, `\`) && !strings.Contains(text, "''") {
		return nil, nil
	}
	for i := 0; i < len(text); {
		b, n := text[i], 1
		switch rest := text[i+1:]; {
		case b == '\'' && strings.HasPrefix(rest, "'"):
			n = 2
		case b != '\\' || rest == "":
		case rest[0] == 'x' && len(rest) > 2:
			if one, err := hex.DecodeString(rest[1:3]); err == nil {
				b, n = one[0], 4
			}
		default:
			b, n = rest[0], 2
			if i := strings.IndexByte("nrt0", b); i >= 0 {
				b = "\n\r\t\x00"[i]
			}
		}
		plain, at = append(plain, b), append(at, i)
		i += n
	}
	return plain, append(at, len(text))
}

// fromHex reads pairs of hexadecimal digits, as PostgreSQL prints bytes, if there are
// enough of them in a row.
func fromHex(text string) (plain []byte, at []int) {
	some := false
	for i := 0; i < len(text); {
		n := len(text[i:]) - len(strings.TrimLeft(text[i:], "0123456789abcdefABCDEF"))
		if n < 2*quoted {
			for j := range max(n, 1) {
				plain, at = append(plain, text[i+j]), append(at, i+j)
			}
			i += max(n, 1)
			continue
		}
		some = true
		bytes, _ := hex.DecodeString(text[i : i+n&^1])
		for _, b := range bytes {
			plain, at = append(plain, b), append(at, i)
			i += 2
		}
	}
	if !some {
		return nil, nil
	}
	return plain, append(at, len(text))
}
