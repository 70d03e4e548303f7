package record

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// The application's values in a record, found when somebody asks for them.
//
// A record carries a checksum of their text. Where it is right, this library
// has written the text, so nobody has to go through it again to see whether it
// is JSON: a request that reads one value walks to that value, and one that
// changes one copies what stands before and behind it. Where it is wrong or
// missing, as after somebody has edited a record by hand, the strict scanner
// goes through the text as it does in KoaCompat. What is taken for a session
// does not depend on it.

// Fields are values in stored order, no name twice.
type Fields struct {
	buf   []byte // ends with `"a":1,"b":[2]`, as this library wrote it; nil if found counts
	room  uint32 // before that, for the front of the record, if it was spliced just now
	looks uint32 // how often a value was looked for
	found *Table // nil if there are none
	last  place  // of the value found last, which is often asked for again
}

// text is the values as they stand.
func (f *Fields) text() []byte { return f.buf[f.room:] }

// Few is how many values are looked for one by one before something is made
// that finds them faster.
const Few = 4

// Listed are fields that are found.
func Listed(members []jsontext.Member) Fields { return Fields{found: &Table{members: members}} }

// Empty are no fields, into which values can be spliced.
func Empty() Fields { return Fields{buf: []byte{}} }

// All returns the values as members, which the caller must not change. An
// error means that the checksum was right by accident.
func (f *Fields) All() ([]jsontext.Member, error) {
	if f.buf == nil {
		return f.found.all(), nil
	}
	object := append(append(append(make([]byte, 0, len(f.buf)+2), '{'), f.text()...), '}')
	members, ok := jsontext.ParseObject(object, nil)
	if !ok {
		return nil, corrupt("its checksum fits, but it is no JSON object")
	}
	*f = Listed(members)
	return members, nil
}

// Find returns the value under name, nil if there is none.
func (f *Fields) Find(name string) ([]byte, error) {
	if f.buf != nil {
		if at, ok := f.place(name); ok {
			if at.name == at.end {
				return nil, nil
			}
			return f.text()[at.raw:at.end:at.end], nil
		}
	}
	f.looks++
	members, err := f.All()
	if err != nil {
		return nil, err
	}
	if len(members) >= jsontext.ManyMembers && f.looks > Few && f.found.places == nil {
		t := TableOf(members) // another one, since copies of f have this one
		f.found = &t
	}
	return f.found.find(name), nil
}

// place returns where the value under name stands in the text. It reports false
// if the text must be gone through as a whole, or has been asked so often that
// a list is better. buf is not nil.
func (f *Fields) place(name string) (at place, ok bool) {
	text := f.text()
	if f.last.holds(text, name) {
		return f.last, true
	}
	if f.looks++; f.looks > Few || !plainName(name) {
		return at, false
	}
	if at, ok = walk(text, name); ok {
		f.last = at
	}
	return at, ok
}

// Splice returns f with raw as the value of name: where it stands, or behind
// all others; a raw of nil takes it away. front is how much room to leave for
// what comes before it. f itself stays as it is. It does nothing and reports
// false if f is a list, or would be the better for being one.
func (f Fields) Splice(name string, raw []byte, front int) (Fields, bool) {
	if f.buf == nil {
		return f, false
	}
	old := f.text()
	at, ok := f.place(name)
	if !ok {
		return f, false
	}
	before, after := old[:at.name], old[at.end:]
	was := at.name < at.end
	if raw == nil && !was {
		return f, true
	}
	size := front + len(old) + len("}")
	switch {
	case raw == nil:
		size -= int(at.end - at.name)
	case was:
		size += len(raw) - int(at.end-at.raw)
	default:
		size += len(name) + len(raw) + len(`,"":`)
	}
	buf := make([]byte, front, size)
	switch {
	case raw != nil && was:
		buf = append(append(append(buf, old[:at.raw]...), raw...), after...)
		at.end = at.raw + uint32(len(raw)) // #nosec G115 -- as below
	case raw != nil: // behind all others
		buf = append(buf, before...)
		if len(before) > 0 {
			buf = append(buf, ',')
		}
		at.name = uint32(len(buf) - front) // #nosec G115 -- likewise
		buf = append(jsontext.AppendString(buf, name), ':')
		at.raw = uint32(len(buf) - front) // #nosec G115 -- likewise
		buf = append(buf, raw...)
		at.end = uint32(len(buf) - front) // #nosec G115 -- likewise
	default:
		at = place{}
		// With one of the commas beside it.
		if len(before) > 0 {
			before = before[:len(before)-1]
		} else {
			after = bytes.TrimPrefix(after, []byte{','})
		}
		buf = append(append(buf, before...), after...)
	}
	// The save asks for the value once more.
	return Fields{buf: buf, room: uint32(front), last: at}, true // #nosec G115 -- at most 4 GiB, as walk has found
}

