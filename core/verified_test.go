package core

import (
	"strings"
	"testing"
)

// requestJar is a request with a Cookie field, and nothing else.
type requestJar struct {
	Jar
	field string
	sent  int
}

func (j *requestJar) Cookie() string                         { return j.field }
func (j *requestJar) Secure() bool                           { return false }
func (j *requestJar) DefaultResponseHeader(_, _ string) bool { return true }
func (j *requestJar) ResponseCookies() []string              { return nil }
func (j *requestJar) SetCookie(_, _ string, _ bool)          { j.sent++ }

// bufferedJar is one whose field lies in a buffer.
type bufferedJar struct{ *requestJar }

func (j bufferedJar) AppendCookie(dst []byte) []byte      { return append(dst, j.field...) }
func (j bufferedJar) SetCookieBytes(string, []byte, bool) { j.sent++ }

// The result of reading a Cookie field does not depend on earlier requests, nor on
// which of its parts are remembered.
func TestVerifiedChangesNothing(t *testing.T) {
	t.Parallel()
	first, second := key32(1), key32(2)
	ids := []string{"0123456789abcdef0123456789abcdef", "an-id-of-another-length", "fedcba9876543210fedcba9876543210"}
	sign := func(key []byte, id string) string {
		ring, err := newKeyring([][]byte{key}, false, false)
		if err != nil {
			t.Fatal(err)
		}
		return string(ring.sign(nil, "koa.sid", id))
	}
	pairOf := func(id, signature string) string { return "koa.sid=" + id + "; koa.sid.sig=" + signature }
	var fields []string
	for i, id := range ids {
		valid, old, other := sign(first, id), sign(second, id), sign(key32(3), id)
		fields = append(fields, pairOf(id, valid), pairOf(id, old), pairOf(id, other), pairOf(id, sign(first, ids[(i+1)%3])),
			pairOf(id, valid[1:]), pairOf(id, valid+"A"), pairOf(id, strings.ToLower(valid)), pairOf(id, valid[:42]+"."), pairOf(id, strings.Repeat("A", 1000)),
			pairOf(id[1:], valid), pairOf(id+"A", valid), "koa.sid="+id, "koa.sid="+id+"; koa.sid.sig=", "koa.sid.sig="+valid,
			pairOf(id, valid)+"; "+pairOf(ids[(i+1)%3], sign(first, ids[(i+1)%3])), pairOf(id, valid)+"; "+pairOf(id, valid), pairOf(id, valid)+"; koa.sid=forged-forged-forged",
		)
	}
	newCarrier := func() *Manager {
		m, err := New(struct{ Store }{}, &Options{Keys: [][]byte{first, second}, ResetUnknown: true})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	warm := newCarrier()
	for round := range 4 {
		for _, field := range fields {
			for range 3 {
				var jars [3]requestJar
				var got [3]signedID
				var reissue [3]bool
				for i, m := range []*Manager{newCarrier(), warm, warm} {
					jars[i].field = field
					var jar Jar = &jars[i]
					if i == 2 {
						jar = bufferedJar{&jars[i]}
					}
					r := m.cookie.read(jar)
					p := r.only
					if reissue[i] = r.reissue; p != nil {
						got[i] = *p
						got[i].by = nil // another object
						if p.key != "" && p.key != m.key(p.id) {
							t.Fatalf("%.200s: another key", field)
						}
						got[i].key = ""
					}
				}
				for i := range got {
					if got[0] != got[i] || reissue[0] != reissue[i] || jars[0].sent != jars[i].sent {
						t.Fatalf("round %d, %.200s: %+v, %v, %d; known: %+v, %v, %d", round, field, got[0], reissue[0], jars[0].sent, got[i], reissue[i], jars[i].sent)
					}
				}
			}
		}
	}
	if p := warm.cookie.read(&requestJar{field: fields[0]}).only; p == nil || p.key == "" {
		t.Error("nothing was remembered: this test proves nothing")
	}
	known := bufferedJar{&requestJar{field: fields[0]}}
	if p, _ := warm.cookie.lookupBuffered(known, warm.cookie.keys.Load()); p == nil {
		t.Error("nothing is known of a field in a buffer")
	}

	// A keyring without the key that has signed.
	if err := warm.RotateKeys([][]byte{second}); err != nil {
		t.Fatal(err)
	}
	if p := warm.cookie.read(&requestJar{field: fields[0]}).only; p != nil {
		t.Error("a signature by a key that was taken away is accepted")
	}
	if err := warm.RotateKeys([][]byte{second, first}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if r := warm.cookie.read(&requestJar{field: fields[0]}); r.only == nil || !r.reissue {
			t.Error("K12: a signature by a later key is not made anew")
		}
	}
}

// A signed id that comes once is not stored, nor are two that alternate.
func TestVerifiedStoresRepeatedIDs(t *testing.T) {
	t.Parallel()
	c := newVerified()
	ring := &keyring{}
	key := func(id ID) string { return "key of " + string(id) }
	large := strings.Repeat("x", 1<<10) + "an id"
	id := large[1<<10:]
	c.add(id, "signature", ring, key)
	if c.lookup(id, "signature", ring) != nil {
		t.Error("added at once")
	}
	c.add(id, "signature", ring, key)
	p := c.lookup(id, "signature", ring)
	if p == nil || p.key != "key of an id" {
		t.Fatalf("%+v", p)
	}
	for _, wrong := range []*signedID{c.lookup(id, "signaturE", ring), c.lookup(id, "signature ", ring), c.lookup(id, "", ring), c.lookup(id, strings.Repeat("s", 1000), ring), c.lookup("another id", "signature", ring), c.lookup(id, "signature", &keyring{})} {
		if wrong != nil {
			t.Error("what differs is taken for the same")
		}
	}
}

// countingJar is a bufferedJar that counts how often its Cookie field is read.
type countingJar struct {
	bufferedJar
	reads int
}

func (j *countingJar) Cookie() string { j.reads++; return j.bufferedJar.Cookie() }
func (j *countingJar) AppendCookie(dst []byte) []byte {
	j.reads++
	return j.bufferedJar.AppendCookie(dst)
}

// A Cookie field that is too long to be looked at is read once in a request: a Jar may
// have to put it together each time.
func TestW19ALongFieldIsReadOnce(t *testing.T) {
	t.Parallel()
	m, err := New(struct{ Store }{}, &Options{Keys: [][]byte{key32(1)}})
	if err != nil {
		t.Fatal(err)
	}
	jar := &countingJar{bufferedJar: bufferedJar{&requestJar{field: strings.Repeat("koa.sid.next=x; ", 2<<10)}}}
	v, _ := m.NewVisit(jar, nil)
	if err := v.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if jar.reads != 1 {
		t.Errorf("the field was read %d times", jar.reads)
	}
}
