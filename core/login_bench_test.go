package core_test

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A reusedJar is a browser and a Jar over buffers that are used again, as those of
// fasthttp: what is measured with it is the core and the store.
type reusedJar struct {
	field []byte    // of the request
	lines [4][]byte // of the response: the second pair is a copy
	n     int
}

func (j *reusedJar) Cookie() string                 { return string(j.field) }
func (j *reusedJar) AppendCookie(dst []byte) []byte { return append(dst, j.field...) }
func (j *reusedJar) Path() string                   { return "/" }
func (j *reusedJar) Secure() bool                   { return true }
func (j *reusedJar) RequestHeader(string) string    { return "" }
func (j *reusedJar) ResponseCookies() (lines []string) {
	for _, line := range j.lines[:j.n] { // none, but for what Renew has sent before the commit
		lines = append(lines, string(line))
	}
	return lines
}
func (j *reusedJar) DropCookies(string)                        {}
func (j *reusedJar) ResponseHeader(string) string              { return "" }
func (j *reusedJar) SetResponseHeader(string, string)          {}
func (j *reusedJar) DefaultResponseHeader(string, string) bool { return true }
func (j *reusedJar) Begun() bool                               { return false }
func (j *reusedJar) SetCookie(name, line string, replace bool) {
	j.SetCookieBytes(name, []byte(line), replace)
}
func (j *reusedJar) SetCookieBytes(_ string, line []byte, _ bool) {
	j.lines[j.n] = append(j.lines[j.n][:0], line...)
	j.n++
}

// answer gives the lines to the browser.
func (j *reusedJar) answer() {
	if j.n == 0 {
		return
	}
	pair := func(line []byte) []byte { p, _, _ := bytes.Cut(line, []byte{';'}); return p }
	j.field = append(append(append(j.field[:0], pair(j.lines[0])...), "; "...), pair(j.lines[1])...)
	j.n = 0
}

// BenchmarkRequest is a request of a browser that has a session, in memory.
func BenchmarkRequest(b *testing.B) {
	handlers := map[string]func(s *core.Session) error{
		"Login": func(s *core.Session) error { _ = user.Set(s, "ada"); return s.Login(core.LoginOptions{}) },
		"Renew": func(s *core.Session) error { _ = user.Set(s, "ada"); return s.Renew(bg) },
		"read":  func(s *core.Session) error { _ = user.Get(s); return nil },
		"write": func(s *core.Session) error { n := visits.Get(s); return visits.Set(s, n+1) },
	}
	names := slices.Sorted(maps.Keys(handlers))
	for _, name := range names {
		names = append(names, name+"/sealed")
	}
	for _, name := range names {
		h, sealed := handlers[strings.TrimSuffix(name, "/sealed")], strings.HasSuffix(name, "/sealed")
		b.Run(name, func(b *testing.B) {
			o := &core.Options{Keys: core.Keyring{testKey}}
			if sealed {
				o.Seal.Keys = core.Keyring{otherKey}
			}
			m, err := core.New(memorystore.New(nil), o)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			jar := &reusedJar{}
			request := func(h func(s *core.Session) error) {
				v, _ := m.NewVisit(jar, nil)
				ctx := core.NewContext(context.Background(), v)
				s, err := v.Session(ctx)
				if err != nil {
					b.Fatal(err)
				}
				if err := h(s); err != nil {
					b.Fatal(err)
				}
				if err := v.Commit(ctx); err != nil {
					b.Fatal(err)
				}
				jar.answer()
			}
			request(func(s *core.Session) error { return visits.Set(s, 1) })
			b.ReportAllocs()
			for b.Loop() {
				request(h)
			}
		})
	}
}
