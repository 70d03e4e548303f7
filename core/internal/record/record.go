// Package record reads and writes the stored bytes of a session. It knows what
// they say, and nothing of requests, options or stores.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unsafe"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// The stored bytes of a session are one JSON object. By default
//
//	{"_gs":{"v":1,"k":"…","p":"…","c":1767225600000,"s":"…"},"cookie":{…},"user":"ada",…}
//
// with the metadata under metaName, the session's own cookie options under
// cookieName if they differ from the configuration, and the application's
// values beside them. KoaCompat has no metadata, and cookie is always there
// and complete (K19). Values are decoded when they are asked for, and what
// nobody touched is written back as it was read: see Fields.

const (
	cookieName = "cookie"
	metaName   = "_gs"
	// recordFormat is the version of the metadata. Another one is ErrCorrupt:
	// what we can't read we must not write over.
	recordFormat = 1
)

// Reserved names can't be used for values.
func Reserved(name string) bool { return name == cookieName || name == metaName }

// A Record is what the bytes of a session say, with nothing decoded.
type Record struct {
	Fields          // the application's values
	Cookie  *Cookie // what the session has chosen for itself; nil for nothing
	Created int64   // in Unix milliseconds
	Login   int64   // of the last login, likewise; zero if there was none
	// Owned says whose session this is, as AppendOwned writes it; nil for nobody's.
	// Used is when such a session was written last, in Unix milliseconds.
	Owned []byte
	Used  int64
	// Since is when the session got its id, or another one was made for it last;
	// zero if that is when it began.
	Since int64
	// Next is the other id that the session is about to get of itself, as the end
	// of its key: it leads here, until a request brings it. Moved means that one
	// has: the session goes on under that key, and this is what it begins with.
	Next  string
	Moved bool
	// Old is not zero if the session was taken over from another place.
	Old Old
	// Fence, if not zero, makes the bytes differ from others that say the same:
	// from those before, or of who did the same.
	Fence uint32
	// extra is the metadata that this version does not know, in its order, to be
	// written back (W54). It is a pointer since hardly any record has some.
	extra *[]jsontext.Member
}

// Old says how far a session is that is taken over from another place.
type Old uint8

// The states of a session that is taken over.
const (
	OnTheWay  Old = 1 // what the other place has counts; if that is nothing, this does
	TakenOver Old = 2 // its id came from another library, and may come back in its form
	Announced Old = 3 // what the other place has counts; if that is nothing, the session has ended
	Left      Old = 4 // no record: it has gone to the other place
)

// Comes reports whether the other place may have the session.
func (o Old) Comes() bool { return o == OnTheWay || o == Announced }

// A Cookie is what one session has chosen for itself, as it is stored: its cookie
// options and its life. It is immutable.
type Cookie struct {
	Members []jsontext.Member
	// Demands is what the configuration demanded of cookies when the options
	// were chosen; nil in KoaCompat.
	Demands *Demands
	// Life is nil if the session lives as long as the configuration and its
	// cookie options say. KoaCompat has no place for it.
	Life *Life
}

// A Life is how long a session has chosen to live, in milliseconds. Zero is what
// the configuration says.
type Life struct {
	Idle       int64 `json:"i,omitempty"`
	Absolute   int64 `json:"a,omitempty"`
	Renew      int64 `json:"r,omitempty"`
	Closes     bool  `json:"b,omitempty"` // the cookie ends with the browser
	Remembered bool  `json:"m,omitempty"` // the limit is RememberFor, not the usual ones
}

// Demands are the options in which a configuration can become stricter than a
// stored session (K25), in the numbers that the core has for them.
type Demands struct {
	Secure   uint8 `json:"s,omitempty"`
	HTTPOnly uint8 `json:"h,omitempty"`
	SameSite uint8 `json:"x,omitempty"`
	MaxAge   int64 `json:"a,omitempty"` // ms, 0 for no limit
}

// All are the options; a nil Cookie has none.
func (c *Cookie) All() []jsontext.Member {
	if c == nil {
		return nil
	}
	return c.Members
}

