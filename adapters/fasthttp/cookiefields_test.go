package fasthttpsession_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/internal/cookiefields"
)

// ofGo is what the parsers of Go take for the cookie of that name, "" for none.
func ofGo(name, field string) map[cookiefields.Parser]string {
	found := map[cookiefields.Parser]string{cookiefields.NetHTTP: ""}
	r := http.Request{Header: http.Header{"Cookie": {field}}}
	if c, err := r.Cookie(name); err == nil {
		found[cookiefields.NetHTTP] = c.Value
	}
	var h fasthttp.RequestHeader
	h.Set("Cookie", field)
	found[cookiefields.FastHTTP] = string(h.Cookie(name))
	return found
}

var cookieNames = []string{"koa.sid", "__Host-sid", "koss:test_sid"}

// reader returns what finds the id in a field under a name.
func reader(t testing.TB) func(name, field string) string {
	t.Helper()
	readers := map[string]*cookiefields.Reader{}
	for _, name := range cookieNames {
		r, err := cookiefields.NewReader(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		readers[name] = r
	}
	return func(name, field string) string {
		id, _, err := readers[name].Read(field)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

// TestRequirement33CookieFields compares what we take for the id in a Cookie field
// with what net/http and fasthttp do, and with what was recorded of Node. A browser,
// a proxy or a firewall that reads another session than we do could be led to let
// one pass. So each difference has a row in cookiefields.Differences, and each row
// is needed.
func TestRequirement33CookieFields(t *testing.T) {
	t.Parallel()
	fields, _, err := cookiefields.Recorded()
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		what string
		of   cookiefields.Parser
	}
	// compare returns the differences without a reason, and counts those with one.
	compare := func(read func(name, field string) string) (unexplained []error, rows map[row]int, same int) {
		rows = map[row]int{}
		for _, f := range fields {
			ours := read(f.Name, f.Text)
			found := ofGo(f.Name, f.Text)
			for _, p := range []cookiefields.Parser{cookiefields.Koa, cookiefields.Cookie, cookiefields.Express} {
				found[p] = f.Found[p]
			}
			for p, theirs := range found {
				d, err := cookiefields.Explain(cookiefields.Case{Parser: p, Name: f.Name, Field: f.Text, Ours: ours, Theirs: theirs})
				switch {
				case err != nil:
					unexplained = append(unexplained, err)
				case d != nil:
					rows[row{d.What, p}]++
					if d.What == "line ends" && !f.Refused && !strings.HasSuffix(f.Text, "\r\n") { // which ends the field
						unexplained = append(unexplained, fmt.Errorf("a server of Node has accepted %q", f.Text))
					}
				case ours != "":
					same++
				}
			}
		}
		return unexplained, rows, same
	}

	read := reader(t)
	unexplained, rows, same := compare(read)
	for _, err := range unexplained {
		t.Error(err)
	}
	if same < 1000 {
		t.Errorf("in %d cases both have found the same id: the test shows little", same)
	}
	for _, d := range cookiefields.Differences {
		if d.Reason == "" || d.Source == "" {
			t.Errorf("%s has no reason, or no source of it", d.What)
		}
		for _, p := range d.Parsers {
			if p != cookiefields.Signed && rows[row{d.What, p}] == 0 {
				t.Errorf("no field shows %s of %s", d.What, p)
			}
		}
	}

	// The table is no excuse for a parser with one of these faults.
	visible := func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}
	for what, change := range map[string]func(name, field string) string{
		"names in capitals":      func(name, field string) string { return strings.ReplaceAll(field, strings.ToUpper(name), name) },
		"names that end alike":   func(name, field string) string { return strings.ReplaceAll(field, "x"+name, name) },
		"names that begin alike": func(name, field string) string { return strings.ReplaceAll(field, name+"x", name) },
		"names with a prefix":    func(name, field string) string { return strings.ReplaceAll(field, "__Host-"+name, name) },
		"names with brackets":    func(name, field string) string { return strings.ReplaceAll(field, name+"[]", name) },
		"names in quotes":        func(name, field string) string { return strings.ReplaceAll(field, `"`+name+`"`, name) },
		"values without a name":  func(name, field string) string { return strings.ReplaceAll(field, "="+name, name) },
		"signatures as ids":      func(name, field string) string { return strings.ReplaceAll(field, name+".sig", name) },
		"a blank of Unicode":     func(_, field string) string { return strings.ReplaceAll(field, "\xe2\x80\x80", "") },
		"bytes that are blanks":  func(_, field string) string { return strings.NewReplacer("\x85", "", "\xa0", "").Replace(field) },
		"control characters":     func(_, field string) string { return strings.Map(visible, field) },
		"percent signs":          func(_, field string) string { return strings.ReplaceAll(field, "%30", "0") },
		"commas":                 func(_, field string) string { return strings.ReplaceAll(field, ",", ";") },
		"RFC 2965":               func(_, field string) string { return strings.ReplaceAll(field, "$", "") },
		"a quote that ends":      func(_, field string) string { return strings.ReplaceAll(field, `"`, "") },
		"quoted semicolons":      quotedSemicolons,
		"the last one":           lastFirst,
	} {
		unexplained, _, _ := compare(func(name, field string) string { return read(name, change(name, field)) })
		if len(unexplained) == 0 {
			t.Errorf("nothing is wrong with %s", what)
		}
	}
}

// quotedSemicolons is field for a parser to which those in quotes are no ends.
func quotedSemicolons(_, field string) string {
	in := false
	return strings.Map(func(r rune) rune {
		if r == '"' {
			in = !in
		}
		if r == ';' && in {
			return ','
		}
		return r
	}, field)
}

// lastFirst is field for a parser that lets the last cookie of a name win.
func lastFirst(_, field string) string {
	pairs := strings.Split(field, ";")
	slices.Reverse(pairs)
	return strings.Join(pairs, ";")
}

// TestW48Recorded: what Koa has signed counts here, and what it has refused does not,
// for each algorithm and encoding of keygrip; and what we sign is what Koa does, byte
// for byte.
func TestW48Recorded(t *testing.T) {
	t.Parallel()
	_, signers, err := cookiefields.Recorded()
	if err != nil {
		t.Fatal(err)
	}
	if len(signers) != 8 {
		t.Errorf("%d algorithms and encodings", len(signers))
	}
	rows := map[string]int{}
	for i := range signers {
		s := &signers[i]
		t.Run(s.Algorithm+" "+s.Encoding, func(t *testing.T) {
			sent, err := cookiefields.Sent(s, s.Fields[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			if sent != s.Fields[0].Text {
				t.Errorf("we send %q, Koa %q", sent, s.Fields[0].Text)
			}
			r, err := cookiefields.NewReader(s.Name, s)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			accepted := 0
			for _, f := range s.Fields {
				id, sends, err := r.Read(f.Text)
				if err != nil {
					t.Fatal(err)
				}
				d, err := cookiefields.Explain(cookiefields.Case{
					Parser: cookiefields.Signed, Name: s.Name, Field: f.Text, Ours: id, Theirs: f.ID, OursSends: sends, TheirsSends: f.Sends,
				})
				if err != nil {
					t.Error(err)
				}
				if d != nil {
					rows[d.What]++
				}
				signed := func(id string) bool {
					return slices.ContainsFunc(s.Keys, func(key string) bool {
						return strings.Contains(f.Text, ".sig") && strings.Contains(f.Text, signature(s, key, id))
					})
				}
				if id != "" {
					accepted++
					if !signed(id) {
						t.Errorf("%q is accepted", f.Text)
					}
				}
				want := id
				if strings.Contains(f.Text, "9876zyxw") && signed("9876zyxw") && signed("0123456789abcdef") {
					want = "" // two sessions live, and Koa takes the first
				}
				if later, err := cookiefields.ReadMigrating(s, f.Text); err != nil || later != want {
					t.Errorf("%q: with Migrate the id is %q, want %q; %v", f.Text, later, want, err)
				}
			}
			if accepted < 10 {
				t.Errorf("%d of %d fields are accepted: the test shows little", accepted, len(s.Fields))
			}
		})
	}
	for _, d := range cookiefields.Differences {
		if slices.Contains(d.Parsers, cookiefields.Signed) && rows[d.What] == 0 {
			t.Errorf("no field shows %s of %s", d.What, cookiefields.Signed)
		}
	}
}

// signature is that of a session cookie by key, without any code of ours.
func signature(s *cookiefields.Signer, key, id string) string {
	sums := map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}
	m := hmac.New(sums[s.Algorithm], []byte(key))
	m.Write([]byte(s.Name + "=" + id))
	if s.Encoding == "hex" {
		return hex.EncodeToString(m.Sum(nil))
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// FuzzCookieDifferential is requirement 33 in random fields, for the parsers of Go.
func FuzzCookieDifferential(f *testing.F) {
	fields, _, err := cookiefields.Recorded()
	if err != nil {
		f.Fatal(err)
	}
	for _, field := range fields {
		if len(field.Text) < 1<<10 {
			f.Add(field.Text, byte(slices.Index(cookieNames, field.Name)))
		}
	}
	read := reader(f)
	f.Fuzz(func(t *testing.T, field string, at byte) {
		name := cookieNames[int(at)%len(cookieNames)]
		ours := read(name, field)
		if !strings.Contains(field, ours) {
			t.Fatalf("%q is no part of %q", ours, field)
		}
		for p, theirs := range ofGo(name, field) {
			if _, err := cookiefields.Explain(cookiefields.Case{Parser: p, Name: name, Field: field, Ours: ours, Theirs: theirs}); err != nil {
				t.Error(err)
			}
		}
	})
}
