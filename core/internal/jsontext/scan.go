package jsontext

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// A strict scanner of one JSON object (RFC 8259). It accepts the texts that
// json.Valid accepts, and returns the members of the object.

// MaxDepth is the maximum nesting depth of values, as in encoding/json.
const MaxDepth = 10000

// ManyMembers is the number of members from which names are looked up in a map,
// so that the time does not grow with the square of their number.
const ManyMembers = 64

// A Member of a JSON object: its name, decoded, and its value as it stands. Both
// are parts of the text that was read.
type Member struct {
	Name []byte
	Raw  []byte
}

// Index is the place of the member of that name, -1 if there is none.
func Index(members []Member, name string) int {
	for i := range members {
		if string(members[i].Name) == name {
			return i
		}
	}
	return -1
}

// Find returns the value under name, nil if there is none.
func Find(members []Member, name string) []byte {
	if i := Index(members, name); i >= 0 {
		return members[i].Raw
	}
	return nil
}

// Put replaces the value under name where it stands, or appends it.
func Put(members []Member, name string, raw []byte) []Member {
	if i := Index(members, name); i >= 0 {
		members[i].Raw = raw
		return members
	}
	return append(members, Member{Name: []byte(name), Raw: raw})
}

// Drop removes the value under name.
func Drop(members []Member, name string) []Member {
	if i := Index(members, name); i >= 0 {
		return append(members[:i], members[i+1:]...)
	}
	return members
}

// SameMember reports whether a and b have one name and, as Same compares them,
// one value.
func SameMember(a, b Member) bool { return bytes.Equal(a.Name, b.Name) && Same(a.Raw, b.Raw) }

// AppendMembers appends members to the object that b has begun.
func AppendMembers(b []byte, members []Member) []byte {
	for i := range members {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = AppendString(b, string(members[i].Name))
		b = append(append(b, ':'), members[i].Raw...)
	}
	return b
}

// ParseObject appends the members of the object in text to into, in order. If a
// name occurs twice, the later value takes the place of the earlier one. The
// members are slices of text.
func ParseObject(text []byte, into []Member) (members []Member, ok bool) {
	s := scanner{text: text}
	s.space()
	if !s.next('{') {
		return nil, false
	}
	members = into
	if members == nil {
		members = make([]Member, 0, 8)
	}
	var places map[string]int
	s.space()
	for first := true; !s.next('}'); first = false {
		if !first && !s.next(',') {
			return nil, false
		}
		s.space()
		name, ok := s.name()
		if !ok {
			return nil, false
		}
		s.space()
		if !s.next(':') {
			return nil, false
		}
		s.space()
		start := s.at
		if !s.value(1) {
			return nil, false
		}
		raw := text[start:s.at:s.at]
		s.space()

		place := -1
		if len(members) < ManyMembers {
			place = Index(members, string(name))
		} else {
			if places == nil {
				places = make(map[string]int, 2*len(members))
				for i := range members {
					places[string(members[i].Name)] = i
				}
			}
			if i, there := places[string(name)]; there {
				place = i
			} else {
				places[string(name)] = len(members)
			}
		}
		if place >= 0 {
			members[place].Raw = raw
		} else {
			members = append(members, Member{name, raw})
		}
	}
	s.space()
	return members, s.at == len(text)
}

type scanner struct {
	text []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// next skips c if it comes next.
func (s *scanner) next(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// name reads the name of a member. A name without escapes is a slice of the text.
func (s *scanner) name() (name []byte, ok bool) {
	start := s.at
	plain, ok := s.string()
	if !ok {
		return nil, false
	}
	if plain {
		return s.text[start+1 : s.at-1 : s.at-1], true
	}
	var decoded string
	if json.Unmarshal(s.text[start:s.at], &decoded) != nil {
		return nil, false
	}
	return []byte(decoded), true
}

// string skips a string; plain means ASCII without escapes.
func (s *scanner) string() (plain, ok bool) {
	if !s.next('"') {
		return false, false
	}
	plain = true
	text := s.text
	for i := s.at; i < len(text); i++ {
		i += plainBytes(text[i:])
		if i == len(text) {
			break
		}
		switch c := text[i]; {
		case c == '"':
			s.at = i + 1
			return plain, true
		case c < ' ':
			return false, false
		case c >= 0x80:
			plain = false
		case c == '\\':
			plain = false
			i++
			if i >= len(text) {
				return false, false
			}
			switch text[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(text) || !hex4(text[i+1:i+5]) {
					return false, false
				}
				i += 4
			default:
				return false, false
			}
		}
	}
	return false, false
}

// plainBytes counts the leading bytes of text that a string contains unescaped:
// ASCII except controls, quotes and backslashes. It tests eight bytes at a time,
// since a record is mostly strings.
func plainBytes(text []byte) (n int) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(text)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(text[n:])
		quote, backslash := w^ones*'"', w^ones*'\\'
		// The lowest set top bit marks the first other byte: borrows change only
		// the bytes above it.
		odd := (w | (w - ones*' ') | (quote - ones) | (backslash - ones)) & tops
		if odd != 0 {
			return n + bits.TrailingZeros64(odd)/8
		}
	}
	for ; n < len(text); n++ {
		if c := text[n]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			break
		}
	}
	return n
}

func hex4(b []byte) bool {
	for _, c := range b {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}

// value skips any value.
func (s *scanner) value(depth int) bool {
	if s.at >= len(s.text) || depth > MaxDepth {
		return false
	}
	switch s.text[s.at] {
	case '"':
		_, ok := s.string()
		return ok
	case '{':
		return s.list('}', depth, true)
	case '[':
		return s.list(']', depth, false)
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

// list skips an object or an array.
func (s *scanner) list(end byte, depth int, named bool) bool {
	s.at++
	if depth+1 > MaxDepth {
		return false
	}
	s.space()
	for first := true; !s.next(end); first = false {
		if !first && !s.next(',') {
			return false
		}
		s.space()
		if named {
			if _, ok := s.string(); !ok {
				return false
			}
			s.space()
			if !s.next(':') {
				return false
			}
			s.space()
		}
		if !s.value(depth + 1) {
			return false
		}
		s.space()
	}
	return true
}

func (s *scanner) word(w string) bool {
	if len(s.text)-s.at >= len(w) && string(s.text[s.at:s.at+len(w)]) == w {
		s.at += len(w)
		return true
	}
	return false
}

// number skips -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
func (s *scanner) number() bool {
	s.next('-')
	if !s.next('0') && !s.digits() {
		return false
	}
	if s.next('.') && !s.digits() {
		return false
	}
	if s.next('e') || s.next('E') {
		if !s.next('+') {
			s.next('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > start
}