// Lives is the life, zero for a nil Cookie.
func (c *Cookie) Lives() Life {
	if c == nil || c.Life == nil {
		return Life{}
	}
	return *c.Life
}

// SameCookie reports whether a and b, which may be nil, have chosen the same.
func SameCookie(a, b *Cookie) bool {
	return a.Lives() == b.Lives() && slices.EqualFunc(a.All(), b.All(), jsontext.SameMember)
}

// Began is when the time of the session began: with its last login, or else with
// its creation. In Unix milliseconds.
func (r *Record) Began() int64 { return max(r.Created, r.Login) }

// LivesAlone reports whether the options say how long the session lives. c may be
// nil.
func (c *Cookie) LivesAlone() bool {
	return jsontext.Index(c.All(), "maxAge") >= 0 || jsontext.Index(c.All(), "expires") >= 0
}

// Same reports whether a and b have the same values and cookie options, whatever
// their metadata.
func Same(a, b *Record) bool {
	return sameFields(&a.Fields, &b.Fields) && SameCookie(a.Cookie, b.Cookie)
}

// A Table of members finds them by name: by looking through few, by a map if
// they are many, lest a session of thousands of values costs their square.
type Table struct {
	members []jsontext.Member
	places  map[string]int // nil while they are few
}

// TableOf returns the table of members, which it keeps.
func TableOf(members []jsontext.Member) Table {
	t := Table{members: members}
	if len(members) >= jsontext.ManyMembers {
		t.places = make(map[string]int, 2*len(members))
		for i := range members {
			t.places[string(members[i].Name)] = i
		}
	}
	return t
}

// all are the members; a nil table has none.
func (t *Table) all() []jsontext.Member {
	if t == nil {
		return nil
	}
	return t.members
}

func (t *Table) find(name string) []byte {
	if t == nil {
		return nil
	}
	if t.places == nil {
		return jsontext.Find(t.members, name)
	}
	if i, ok := t.places[name]; ok {
		return t.members[i].Raw
	}
	return nil
}

// Put replaces the value under name where it stands, or appends it. A raw of
// nil takes it away, which Left tells.
func (t *Table) Put(name string, raw []byte) {
	if t.places == nil && len(t.members) >= jsontext.ManyMembers {
		*t = TableOf(t.members)
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
		t.members = append(t.members, jsontext.Member{Name: []byte(name), Raw: raw})
	}
}

// Left are the members that were not taken away. The table is used up.
func (t *Table) Left() []jsontext.Member {
	return slices.DeleteFunc(t.members, func(m jsontext.Member) bool { return m.Raw == nil })
}

// ErrCorrupt is the core's: what was read is no record of the key.
var ErrCorrupt = errors.New("stored session is corrupt")

// ErrForeign is the reply of another key, an ErrCorrupt: a fault between the
// store and us.
var ErrForeign = corrupt("it belongs to another key")

// corrupt is an ErrCorrupt that says why. It must not quote the data.
func corrupt(why string) error { return fmt.Errorf("%w: %s", ErrCorrupt, why) }

// keyMark returns the mark of key that its record contains: 96 bits of the hash
// at the end of the key. It reveals a reply that belongs to another key. It is
// not secret.
func keyMark(key string) string {
	if hash := len(key) - hashLen; hash > 0 {
		key = key[hash:]
	}
	return key[:min(len(key), markLen)]
}

// A Prefix is what the keys of one manager begin with, before the hash. It has the
// mark ready that their records contain (W44), since hardly any key has another prefix.
type Prefix struct {
	text   string
	marked string // what stands behind the mark of the key, up to the creation
}

// PrefixOf makes a Prefix.
func PrefixOf(text string) *Prefix {
	return &Prefix{text, string(appendPrefix(nil, text)) + headCreated}
}

// begins reports whether key begins with p, which may be nil.
func (p *Prefix) begins(key string) bool {
	return p != nil && prefixOf(key) == p.text
}

// prefixOf is the prefix of key: what keyMark leaves out.
func prefixOf(key string) string { return key[:max(len(key)-hashLen, 0)] }

