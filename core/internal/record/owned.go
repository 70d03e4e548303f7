package record

import (
	"bytes"
	"encoding/json"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// An Owned says whose a session is. It is stored as a list of strings, of which a
// later version may have more.
type Owned struct {
	Owner  string
	Serial string // tells the session from others of the owner, under whatever id
	Label  string
}

const ownedStrings = 3

// AppendOwned appends what ParseOwned reads.
func AppendOwned(b []byte, o Owned) []byte {
	b = jsontext.AppendString(append(b, '['), o.Owner)
	b = jsontext.AppendString(append(b, ','), o.Serial)
	b = jsontext.AppendString(append(b, ','), o.Label)
	return append(b, ']')
}

// ParseOwned reads what is stored. ok is false if it says nothing.
func ParseOwned(raw []byte) (o Owned, ok bool) {
	if own, rest, ok := cutOwned(raw); ok && len(rest) == 0 {
		owner, n, _ := cutPlain(own[1:])
		serial, m, _ := cutPlain(own[1+n+1:])
		label, _, _ := cutPlain(own[1+n+1+m+1:])
		return Owned{string(owner), string(serial), string(label)}, true
	}
	var all []string
	if json.Unmarshal(raw, &all) != nil || len(all) < ownedStrings || all[0] == "" || all[1] == "" {
		return Owned{}, false
	}
	return Owned{Owner: all[0], Serial: all[1], Label: all[2]}, true
}

// OwnerIn is the owner alone, "" if raw says nothing.
func OwnerIn(raw []byte) string {
	if owner, n, ok := cutPlain(raw[min(1, len(raw)):]); ok && len(raw) > n+1 && raw[0] == '[' && raw[n+1] == ',' {
		return string(owner)
	}
	o, _ := ParseOwned(raw)
	return o.Owner
}

// cutOwned cuts what AppendOwned has written from text, if no string in it has an
// escape.
func cutOwned(text []byte) (raw, rest []byte, ok bool) {
	at := 0
	for i := range ownedStrings {
		if at >= len(text) || text[at] != "[,,"[i] {
			return nil, nil, false
		}
		at++
		value, n, ok := cutPlain(text[at:])
		if !ok || i < 2 && len(value) == 0 {
			return nil, nil, false
		}
		at += n
	}
	if at >= len(text) || text[at] != ']' {
		return nil, nil, false
	}
	at++
	return text[:at:at], text[at:], true
}

// cutPlain is the string without an escape that text begins with, and how many bytes
// it takes with its quotes.
func cutPlain(text []byte) (value []byte, n int, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return nil, 0, false
	}
	end := bytes.IndexByte(text[1:], '"')
	if end < 0 {
		return nil, 0, false
	}
	value, ok = jsontext.PlainString(text[:end+2])
	return value, end + 2, ok
}
