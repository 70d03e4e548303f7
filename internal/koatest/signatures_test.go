package koatest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/servers"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// TestK5Signatures: cookies that Koa signed verify here, and ours there, under
// random names, keys, ids, and algorithms and encodings of keygrip (W48).
func TestK5Signatures(t *testing.T) {
	t.Parallel()
	koa := startKoa(t, servers.SharedRedis(t).URL(), "", "unused")
	b := newBrowser(t)
	ask := func(path string, question, answer any) {
		t.Helper()
		if err := json.Unmarshal([]byte(b.post(koa, path, encode(question))), answer); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 0))}
	for n := range max(20, many()/50) {
		if t.Failed() {
			break // what is said of one set will do
		}
		s := newSigner(t, r)
		ids := make([]string, 50)
		for i := range ids {
			ids[i] = r.of("ABCXYZabcxyz0189-_", 16, 64)
		}

		// The cookies of both, by the first key.
		var theirs [][]string
		ask("/sign", map[string]any{"keys": s.keys, "keygrip": s.keygrip, "name": s.name, "values": ids}, &theirs)
		cookies := make([]string, len(ids))
		for i, id := range ids {
			lines := s.lines(t, id)
			cookies[i] = pairs(lines)
			if cookies[i] != pairs(theirs[i]) {
				t.Errorf("set %d: the pair is\n%s\nKoa's\n%s", n, cookies[i], pairs(theirs[i]))
			}
			if got := s.read(t, pairs(theirs[i])); got != id {
				t.Errorf("set %d: Koa's cookie is not accepted", n)
			}
		}
		bad := slices.Clone(cookies)
		for i := range bad {
			at := len(bad[i]) - 2 - r.IntN(20)
			bad[i] = bad[i][:at] + string('A'+(bad[i][at]+1-'A'+26)%26) + bad[i][at+1:]
			if bad[i] != cookies[i] && s.read(t, bad[i]) != "" {
				t.Errorf("set %d: a signature with another letter is accepted", n)
			}
		}

		// All keys verify.
		for _, keys := range [][]string{s.keys, append([]string{"another"}, s.keys...)} {
			var read []string
			ask("/verify", map[string]any{"keys": keys, "keygrip": s.keygrip, "name": s.name, "cookies": cookies}, &read)
			if !slices.Equal(read, ids) {
				t.Errorf("set %d: Koa does not accept all of our cookies", n)
			}
		}
		later := *s
		later.keys = append([]string{"another"}, s.keys...)
		for i, id := range ids {
			if got := later.read(t, pairs(theirs[i])); got != id {
				t.Errorf("set %d: Koa's cookie is not accepted by a later key", n)
			}
		}
	}
}

// pairs is the Cookie field of a browser that got these Set-Cookie lines.
func pairs(lines []string) string {
	var all []string
	for _, line := range lines {
		pair, _, _ := strings.Cut(line, ";")
		all = append(all, pair)
	}
	return strings.Join(all, "; ")
}

// A signer is our side without HTTP.
type signer struct {
	keys    []string
	name    string
	keygrip []string // algorithm and encoding; nil for the defaults
}

func newSigner(t *testing.T, r random) *signer {
	s := &signer{name: "n" + r.of("abcXYZ019._:-!#$%&'*+^`|~", 0, 12)}
	if r.IntN(2) == 0 {
		algorithms, encodings := []string{"sha1", "sha256", "sha384", "sha512"}, []string{"base64", "hex"}
		s.keygrip = []string{algorithms[r.IntN(len(algorithms))], encodings[r.IntN(len(encodings))]}
	}
	for range 1 + r.IntN(7) {
		s.keys = append(s.keys, r.text(90, "k"))
	}
	return s
}

// of returns min to max characters of an alphabet.
func (r random) of(alphabet string, min, max int) string {
	var b strings.Builder
	for range min + r.IntN(max-min+1) {
		b.WriteByte(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

func (s *signer) manager(t *testing.T, store core.Store, id string) *core.Manager {
	o := core.KoaCompat()
	o.Name = s.name
	if s.keygrip != nil {
		o.Koa.Algorithm, o.Koa.Encoding = s.keygrip[0], s.keygrip[1]
	}
	o.NewID = func(context.Context) (string, error) { return id, nil }
	for _, k := range s.keys {
		o.Keys = append(o.Keys, []byte(k))
	}
	m, err := core.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// lines are the Set-Cookie lines of a new session with this id.
func (s *signer) lines(t *testing.T, id string) []string {
	store := memorystore.New(nil)
	defer store.Close()
	m := s.manager(t, store, id)
	defer m.Close()
	jar := &jartest.Jar{}
	v, _ := m.NewVisit(jar, nil)
	session, err := v.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Set("v", 1); err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return jar.SetCookies
}

// read returns the id that a cookie carries, "" if it is not accepted.
func (s *signer) read(t *testing.T, cookie string) string {
	asked := &asked{}
	m := s.manager(t, asked, "")
	defer m.Close()
	v, _ := m.NewVisit(&jartest.Jar{Cookies: []string{cookie}}, nil)
	if err := v.Begin(t.Context()); err != nil {
		t.Fatal(fmt.Errorf("begin: %w", err))
	}
	return strings.TrimPrefix(asked.key, "koa:sess:")
}

// asked is a store that remembers what it was asked for, and has it.
type asked struct{ key string }

func (a *asked) Get(_ context.Context, key string) ([]byte, error) {
	a.key = key
	return []byte(`{"cookie":{},"v":1}`), nil
}
func (a *asked) Set(context.Context, string, []byte, time.Duration) error { return nil }
func (a *asked) Destroy(context.Context, string) error                    { return nil }