// appendPrefix appends the mark of a prefix. It is a member of its own, so that
// versions that know only keyMark read the record and carry it along.
func appendPrefix(b []byte, prefix string) []byte {
	b = append(append(b, headPrefix...), "00000000"...)
	putSum((*[sumLen]byte)(b[len(b)-sumLen:]), prefixSum(prefix))
	return b
}

func prefixSum(prefix string) uint32 {
	return sumOf(unsafe.Slice(unsafe.StringData(prefix), len(prefix))) // #nosec G103 -- sumOf only reads
}

const (
	hashLen = 43 // characters of a SHA-256 in base64url
	markLen = 16
)

// What a record of this library begins with, around the mark of its key, the
// time of its creation, that of its last login, that of its id, the fence, and the
// checksum of what follows. Only parseAny reads other metadata, which stands before the
// checksum.
const (
	headOpen    = `{"` + metaName + `":{"v":1,"k":"`
	headPrefix  = `","p":"` // only in records since November 2026
	headCreated = `","c":`
	headLogin   = `,"l":`  // only where there is one
	headOwned   = `,"o":`  // likewise: a list of strings
	headUsed    = `,"u":`  // behind it
	headSince   = `,"i":`  // likewise
	headNext    = `,"n":"` // likewise; Next is of base64url
	headMoved   = `,"m":true`
	headOld     = `,"h":` // likewise
	headFence   = `,"f":` // likewise
	headSum     = `,"s":"`
	headClose   = `"}`
)

// Parse makes r what the bytes stored under key say. It keeps parts of data. p is the
// prefix that key likely has, nil for any. After an error r is of no use.
func (r *Record) Parse(data []byte, key string, p *Prefix) (err error) {
	if !r.parseOwn(data, key, p) {
		*r, err = parseAny(data, key, false)
	}
	return err
}

// ParseKoa makes r what generic-session has written, likewise.
func (r *Record) ParseKoa(data []byte) (err error) {
	*r, err = parseAny(data, "", true)
	return err
}

// parseOwn reads a record that this library wrote for a session without
// options of its own, as its checksum shows. The others are left to parseAny,
// which also says what is wrong with them.
func (r *Record) parseOwn(data []byte, key string, p *Prefix) bool {
	*r = Record{}
	mark := keyMark(key)
	rest, ok := bytes.CutPrefix(data, []byte(headOpen))
	if !ok || len(rest) < len(mark) || string(rest[:len(mark)]) != mark {
		return false
	}
	rest = rest[len(mark):]
	if p.begins(key) && len(rest) >= len(p.marked) && string(rest[:len(p.marked)]) == p.marked {
		rest = rest[len(p.marked):]
	} else if rest, ok = cutMarked(rest, key); !ok {
		return false
	}
	created, rest, ok := cutInt(rest)
	if !ok {
		return false
	}
	if len(rest) > 2 && rest[2] != headSum[2] {
		if rest, ok = r.parseRare(rest); !ok {
			return false
		}
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(headSum)); !ok || len(rest) < sumLen+len(headClose)+1 {
		return false
	}
	sum, rest := rest[:sumLen], rest[sumLen:]
	if rest, ok = bytes.CutPrefix(rest, []byte(headClose)); !ok || rest[len(rest)-1] != '}' {
		return false
	}
	if !isSum(sum, sumOf(rest)) {
		return false
	}
	text := rest[:len(rest)-1]
	if len(text) > 0 {
		if text[0] != ',' || len(text) == 1 || bytes.HasPrefix(text, []byte(`,"`+cookieName+`":`)) {
			return false
		}
		text = text[1:]
	}
	r.buf, r.Created = text[:len(text):len(text)], created
	return true
}

// cutMarked cuts what stands between the mark of key and the creation.
func cutMarked(rest []byte, key string) ([]byte, bool) {
	if marked, ok := bytes.CutPrefix(rest, []byte(headPrefix)); ok {
		if len(marked) < sumLen || !isSum(marked[:sumLen], prefixSum(prefixOf(key))) {
			return rest, false
		}
		rest = marked[sumLen:]
	}
	return bytes.CutPrefix(rest, []byte(headCreated))
}

