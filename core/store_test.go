package core_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

func TestK36Keys(t *testing.T) {
	keys := map[string]bool{}
	a := newApp(t, nil)
	a.store.Before(func(_ context.Context, _ storetest.Op, key string) error { keys[key] = true; return nil })
	a.ok(a.get("/", count(t)))
	sum := sha256.Sum256([]byte(a.value()))
	want := "koa:sess:" + base64.RawURLEncoding.EncodeToString(sum[:])
	if len(keys) != 1 || !keys[want] {
		t.Errorf("keys %v, want %s", keys, want)
	}
	data, err := a.store.Get(bg, want)
	must(t, err)
	if bytes.Contains(data, []byte(a.value())) {
		t.Error("requirement 9: the record holds the id")
	}
}

func hashedKey(id core.ID) string {
	sum := sha256.Sum256([]byte(id))
	return "koa:sess:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// A store without versions: the last write wins, and nothing else is lost.
func TestPlainStore(t *testing.T) {
	a := newAppOn(t, plainStore{newMemory(t)}, nil)
	if g := a.manager.Guarantees(); !strings.Contains(g, "last write wins") {
		t.Errorf("Guarantees: %q", g)
	}
	a.ok(a.get("/", count(t))).wantCookies(t, pair)
	a.ok(a.get("/", count(t)))
	a.wantVisits(2)
	old := a.value()
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) })).wantCookies(t, pair)
	if a.value() == old {
		t.Error("Renew kept the id")
	}
	a.wantVisits(2)
	if _, err := a.manager.GetByID(bg, core.ID(old)); !errors.Is(err, core.ErrNotFound) {
		t.Error("the old id lives")
	}
	a.fails(core.ErrRefused, a.get("/", func(_ *core.Visit, s *core.Session) {
		a.store.Before(failing(storetest.OpSet, core.ErrRefused))
		wantIs(t, s.Renew(bg), core.ErrRefused)
		a.store.Before(nil)
	}))
	a.wantVisits(2)
	a.ok(a.meanwhile(set(t, "a", 1), set(t, "b", 2)))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if s.Get("b") != nil || s.Get("a") == nil {
			t.Error("not the last write")
		}
	}))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
	a.wantVisits(0)
	if _, err := core.New(plainStore{newMemory(t)}, &core.Options{Keys: [][]byte{testKey}, OnConflict: core.ConflictMerge}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("New: %v, want ErrUnsupported", err)
	}
}

// forgetful is a store that does not report the version of a write, like memcached.
type forgetful struct {
	core.Store
	core.Swapper
}

func (f forgetful) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	_, err := f.Swapper.SetVersion(ctx, key, data, ttl, v)
	return 0, err
}

func TestStoreThatDoesNotReportVersions(t *testing.T) {
	m := newMemory(t)
	a := newAppOn(t, forgetful{m, m}, nil)
	a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
		count(t)(v, s)
		must(t, s.Save(bg))
		jar := &jartest.Jar{Cookies: []string{cookieField(v, s)}}
		a.ok(a.send(jar, count(t)))
		count(t)(v, s)
		must(t, s.Save(bg))
		must(t, s.Renew(bg))
		count(t)(v, s)
		must(t, s.Renew(bg))
	}))
	a.wantVisits(4)
}

// TestW54MetadataOfAnotherVersion: what another version of the library has put
// into the metadata of a record stays there, once.
func TestW54MetadataOfAnotherVersion(t *testing.T) {
	a := newApp(t, nil)
	const more = `"w":"ada","x":{"y":1}`
	a.ok(a.get("/", count(t)))
	key := hashedKey(core.ID(a.value()))
	mark := key[len(key)-43:][:16]
	record := `{"_gs":{"v":1,"k":"` + mark + `","c":1767225600000,` + more + `,"s":"01234567"},"visits":1}`
	must(t, a.store.Set(bg, key, []byte(record), time.Hour))
	kept := func(what, values string) {
		t.Helper()
		data, err := a.store.Get(bg, hashedKey(core.ID(a.value())))
		must(t, err)
		head, rest, _ := bytes.Cut(data, []byte(`,`+more+`,"s":"`))
		if !bytes.HasPrefix(head, []byte(`{"_gs":{"v":1,"k":"`)) || len(rest) < 10 || string(rest[8:]) != `"}`+values || bytes.Contains(data, []byte("01234567")) {
			t.Errorf("%s: %s", what, data)
		}
	}
	run := func(what, values string, f func(s *core.Session)) {
		t.Helper()
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { f(s) }))
		kept(what, values)
	}
	run("a change", `,"visits":2}`, func(s *core.Session) { must(t, s.Set("visits", 2)) })
	run("a new value", `,"visits":2,"a":1}`, func(s *core.Session) { must(t, s.Set("a", 1)) })
	run("many changes", `,"visits":2,"b":1,"c":1,"d":1,"e":1}`, func(s *core.Session) {
		must(t, s.Delete("a"))
		for _, name := range []string{"b", "c", "d", "e"} {
			must(t, s.Set(name, 1))
		}
	})
	run("all values replaced", `,"visits":3}`, func(s *core.Session) { must(t, s.Replace(map[string]int{"visits": 3})) })
	run("an update", `,"visits":4}`, func(s *core.Session) { count(t)(nil, s) }) // it leaves a number in the metadata, too
	a.ok(a.meanwhile(set(t, "a", 1), set(t, "b", 2)))
	kept("a conflict", `,"visits":4,"b":2,"a":1}`)
	old := a.value()
	run("Renew", `,"visits":5}`, func(s *core.Session) {
		must(t, s.Replace(map[string]int{"visits": 5}))
		must(t, s.Renew(bg))
	})
	if a.value() == old {
		t.Error("Renew kept the id")
	}
	must(t, a.manager.SetByID(bg, core.ID(a.value()), map[string]int{"visits": 6}, 0))
	kept("SetByID", `,"visits":6}`)
	run("cookie options", `,"cookie":{"maxAge":3600000},"visits":6}`, func(s *core.Session) {
		c := s.Cookie()
		c.MaxAge = time.Hour
		must(t, s.SetCookie(c))
	})
	a.wantVisits(6)
}
