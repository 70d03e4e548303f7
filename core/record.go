package core

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// The stored bytes of a session are one JSON object. By default
//
//	{"_gs":{"v":1,"k":"…","c":1767225600000,"s":"…"},"cookie":{…},"user":"ada",…}
//
// with the metadata under metaName, the session's own cookie options under
// cookieName if they differ from the configuration, and the application's
// values beside them. KoaCompat has no metadata, and cookie is always there
// and complete (K19). Values are decoded when they are asked for, and what
// nobody touched is written back as it was read: see fields.

const (
	cookieName = "cookie"
	metaName   = "_gs"
	// recordFormat is the version of the metadata. Another one is ErrCorrupt:
	// what we can't read we must not write over.
	recordFormat = 1
)

// reserved names can't be used for values.
func reserved(name string) bool { return name == cookieName || name == metaName }

// A member of a JSON object.
type member = jsontext.Member

// A record is what the bytes of a session say, with nothing decoded.
type record struct {
	fields             // the application's values
	own     *ownCookie // the session's own cookie options; nil if it has none
	created int64      // in Unix milliseconds
	login   int64      // when Login took effect last, likewise; zero if never
	// fence, if not zero, makes the bytes differ from others that say the same:
	// from those before (see Visit.fence), or of who did the same (see settle).
	fence uint32
}

// find returns the value under name, nil if there is none.
func find(members []member, name string) []byte {
	if i := jsontext.Index(members, name); i >= 0 {
		return members[i].Raw
	}
	return nil
}

// put replaces the value under name where it stands, or appends it.
func put(members []member, name string, raw []byte) []member {
	if i := jsontext.Index(members, name); i >= 0 {
		members[i].Raw = raw
		return members
	}
	return append(members, member{Name: []byte(name), Raw: raw})
}

// drop removes the value under name.
func drop(members []member, name string) []member {
	if i := jsontext.Index(members, name); i >= 0 {
		return append(members[:i], members[i+1:]...)
	}
	return members
}

// A table of members finds them by name: by looking through few, by a map if
// they are many, lest a session of thousands of values costs their square.
type table struct {
	members []member
	places  map[string]int // nil while they are few
}

func tableOf(members []member) table {
	t := table{members: members}
	if len(members) >= jsontext.ManyMembers {
		t.places = make(map[string]int, 2*len(members))
		for i := range members {
			t.places[string(members[i].Name)] = i
		}
	}
	return t
}

// all are the members; a nil table has none.
func (t *table) all() []member {
	if t == nil {
		return nil
	}
	return t.members
}

func (t *table) find(name string) []byte {
	if t == nil {
		return nil
	}
	if t.places == nil {
		return find(t.members, name)
	}
	if i, ok := t.places[name]; ok {
		return t.members[i].Raw
	}
	return nil
}

// put replaces the value under name where it stands, or appends it. A raw of
// nil takes it away, which left tells.
func (t *table) put(name string, raw []byte) {
	if t.places == nil && len(t.members) >= jsontext.ManyMembers {
		*t = tableOf(t.members)
	}
	i := -1
	if t.places == nil {
		i = jsontext.Index(t.members, name)
	} else if place, ok := t.places[name]; ok {
		i = place
	}
	switch {
	case i >= 0:
		t.members[i].Raw = raw
	case raw != nil:
		if t.places != nil {
			t.places[name] = len(t.members)
		}
		t.members = append(t.members, member{Name: []byte(name), Raw: raw})
	}
}

// left are the members that were not taken away. The table is used up.
func (t *table) left() []member {
	return slices.DeleteFunc(t.members, func(m member) bool { return m.Raw == nil })
}

// corrupt is an ErrCorrupt that says why. It must not quote the data.
func corrupt(why string) error { return fmt.Errorf("%w: %s", ErrCorrupt, why) }

// errForeign is the reply of another key: a fault between the store and us.
var errForeign = corrupt("it belongs to another key")

// What a record of this library begins with, around the mark of its key, the
// time of its creation, the fence, and the checksum of what follows.
const (
	headOpen    = `{"` + metaName + `":{"v":1,"k":"`
	headCreated = `","c":`
	headFence   = `,"f":` // only where there is one
	headSum     = `,"s":"`
	headClose   = `"}`
)

