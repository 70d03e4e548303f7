// Package cookiefields has Cookie fields, ordinary and odd ones, with what programs
// of Node take for the session cookie in each, and a table of the differences from
// what this library takes. Tests of the parsers of Go use both.
package cookiefields

import (
	"context"
	_ "embed" // the recording
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A Parser is code that reads Cookie fields.
type Parser string

// The parsers that this library is compared with.
const (
	Koa      Parser = "cookies"             // that of Koa
	Signed   Parser = "cookies, signed"     // the same with a signature
	Cookie   Parser = "cookie"              // that of Node
	Express  Parser = "cookie, for Express" // its former version, which Express and express-session use
	NetHTTP  Parser = "net/http"
	FastHTTP Parser = "fasthttp"
)

// A Field is a Cookie field, and what was found in it.
type Field struct {
	Name    string            // of the session cookie
	Text    string            // the field
	Found   map[Parser]string // the first value under the name; no entry where there is none
	Refused bool              // by the server of Node, with its whole request
}

// A Verified is a Cookie field with signatures.
type Verified struct {
	Text  string
	ID    string // that Cookies.get returned with signed: true, "" if none
	Sends string // "again" for the signature by the first key, "removed" for its removal, or ""
}

// A Signer is an application of Koa, with fields that it was asked about. The first
// of them is the cookie as it was sent.
type Signer struct {
	Name                string
	Algorithm, Encoding string
	Keys                []string
	Fields              []Verified
}

//go:embed recorded.json
var recorded []byte

// Recorded returns what make.js has recorded.
func Recorded() ([]Field, []Signer, error) {
	var file struct {
		Fields []struct {
			Name   string
			Fields [][]any
		}
		Signed []struct {
			Signer
			Fields [][]any
		}
	}
	if err := json.Unmarshal(recorded, &file); err != nil {
		return nil, nil, err
	}
	var fields []Field
	for _, group := range file.Fields {
		for _, row := range group.Fields {
			f := Field{Name: group.Name, Found: map[Parser]string{}}
			switch text := row[0].(type) {
			case string:
				f.Text = bytesOf(text)
			case []any:
				for _, part := range text {
					part := part.([]any)
					f.Text += strings.Repeat(bytesOf(part[0].(string)), int(part[1].(float64)))
				}
			}
			for i, p := range []Parser{Koa, Cookie, Express} {
				value := row[1]
				if each, ok := value.([]any); ok {
					value = each[i]
				}
				if value, ok := value.(string); ok {
					f.Found[p] = bytesOf(value)
				}
			}
			f.Refused = len(row) > 2
			fields = append(fields, f)
		}
	}
	var signers []Signer
	for _, s := range file.Signed {
		for _, row := range s.Fields {
			id, _ := row[1].(string)
			s.Signer.Fields = append(s.Signer.Fields, Verified{bytesOf(row[0].(string)), bytesOf(id), row[2].(string)})
		}
		signers = append(signers, s.Signer)
	}
	return fields, signers, nil
}

// bytesOf is a string of Node, in which a character is a byte. Others, which decoding
// of percent signs makes, stay as they are.
func bytesOf(s string) string {
	var b []byte
	for _, r := range s {
		if r < 0x100 {
			b = append(b, byte(r))
		} else {
			b = append(b, string(r)...)
		}
	}
	return string(b)
}

// A Reader tells what this library finds.
type Reader struct {
	name    string
	manager *core.Manager
	store   *asked
}

// NewReader returns a Reader of cookies of that name, signed as s does, or unsigned
// if s is nil.
func NewReader(name string, s *Signer) (*Reader, error) {
	return newReader(name, s, nil)
}

func newReader(name string, s *Signer, newID func(context.Context) (string, error)) (*Reader, error) {
	o := core.KoaCompat() // whose keys in the store show the id
	o.Name, o.NewID = name, newID
	o.Cookie.Signed = core.Off
	if s != nil {
		o.Cookie.Signed, o.Koa, o.Keys = core.On, koaOptions(s), keysOfKoa(s)
	}
	if strings.HasPrefix(name, "__Host-") {
		o.Cookie.Secure = core.On
	}
	r := &Reader{name: name, store: &asked{}}
	var err error
	r.manager, err = core.New(r.store, o)
	return r, err
}

func koaOptions(s *Signer) core.KoaOptions {
	return core.KoaOptions{Algorithm: s.Algorithm, Encoding: s.Encoding, ValidID: func(id string) bool { return strings.HasPrefix(id, "user:") }}
}

func keysOfKoa(s *Signer) (keys core.Keyring) {
	for _, key := range s.Keys {
		keys = append(keys, []byte(key))
	}
	return keys
}

// ReadMigrating returns the id that an application finds which has left KoaCompat and
// still takes the cookies of s, if the store has the records of all values in the field.
func ReadMigrating(s *Signer, field string) (id string, err error) {
	o := &core.Options{
		Name: s.Name, Koa: koaOptions(s), Keys: core.Keyring{[]byte("HxB3p0q7Zk2mVtN8wRf5yLdGsJcE9uAa")},
		Migrate: core.Migration{Keys: keysOfKoa(s), Until: time.Now().Add(time.Hour)}, InsecureShortKeys: true,
	}
	if strings.HasPrefix(s.Name, "__Host-") {
		o.Cookie.Secure = core.On
	}
	store := memorystore.New(nil)
	defer store.Close()
	for _, pair := range pairsOf(field) {
		// Those that are no key are no id either.
		_ = store.Set(context.Background(), "koa:sess:"+bare(pair[1]), []byte(`{"cookie":{},"n":1}`), time.Hour)
	}
	m, err := core.New(store, o)
	if err != nil {
		return "", err
	}
	defer m.Close()
	v, _ := m.NewVisit(&jartest.Jar{Cookies: []string{field}, TLS: true}, nil)
	session, err := v.Session(context.Background())
	if err != nil || session.IsNew() {
		return "", err
	}
	return string(session.ID()), nil
}

// Close ends the Reader.
func (r *Reader) Close() { r.manager.Close() }

// Read returns the id of the session to which a request with that field belongs, ""
// if to none, and what becomes of the signature, as in Verified.
func (r *Reader) Read(field string) (id, sends string, err error) {
	r.store.key = ""
	jar := &jartest.Jar{Cookies: []string{field}, TLS: true}
	v, _ := r.manager.NewVisit(jar, nil)
	if err := v.Begin(context.Background()); err != nil {
		return "", "", err
	}
	err = v.Commit(context.Background())
	for _, line := range jar.SetCookies {
		switch value, ok := strings.CutPrefix(line, r.name+".sig="); {
		case ok && strings.HasPrefix(value, ";"):
			sends = "removed"
		case ok:
			sends = "again"
		}
	}
	return strings.TrimPrefix(r.store.key, "koa:sess:"), sends, err
}

// Sent returns what a browser sends back after a new session with that id.
func Sent(s *Signer, id string) (field string, err error) {
	r, err := newReader(s.Name, s, func(context.Context) (string, error) { return id, nil })
	if err != nil {
		return "", err
	}
	defer r.Close()
	r.store.empty = true
	jar := &jartest.Jar{TLS: true}
	v, _ := r.manager.NewVisit(jar, nil)
	session, err := v.Session(context.Background())
	if err != nil {
		return "", err
	}
	if err := session.Set("n", 1); err != nil {
		return "", err
	}
	if err := v.Commit(context.Background()); err != nil {
		return "", err
	}
	var pairs []string
	for _, line := range jar.SetCookies {
		pair, _, _ := strings.Cut(line, ";")
		pairs = append(pairs, pair)
	}
	return strings.Join(pairs, "; "), nil
}

// asked is a store that remembers what it was asked for, and has that, or nothing.
type asked struct {
	key   string
	empty bool
}

func (a *asked) Get(_ context.Context, key string) ([]byte, error) {
	a.key = key
	if a.empty {
		return nil, core.ErrNotFound
	}
	return []byte(`{"cookie":{},"n":1}`), nil
}
func (a *asked) Set(context.Context, string, []byte, time.Duration) error { return nil }
func (a *asked) Destroy(context.Context, string) error                    { return nil }

// A Case is what this library and a parser find in a field under a name. Theirs is
// the first value, which programs take; both are "" where there is none.
type Case struct {
	Parser       Parser
	Name, Field  string
	Ours, Theirs string

	OursSends, TheirsSends string // as in Verified
}

// A Difference is one that is meant.
type Difference struct {
	What    string
	Parsers []Parser // that have it
	Reason  string   // why, and why nobody gets another one's session by it
	Source  string   // what the reason rests on
	covers  func(Case) bool
}

// Differences are all that may be. Where one finds an id and the other one finds none,
// they are not at odds about whose a request is: it is logged in for one of them only.
// Two ids are found for one reason only, "several", and both were in the request. Where
// there is a difference this library sends nothing of the signature.
var Differences = []Difference{
	{
		What: "no id", Parsers: []Parser{Koa, Signed, Cookie, Express, NetHTTP, FastHTTP},
		Reason: "The value has not the form of an id, so we find none. What we would not have made reaches no store.",
		Source: "K9, W47; RFC 6265 section 4.1.1 leaves the values to the server",
		covers: func(c Case) bool {
			first := c.Theirs
			if all := named(c, ""); first == "" && len(all) > 0 {
				first = bare(all[0])
			}
			return c.Ours == "" && !shaped(first)
		},
	},
	{
		What: "limits", Parsers: []Parser{Koa, Cookie, Express, NetHTTP, FastHTTP},
		Reason: "There are more bytes, pairs or cookies of the name than browsers send, and we look at none.",
		Source: "R34, P7; RFC 6265 section 6.1",
		covers: func(c Case) bool {
			return c.Ours == "" && (len(c.Field) > 16<<10 || strings.Count(c.Field, ";") >= 200 || len(named(c, "")) > 4)
		},
	},
	{
		What: "several", Parsers: []Parser{Koa, Signed, Cookie, Express, NetHTTP, FastHTTP},
		Reason: "The others take the first cookie of the name, whatever it is. We look at all, and the first one that can be an id (and, signed, that has a signature) counts; by default the one that lives.",
		Source: "R32, P7; RFC 6265 section 4.2.2: servers should not rely on the order",
		covers: func(c Case) bool {
			all := named(c, "")
			for _, value := range all {
				if value = bare(value); shaped(value) && c.Parser == Signed {
					return c.Ours != "" && len(all)+len(named(c, ".sig")) > 2
				} else if shaped(value) && len(all) > 1 {
					return c.Ours == value
				}
			}
			return false
		},
	},
	{
		What: "blanks beside the name", Parsers: []Parser{Koa, Signed},
		Reason: "Koa takes away those in front of the name that are no tabs, and none behind it, so it finds none. Browsers take away both kinds before they look at the prefix of a name (__Host-), so no other name of theirs becomes ours.",
		Source: "K10; RFC 6265 section 5.2 step 4",
		covers: func(c Case) bool {
			keys := keysOf(c)
			return c.Ours != "" && c.Theirs == "" && len(keys) == 1 && strings.TrimLeft(keys[0], " ") != c.Name
		},
	},
	{
		What: "blanks beside the value", Parsers: []Parser{Koa, Signed, NetHTTP},
		Reason: "They leave some of them in the value, and net/http passes over a value with a tab. With them it is no id, so they find no other session, but none.",
		Source: "K10; RFC 6265 section 5.2 step 4",
		covers: func(c Case) bool {
			blank := func(value string) bool { return value != strings.Trim(value, blanks) }
			passed := c.Ours != "" && c.Theirs == ""
			switch all := named(c, ""); c.Parser {
			case Signed:
				return passed && slices.ContainsFunc(append(all, named(c, ".sig")...), blank)
			case NetHTTP:
				if passed && len(all) == 1 && strings.HasPrefix(strings.TrimLeft(all[0], " "), "\t") {
					return true
				}
			}
			return c.Ours != "" && strings.Trim(c.Theirs, blanks) == c.Ours
		},
	},
	{
		What: "quotes", Parsers: []Parser{Koa, Cookie},
		Reason: "They leave them, or one of them, in the value. With a quote it is no id, so they find no other session, but none.",
		Source: "K10; RFC 6265 section 4.1.1 allows one pair around a value",
		covers: func(c Case) bool {
			return c.Ours != "" && strings.Contains(c.Theirs, `"`) && strings.Trim(c.Theirs, blanks+`"`) == c.Ours
		},
	},
	{
		What: "cut", Parsers: []Parser{Koa},
		Reason: "Behind a quote that has no end Koa cuts off the last letter. We find none: nobody has sent this id. (With signatures Koa finds none either, unless it has signed the shorter one.)",
		Source: "R33; RFC 6265 section 4.1.1",
		covers: func(c Case) bool {
			return c.Ours == "" && slices.ContainsFunc(named(c, ""), func(value string) bool {
				return len(value) > 1 && value[0] == '"' && c.Theirs == value[1:len(value)-1]
			})
		},
	},
	{
		What: "percent signs", Parsers: []Parser{Cookie, Express},
		Reason: "They decode them, so several texts are one value. Our ids have none, and one text is one id; we find none.",
		Source: "K9, R33; RFC 6265 section 4.1.1: the value is opaque",
		covers: func(c Case) bool {
			all := named(c, "")
			if c.Ours != "" || len(all) == 0 {
				return false
			}
			decoded, err := url.PathUnescape(bare(all[0]))
			return err == nil && strings.Contains(all[0], "%") && c.Theirs == decoded
		},
	},
	{
		What: "a name without =", Parsers: []Parser{NetHTTP},
		Reason: "It takes it for a cookie without a value, so finds none. For us, and browsers, it is a value without a name, which we pass over.",
		Source: "K10; RFC 6265 section 5.2 step 2, RFC 6265bis section 5.6 step 3",
		covers: func(c Case) bool {
			for _, pair := range strings.Split(c.Field, ";") {
				key, _, ok := strings.Cut(pair, "=")
				if strings.Trim(key, blanks) == c.Name {
					return !ok && c.Ours != "" && c.Theirs == ""
				}
			}
			return false
		},
	},
	{
		What: "a name that is no token", Parsers: []Parser{NetHTTP},
		Reason: "It passes over such cookies, so finds none. The original has names with a colon, which all browsers take.",
		Source: "K9; RFC 6265 section 4.1.1",
		covers: func(c Case) bool {
			return c.Ours != "" && c.Theirs == "" && strings.ContainsAny(c.Name, "()<>@:/[]?{}")
		},
	},
	{
		What: "line ends", Parsers: []Parser{NetHTTP, FastHTTP},
		Reason: "They take them for blanks, where a program hands them one in a field. We find none. No server reads such a field: a line ends with them.",
		Source: "RFC 9112 section 5",
		covers: func(c Case) bool { return c.Ours == "" && strings.ContainsAny(c.Field, "\r\n") },
	},
}

// Explain returns the row of c, nil if c is no difference.
func Explain(c Case) (*Difference, error) {
	if c.Ours == c.Theirs && c.OursSends == c.TheirsSends {
		return nil, nil
	}
	for i := range Differences {
		d := &Differences[i]
		if c.Ours != "" && c.Ours != c.Theirs && shaped(c.Theirs) && d.What != "several" {
			continue // two ids
		}
		if c.OursSends == "" && slices.Contains(d.Parsers, c.Parser) && d.covers(c) {
			return d, nil
		}
	}
	return nil, fmt.Errorf("in %q under %q we find %q %s, and %s finds %q %s, for which there is no reason", c.Field, c.Name, c.Ours, c.OursSends, c.Parser, c.Theirs, c.TheirsSends)
}

const blanks = " \t"

// pairsOf are the names and values of a field as they were sent, without those that
// have no =.
func pairsOf(field string) (pairs [][2]string) {
	for _, pair := range strings.Split(field, ";") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			pairs = append(pairs, [2]string{key, value})
		}
	}
	return pairs
}

// keysOf are the names of the session cookie as they were sent.
func keysOf(c Case) (keys []string) {
	for _, pair := range pairsOf(c.Field) {
		if strings.Trim(pair[0], blanks) == c.Name {
			keys = append(keys, pair[0])
		}
	}
	return keys
}

// named are the values of the session cookie, or of the one with a suffix, as they
// were sent.
func named(c Case, suffix string) (values []string) {
	for _, pair := range pairsOf(c.Field) {
		if strings.Trim(pair[0], blanks) == c.Name+suffix {
			values = append(values, pair[1])
		}
	}
	return values
}

// bare is a value without blanks around it, and without one pair of quotes.
func bare(value string) string {
	value = strings.Trim(value, blanks)
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		return value[1 : n-1]
	}
	return value
}

// shaped reports whether a value has the form of an id.
func shaped(s string) bool {
	return s != "" && len(s) <= 128 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
