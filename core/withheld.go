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

// quoted is the length of a part that is not found by chance.
const quoted = 8

// withhold returns err without secret in its text. A short one is an id of nobody, and
// would stand in many a text by chance.
func withhold(err error, secret string) error {
	if err == nil || len(secret) < quoted {
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
	text := withoutParts(withoutBytes(whole), value)
	if text == whole {
		return err
	}
	return &withheld{text, func() error { return err }}
}

// withoutBytes replaces what stands in quotes and has a byte as \x and two digits, of which
// MariaDB and MySQL print six: "Incorrect string value: '\xF0\x9F\x98\x80 a...'".
func withoutBytes(text string) string {
	var b strings.Builder
	for first := true; ; first = false {
		end := strings.IndexAny(text, `'"`)
		switch {
		case end < 0:
			return b.String() + text
		case !first && strings.Contains(text[:end], `\x`):
			b.WriteString("[value]")
		default:
			b.WriteString(text[:end])
		}
		b.WriteByte(text[end])
		text = text[end+1:]
	}
}

// withoutParts replaces the parts of value in text: those that stand there as they are, as
// hexadecimal digits, and as a string of SQL, JSON or Go, or a server, escapes them.
func withoutParts(text string, value []byte) string {
	readings := []decoded{decode(text, asItIs), decode(text, fromHex), decode(text, unescaped)}
	ofValue := make(map[uint64]bool, len(text)) // the parts of text: whether value has them
	for _, d := range readings {
		for i := range len(d.plain) - quoted + 1 {
			ofValue[binary.LittleEndian.Uint64(d.plain[i:])] = false
		}
	}
	found := false
	for i := range len(value) - quoted + 1 {
		part := binary.LittleEndian.Uint64(value[i:])
		if _, in := ofValue[part]; in {
			ofValue[part], found = true, true
		}
	}
	if !found {
		return text
	}
	hidden := make([]bool, len(text))
	for _, d := range readings {
		for i, end := 0, 0; i < len(d.plain); i++ {
			if i+quoted <= len(d.plain) && ofValue[binary.LittleEndian.Uint64(d.plain[i:])] {
				end = i + quoted
			}
			for j := d.at[i]; i < end && j < d.at[i+1]; j++ {
				hidden[j] = true
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString("[value]")
		}
	}
	return b.String()
}

// A decoded is a text as bytes, with the place in it where each begins, and at last its end.
type decoded struct {
	plain []byte
	at    []int
}

// decode reads text with a function that returns its first byte, and how long that is there.
func decode(text string, first func(string) (byte, int)) decoded {
	d := decoded{make([]byte, 0, len(text)), make([]int, 1, len(text)+1)}
	for i := 0; i < len(text); {
		b, n := first(text[i:])
		i += n
		d.plain, d.at = append(d.plain, b), append(d.at, i)
	}
	return d
}

func asItIs(text string) (byte, int) { return text[0], 1 }

func fromHex(text string) (byte, int) {
	var b [1]byte
	if len(text) >= 2 {
		if _, err := hex.Decode(b[:], []byte(text[:2])); err == nil {
			return b[0], 2
		}
	}
	return text[0], 1
}

func unescaped(text string) (byte, int) {
	switch {
	case strings.HasPrefix(text, "''"):
		return '\'', 2
	case strings.HasPrefix(text, `\x`) && len(text) > 2:
		if b, n := fromHex(text[2:]); n == 2 {
			return b, 4
		}
	case text[0] == '\\' && len(text) > 1:
		if i := strings.IndexByte("nrt0", text[1]); i >= 0 {
			return "\n\r\t\x00"[i], 2
		}
		return text[1], 2
	}
	return text[0], 1
}