// parseRecord reads the bytes stored under key. It keeps parts of data.
func parseRecord(data []byte, key string, koa bool) (record, error) {
	if !koa {
		if r, ok := parseOwn(data, key); ok {
			return r, nil
		}
	}
	return parseAny(data, key, koa)
}

// parseOwn reads a record that this library wrote for a session without
// options of its own, as its checksum shows. The others are left to parseAny,
// which also says what is wrong with them.
func parseOwn(data []byte, key string) (r record, ok bool) {
	mark := keyMark(key)
	rest, ok := bytes.CutPrefix(data, []byte(headOpen))
	if !ok || len(rest) < len(mark) || string(rest[:len(mark)]) != mark {
		return r, false
	}
	if rest, ok = bytes.CutPrefix(rest[len(mark):], []byte(headCreated)); !ok {
		return r, false
	}
	created, rest, ok := cutInt(rest)
	if !ok {
		return r, false
	}
	if fenced, ok := bytes.CutPrefix(rest, []byte(headFence)); ok {
		var fence int64
		if fence, rest, ok = cutInt(fenced); !ok || fence < 0 || fence > math.MaxUint32 {
			return r, false
		}
		r.fence = uint32(fence)
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(headSum)); !ok || len(rest) < sumLen+len(headClose)+1 {
		return r, false
	}
	sum, rest := rest[:sumLen], rest[sumLen:]
	if rest, ok = bytes.CutPrefix(rest, []byte(headClose)); !ok || rest[len(rest)-1] != '}' {
		return r, false
	}
	var want [sumLen]byte
	if putSum(&want, rest); string(want[:]) != string(sum) {
		return r, false
	}
	text := rest[:len(rest)-1]
	if len(text) > 0 {
		if text[0] != ',' || len(text) == 1 || bytes.HasPrefix(text, []byte(`,"`+cookieName+`":`)) {
			return r, false
		}
		text = text[1:]
	}
	r.buf, r.created = text[:len(text):len(text)], created
	return r, true
}

// cutInt reads the whole number, not negative, that text begins with.
func cutInt(text []byte) (n int64, rest []byte, ok bool) {
	end := 0
	for end < len(text) && end <= 18 && '0' <= text[end] && text[end] <= '9' {
		n = n*10 + int64(text[end]-'0')
		end++
	}
	return n, text[end:], 0 < end && end <= 18 && (text[0] != '0' || end == 1)
}

// parseAny reads any record, in one pass that checks that it is JSON.
func parseAny(data []byte, key string, koa bool) (record, error) {
	var r record
	all, ok := jsontext.ParseObject(data, nil)
	if !ok {
		return r, corrupt("it is no JSON object")
	}
	var then *demands
	var err error
	meta := -1
	members := all[:0]
	for i := range all {
		switch string(all[i].Name) {
		case cookieName:
			if string(all[i].Raw) == "null" {
				continue
			}
			r.own = new(ownCookie)
			if r.own.members, ok = jsontext.ParseObject(all[i].Raw, nil); !ok {
				return r, corrupt("its cookie is no JSON object")
			}
		case metaName:
			if koa {
				members = append(members, all[i])
				continue
			}
			meta = i
			if then, err = r.parseMeta(all[i].Raw, key); err != nil {
				return r, err
			}
		default:
			members = append(members, all[i])
		}
	}
	if meta < 0 && !koa {
		return r, corrupt("it has no metadata of this library")
	}
	if r.own != nil {
		r.own.then = then
	}
	r.fields = listed(members)
	return r, nil
}

func (r *record) parseMeta(raw []byte, key string) (then *demands, err error) {
	var room [4]member
	meta, ok := jsontext.ParseObject(raw, room[:0])
	if !ok {
		return nil, corrupt("its metadata is no JSON object")
	}
	if v, err := jsontext.Decode[int](find(meta, "v")); err != nil || v != recordFormat {
		return nil, corrupt("it has another format than this version of the library writes")
	}
	own, ok := jsontext.PlainString(find(meta, "k"))
	if !ok {
		return nil, corrupt("its metadata does not name its key")
	}
	if string(own) != keyMark(key) {
		return nil, errForeign
	}
	if r.created, err = jsontext.Decode[int64](find(meta, "c")); err != nil {
		return nil, corrupt("its time of creation is no number")
	}
	if f := find(meta, "f"); f != nil {
		fence, err := jsontext.Decode[int64](f)
		if err != nil {
			return nil, corrupt("its fence is no number")
		}
		r.fence = uint32(fence)
	}
	if d := find(meta, "d"); d != nil {
		then = new(demands)
		if err := json.Unmarshal(d, then); err != nil {
			return nil, corrupt("its cookie demands are unreadable")
		}
	}
	return then, nil
}