// complete makes a whole record of the values, with the key before it, if there
// is room for that in front of them, and uses the room up.
func (f *Fields) complete(key string, head []byte) ([]byte, bool) {
	start := int(f.room) - len(head) - len(key)
	if f.buf == nil || f.room == 0 || start < 0 {
		return nil, false
	}
	whole := append(f.buf[start:], '}')
	copy(whole[copy(whole, key):], head)
	f.buf, f.room = f.text(), 0
	return whole, true
}

// AppendTo appends the values as they stand in an object that b has begun.
func (f *Fields) AppendTo(b []byte) []byte {
	if f.buf == nil {
		return jsontext.AppendMembers(b, f.found.all())
	}
	if text := f.text(); len(text) > 0 {
		b = append(appendComma(b), text...)
	}
	return b
}

// size is how long AppendTo makes them, as Record.size says.
func (f *Fields) size() int { return len(f.text()) + len(",") + sizeOf(f.found.all()) }

func sameFields(a, b *Fields) bool {
	if a.buf != nil && b.buf != nil && bytes.Equal(a.text(), b.text()) {
		return true
	}
	all, errA := a.All()
	others, errB := b.All()
	return errA == nil && errB == nil && slices.EqualFunc(all, others, jsontext.SameMember)
}

// plainName reports whether name stands for itself in JSON.
func plainName(name string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// A place is where a member stands in a text: its name with the quote, its
// value, and where that ends. One that is not there stands at the end.
type place struct{ name, raw, end uint32 }

// holds reports whether the member of that name stands there.
func (p place) holds(text []byte, name string) bool {
	n := uint32(len(name)) // #nosec G115 -- compared with a place in the text
	return p.raw-p.name == n+3 && string(text[p.name+1:p.name+1+n]) == name
}

// walk looks for a plain name in a text that is trusted to be as Encode writes
// it. It checks only what keeps it within the text.
func walk(text []byte, name string) (at place, ok bool) {
	if uint64(len(text)) > math.MaxUint32 {
		return at, false
	}
	for i := 0; i < len(text); {
		if text[i] != '"' {
			return at, false
		}
		colon := skipString(text, i)
		if colon >= len(text) || text[colon] != ':' {
			return at, false
		}
		end := skipValue(text, colon+1)
		if end == colon+1 || end < len(text) && text[end] != ',' {
			return at, false
		}
		if colon-i == len(name)+2 && string(text[i+1:colon-1]) == name {
			return place{uint32(i), uint32(colon + 1), uint32(end)}, true // #nosec G115 -- compared above
		}
		i = end + 1
	}
	end := uint32(len(text)) // #nosec G115 -- compared above
	return place{end, end, end}, true
}

// skipValue returns where the value that begins at i ends, i if there is none.
func skipValue(text []byte, i int) int {
	if i >= len(text) {
		return i
	}
	switch text[i] {
	case '"':
		return skipString(text, i)
	case '{', '[':
		depth := 0
		for i < len(text) {
			switch text[i] {
			case '"':
				i = skipString(text, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return i
	}
	for i < len(text) && text[i] != ',' {
		i++
	}
	return i
}

// skipString returns where the string that begins at i ends, behind its quote,
// or the end of text.
func skipString(text []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for i++; ; {
		for ; len(text)-i >= 8; i += 8 {
			w := binary.LittleEndian.Uint64(text[i:])
			quote, backslash := w^ones*'"', w^ones*'\\'
			// As in plainBytes; a byte that is not ASCII may hide one, so those
			// are looked at one by one.
			if odd := (w | (quote - ones) | (backslash - ones)) & tops; odd != 0 {
				i += bits.TrailingZeros64(odd) / 8
				break
			}
		}
		if i >= len(text) {
			return len(text)
		}
		switch text[i] {
		case '"':
			return i + 1
		case '\\':
			i += 2
		default:
			i++
		}
	}
}

// sumLen is how long a checksum is in its text.
const sumLen = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // processors have an instruction for it

// sumOf is the checksum of text.
func sumOf(text []byte) uint32 { return crc32.Checksum(text, castagnoli) }

// hexSum is a checksum in hexadecimal digits, the first one in the highest byte. All
// digits are made at once, since each request needs it.
func hexSum(sum uint32) uint64 {
	const each = 0x0101010101010101
	x := uint64(sum)
	x = (x<<16 | x) & 0x0000ffff0000ffff
	x = (x<<8 | x) & 0x00ff00ff00ff00ff
	x = (x<<4 | x) & 0x0f0f0f0f0f0f0f0f
	letters := (x + 6*each) >> 4 & each
	return x + '0'*each + letters*('a'-'0'-10)
}

// putSum writes a checksum into dst, in hexadecimal digits.
func putSum(dst *[sumLen]byte, sum uint32) { binary.BigEndian.PutUint64(dst[:], hexSum(sum)) }

// isSum reports whether text, which is as long, is what putSum writes.
func isSum(text []byte, sum uint32) bool { return binary.BigEndian.Uint64(text) == hexSum(sum) }