// parseRare reads what a record has between its creation and the checksum, if it has
// some.
func (r *Record) parseRare(rest []byte) ([]byte, bool) {
	if login, ok := bytes.CutPrefix(rest, []byte(headLogin)); ok {
		if r.Login, rest, ok = cutInt(login); !ok || r.Login == 0 {
			return rest, false
		}
	}
	if owned, ok := bytes.CutPrefix(rest, []byte(headOwned)); ok {
		if r.Owned, rest, ok = cutOwned(owned); !ok {
			return rest, false
		}
		if rest, ok = bytes.CutPrefix(rest, []byte(headUsed)); !ok {
			return rest, false
		}
		if r.Used, rest, ok = cutInt(rest); !ok {
			return rest, false
		}
	}
	if since, ok := bytes.CutPrefix(rest, []byte(headSince)); ok {
		if r.Since, rest, ok = cutInt(since); !ok || r.Since == 0 {
			return rest, false
		}
	}
	if fenced, ok := bytes.CutPrefix(rest, []byte(headFence)); ok {
		var fence int64
		if fence, rest, ok = cutInt(fenced); !ok || fence < 0 || fence > math.MaxUint32 {
			return rest, false
		}
		r.Fence = uint32(fence) // #nosec G115 -- any number is one; what it compares with was written by Encode
	}
	return rest, true
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
func parseAny(data []byte, key string, koa bool) (Record, error) {
	var r Record
	all, ok := jsontext.ParseObject(data, nil)
	if !ok {
		return r, corrupt("it is no JSON object")
	}
	var chosen Cookie
	var err error
	meta := -1
	members := all[:0]
	for i := range all {
		switch string(all[i].Name) {
		case cookieName:
			if string(all[i].Raw) == "null" {
				continue
			}
			r.Cookie = new(Cookie)
			if r.Cookie.Members, ok = jsontext.ParseObject(all[i].Raw, nil); !ok {
				return r, corrupt("its cookie is no JSON object")
			}
		case metaName:
			if koa {
				members = append(members, all[i])
				continue
			}
			meta = i
			if chosen, err = r.parseMeta(all[i].Raw, key); err != nil {
				return r, err
			}
		default:
			members = append(members, all[i])
		}
	}
	if meta < 0 && !koa {
		return r, corrupt("it has no metadata of this library")
	}
	if r.Cookie == nil && chosen.Life != nil {
		r.Cookie = new(Cookie)
	}
	if r.Cookie != nil {
		r.Cookie.Demands, r.Cookie.Life = chosen.Demands, chosen.Life
	}
	r.Fields = Listed(members)
	return r, nil
}

func (r *Record) parseMeta(raw []byte, key string) (chosen Cookie, err error) {
	var room [4]jsontext.Member
	meta, ok := jsontext.ParseObject(raw, room[:0])
	if !ok {
		return chosen, corrupt("its metadata is no JSON object")
	}
	if v, err := jsontext.Decode[int](jsontext.Find(meta, "v")); err != nil || v != recordFormat {
		return chosen, corrupt("it has another format than this version of the library writes")
	}
	own, ok := jsontext.PlainString(jsontext.Find(meta, "k"))
	if !ok {
		return chosen, corrupt("its metadata does not name its key")
	}
	if string(own) != keyMark(key) {
		return chosen, ErrForeign
	}
	if p := jsontext.Find(meta, "p"); p != nil {
		switch own, ok := jsontext.PlainString(p); {
		case !ok:
			return chosen, corrupt("its mark of the prefix is no string")
		case len(own) != sumLen || !isSum(own, prefixSum(prefixOf(key))):
			return chosen, ErrForeign
		}
	}
	if r.Created, err = jsontext.Decode[int64](jsontext.Find(meta, "c")); err != nil {
		return chosen, corrupt("its time of creation is no number")
	}
	if l := jsontext.Find(meta, "l"); l != nil {
		if r.Login, err = jsontext.Decode[int64](l); err != nil {
			return chosen, corrupt("its time of login is no number")
		}
	}
	if o := jsontext.Find(meta, "o"); o != nil {
		if _, ok := ParseOwned(o); !ok {
			return chosen, corrupt("its owner is unreadable")
		}
		r.Owned = o
		if u := jsontext.Find(meta, "u"); u != nil {
			if r.Used, err = jsontext.Decode[int64](u); err != nil {
				return chosen, corrupt("the time of its last use is no number")
			}
		}
	}
	if i := jsontext.Find(meta, "i"); i != nil {
		if r.Since, err = jsontext.Decode[int64](i); err != nil {
			return chosen, corrupt("the time of its id is no number")
		}
	}
	if n := jsontext.Find(meta, "n"); n != nil {
		next, ok := jsontext.PlainString(n)
		if !ok {
			return chosen, corrupt("its next key is no plain text")
		}
		r.Next = string(next)
		r.Moved = string(jsontext.Find(meta, "m")) == "true"
	}
	if h := jsontext.Find(meta, "h"); h != nil {
		old, err := jsontext.Decode[uint8](h)
		if err != nil {
			return chosen, corrupt("its mark of another place is no number")
		}
		r.Old = Old(old)
	}
	if f := jsontext.Find(meta, "f"); f != nil {
		fence, err := jsontext.Decode[int64](f)
		if err != nil {
			return chosen, corrupt("its fence is no number")
		}
		r.Fence = uint32(fence) // #nosec G115 -- any number is one; what it compares with was written by Encode
	}
	if d := jsontext.Find(meta, "d"); d != nil {
		chosen.Demands = new(Demands)
		if err := json.Unmarshal(d, chosen.Demands); err != nil {
			return chosen, corrupt("its cookie demands are unreadable")
		}
	}
	if t := jsontext.Find(meta, "t"); t != nil {
		chosen.Life = new(Life)
		if err := json.Unmarshal(t, chosen.Life); err != nil {
			return chosen, corrupt("its life is unreadable")
		}
	}
	r.extra = unknownIn(meta)
	return chosen, nil
}

// unknownIn are the members of meta that this version does not know, nil for
// none.
func unknownIn(meta []jsontext.Member) *[]jsontext.Member {
	var extra []jsontext.Member
	for _, m := range meta {
		switch string(m.Name) {
		case "v", "k", "p", "c", "l", "o", "u", "i", "n", "m", "h", "f", "d", "t", "s":
		default:
			extra = append(extra, m)
		}
	}
	if extra == nil {
		return nil
	}
	found := extra // which is on the heap only if there are some
	return &found
}

// unknown are the members of its metadata that this version does not know.
func (r *Record) unknown() []jsontext.Member {
	if r.extra == nil {
		return nil
	}
	return *r.extra
}

// EncodeKoa writes what generic-session reads, behind the key.
func (r *Record) EncodeKoa(key string) []byte {
	text := append(make([]byte, 0, len(key)+len("{}")+r.size()), key...)
	return append(r.appendRest(append(text, '{')), '}')
}

// Front is how long is what Encode writes before the values, if the session has
// no options of its own.
func (r *Record) Front(key string) int {
	n := len(key) + len(headOpen) + len(keyMark(key)) + len(headPrefix) + sumLen + len(headCreated) + digits(r.Created) + len(headSum) + sumLen + len(headClose) + len(",")
	if r.Login != 0 {
		n += len(headLogin) + digits(r.Login)
	}
	if r.Owned != nil {
		n += len(headOwned) + len(r.Owned) + len(headUsed) + digits(r.Used)
	}
	if r.Since != 0 {
		n += len(headSince) + digits(r.Since)
	}
	if r.Next != "" {
		n += len(headNext) + len(r.Next) + len(`"`)
		if r.Moved {
			n += len(headMoved)
		}
	}
	if r.Old != 0 {
		n += len(headOld) + digits(int64(r.Old))
	}
	if r.Fence != 0 {
		n += len(headFence) + digits(int64(r.Fence))
	}
	return n + sizeOf(r.unknown())
}

// digits is how many n has, which is not negative.
func digits(n int64) int {
	count := 1
	for ; n >= 10; n /= 10 {
		count++
	}
	return count
}

// Encode writes what Parse reads, behind the key. p is the prefix that key likely
// has, nil for any. Nobody must write into it any more: it may be the text of r from
// now on.
func (r *Record) Encode(key string, p *Prefix) ([]byte, error) {
	var room [160]byte // more than a head without options takes
	head := append(append(room[:0], headOpen...), keyMark(key)...)
	if p.begins(key) {
		head = append(head, p.marked...)
	} else {
		head = append(appendPrefix(head, prefixOf(key)), headCreated...)
	}
	head = strconv.AppendInt(head, r.Created, 10)
	if r.Login != 0 {
		head = append(head, headLogin...)
		head = strconv.AppendInt(head, r.Login, 10)
	}
	if r.Owned != nil {
		head = append(append(append(head, headOwned...), r.Owned...), headUsed...)
		head = strconv.AppendInt(head, r.Used, 10)
	}
	if r.Since != 0 {
		head = append(head, headSince...)
		head = strconv.AppendInt(head, r.Since, 10)
	}
	if r.Next != "" {
		head = append(append(append(head, headNext...), r.Next...), '"')
		if r.Moved {
			head = append(head, headMoved...)
		}
	}
	if r.Old != 0 {
		head = append(head, headOld...)
		head = strconv.AppendUint(head, uint64(r.Old), 10)
	}
	if r.Fence != 0 {
		head = append(head, headFence...)
		head = strconv.AppendUint(head, uint64(r.Fence), 10)
	}
	if r.Cookie != nil && r.Cookie.Demands != nil {
		d, err := json.Marshal(r.Cookie.Demands)
		if err != nil {
			return nil, err
		}
		head = append(append(head, `,"d":`...), d...)
	}
	if r.Cookie != nil && r.Cookie.Life != nil {
		t, err := json.Marshal(r.Cookie.Life)
		if err != nil {
			return nil, err
		}
		head = append(append(head, `,"t":`...), t...)
	}
	head = append(jsontext.AppendMembers(head, r.unknown()), headSum...)
	sum := len(head)
	head = append(append(head, "00000000"...), headClose...)
	rest := len(head)
	if r.Cookie == nil && len(r.buf) > int(r.room) {
		head = append(head, ',')
		if text, ok := r.complete(key, head); ok {
			b := text[len(key):]
			putSum((*[sumLen]byte)(b[sum:]), sumOf(b[rest:]))
			return text, nil
		}
		head = head[:rest]
	}
	text := append(append(make([]byte, 0, len(key)+len(head)+r.size()+len(",}")), key...), head...)
	text = append(r.appendRest(text), '}')
	b := text[len(key):]
	putSum((*[sumLen]byte)(b[sum:]), sumOf(b[rest:]))
	return text, nil
}

// appendRest appends what follows the metadata.
func (r *Record) appendRest(b []byte) []byte {
	if r.Cookie != nil && (r.Cookie.Members != nil || r.Cookie.Life == nil) {
		b = append(appendComma(b), `"`+cookieName+`":{`...)
		b = append(jsontext.AppendMembers(b, r.Cookie.Members), '}')
	}
	return r.AppendTo(b)
}

func appendComma(b []byte) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return b
}

// size is how long appendRest makes it, or somewhat shorter if there are names
// that need escapes.
func (r *Record) size() int {
	n := r.Fields.size()
	if r.Cookie != nil {
		n += len(cookieName) + len(`,"":{}`) + sizeOf(r.Cookie.Members)
	}
	return n
}

// sizeOf is how long jsontext.AppendMembers makes them.
func sizeOf(members []jsontext.Member) (n int) {
	for _, m := range members {
		n += len(m.Name) + len(m.Raw) + len(`,"":`)
	}
	return n
}