// encode returns the bytes to store, behind the key, if they are within MaxSize.
// Nobody writes into them any more: a keeper has them for good, and another
// store may be late with them.
func (r *record) encode(key string, m *Manager) (text []byte, err error) {
	if text, err = m.dialect.encode(r, key); err != nil {
		return nil, err
	}
	if size := len(text) - len(key); size > m.o.MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, Options.MaxSize is %d", ErrTooLarge, size, m.o.MaxSize)
	}
	return text, nil
}

// encodeKoa writes what generic-session reads.
func (r *record) encodeKoa(key string) []byte {
	text := append(make([]byte, 0, len(key)+len("{}")+r.size()), key...)
	return append(r.appendRest(append(text, '{')), '}')
}

// front is how long is what encode writes before the values, if the session has
// no options of its own.
func (r *record) front(key string) int {
	n := len(key) + len(headOpen) + len(keyMark(key)) + len(headCreated) + digits(r.created) + len(headSum) + sumLen + len(headClose) + len(",")
	if r.fence != 0 {
		n += len(headFence) + digits(int64(r.fence))
	}
	return n
}

// digits is how many n has, which is not negative.
func digits(n int64) int {
	count := 1
	for ; n >= 10; n /= 10 {
		count++
	}
	return count
}

// encodeOwn writes what parseOwn and parseAny read.
func (r *record) encodeOwn(key string) ([]byte, error) {
	var room [128]byte // more than a head without options takes
	head := append(append(append(room[:0], headOpen...), keyMark(key)...), headCreated...)
	head = strconv.AppendInt(head, r.created, 10)
	if r.fence != 0 {
		head = append(head, headFence...)
		head = strconv.AppendUint(head, uint64(r.fence), 10)
	}
	if r.own != nil && r.own.then != nil {
		d, err := json.Marshal(r.own.then)
		if err != nil {
			return nil, err
		}
		head = append(append(head, `,"d":`...), d...)
	}
	head = append(head, headSum...)
	sum := len(head)
	head = append(append(head, "00000000"...), headClose...)
	rest := len(head)
	if r.own == nil && len(r.buf) > int(r.room) {
		head = append(head, ',')
		if text, ok := r.complete(key, head); ok {
			b := text[len(key):]
			putSum((*[sumLen]byte)(b[sum:]), b[rest:])
			return text, nil
		}
		head = head[:rest]
	}
	text := append(append(make([]byte, 0, len(key)+len(head)+r.size()+len(",}")), key...), head...)
	text = append(r.appendRest(text), '}')
	b := text[len(key):]
	putSum((*[sumLen]byte)(b[sum:]), b[rest:])
	return text, nil
}

// appendRest appends what follows the metadata.
func (r *record) appendRest(b []byte) []byte {
	if r.own != nil {
		b = append(appendComma(b), `"`+cookieName+`":{`...)
		b = append(appendMembers(b, r.own.members), '}')
	}
	return r.appendTo(b)
}

func appendMembers(b []byte, members []member) []byte {
	for i := range members {
		b = appendComma(b)
		b = jsontext.AppendString(b, string(members[i].Name))
		b = append(append(b, ':'), members[i].Raw...)
	}
	return b
}

func appendComma(b []byte) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return b
}

// size is how long appendRest makes it, or somewhat shorter if there are names
// that need escapes.
func (r *record) size() int {
	n := r.fields.size()
	if r.own != nil {
		n += len(cookieName) + len(`,"":{}`) + sizeOf(r.own.members)
	}
	return n
}

// sizeOf is how long appendMembers makes them.
func sizeOf(members []member) (n int) {
	for _, m := range members {
		n += len(m.Name) + len(m.Raw) + len(`,"":`)
	}
	return n
}
