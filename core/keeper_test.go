package core_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A scribbler changes the bytes that it is decoded from, which encoding/json forbids
// but can't prevent.
type scribbler struct{ Text string }

func (s *scribbler) UnmarshalJSON(raw []byte) error {
	type plain scribbler
	err := json.Unmarshal(raw, (*plain)(s))
	for i := range raw {
		raw[i] = '#'
	}
	_ = append(raw, "####"...)
	return err
}

// A payload that View returns is shared by all requests: no code of the user gets
// it (DESIGN: copies at the border).
func TestPayloadsOfViewAreNeverChanged(t *testing.T) {
	store := newMemory(t)
	m, err := core.New(store, &core.Options{Keys: [][]byte{testKey}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var browser jartest.Browser
	visit := func(h func(s *core.Session)) {
		t.Helper()
		jar := browser.Jar("/")
		v, _ := m.NewVisit(jar, nil)
		if err := v.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := v.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h(s)
		if err := v.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		browser.Take(jar.Path(), jar.SetCookies...)
	}
	const (
		odd   core.Key[scribbler]       = "odd"
		held  core.Key[*scribbler]      = "held"
		raw   core.Key[json.RawMessage] = "raw"
		after core.Key[string]          = "after"
		count core.Key[int]             = "count"
	)
	visit(func(s *core.Session) {
		odd.Set(s, scribbler{"one"})
		held.Set(s, &scribbler{"two"})
		raw.Set(s, json.RawMessage(`[3]`))
		after.Set(s, "still there")
		count.Set(s, 1)
	})
	for i := range 3 {
		visit(func(s *core.Session) {
			if got := odd.Get(s); got.Text != "one" {
				t.Errorf("request %d: odd is %q", i, got)
			}
			if got := held.Get(s); got == nil || got.Text != "two" {
				t.Errorf("request %d: held is %v", i, got)
			}
			text := raw.Get(s)
			if string(text) != "[3]" {
				t.Errorf("request %d: raw is %s", i, text)
			}
			text[1] = '4'
			raw.Set(s, json.RawMessage(`[3]`))
			if got := after.Get(s); got != "still there" {
				t.Errorf("request %d: after is %q", i, got)
			}
			if _, err := odd.Update(s, func(o scribbler) scribbler { return o }); err != nil {
				t.Error(err)
			}
			if i == 1 { // on what was written, and not only on what was read
				count.Set(s, 2)
				if err := s.Save(t.Context()); err != nil {
					t.Error(err)
				}
				if got := odd.Get(s); got.Text != "one" {
					t.Errorf("after Save: odd is %q", got)
				}
			}
			if json, err := s.JSON(); err != nil || len(json) == 0 {
				t.Errorf("%s, %v", json, err)
			} else {
				clear(json)
			}
			for _, name := range s.Names() {
				s.Get(name)
			}
		})
	}
}

// A countingStore has the View and Keep of what it embeds, and a GetVersion and
// SetVersion of its own.
type countingStore struct {
	*memorystore.Store
	reads, writes int
}

func (s *countingStore) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	s.writes++
	return s.Store.SetVersion(ctx, key, data, ttl, v)
}

func (s *countingStore) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	s.reads++
	return s.Store.GetVersion(ctx, key)
}

// A keeper has the methods by which core finds a store that shows and takes
// payloads as strings.
type keeper interface {
	core.Swapper
	View(ctx context.Context, key string) (string, core.Version, error)
	Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error)
}

type deeperStore struct{ countingStore }

func TestAKeeperDoesNotBypassAWrapper(t *testing.T) {
	one := &countingStore{Store: newMemory(t)}
	two := &deeperStore{countingStore{Store: newMemory(t)}}
	for name, c := range map[string]struct {
		store core.Store
		calls *countingStore
	}{
		"embedded":       {one, one},
		"embedded twice": {two, &two.countingStore},
		"as a value":     {struct{ *countingStore }{one}, one},
		"as an interface": {struct {
			core.Store
			keeper
		}{one, one}, one},
		"wrapped with Unwrap": {unwrapper{one, one}, one},
	} {
		m, err := core.New(c.store, &core.Options{Keys: [][]byte{testKey}})
		if err != nil {
			t.Fatal(name, err)
		}
		defer m.Close()
		var browser jartest.Browser
		for range 2 {
			c.calls.reads, c.calls.writes = 0, 0
			jar := browser.Jar("/")
			serve(t, m, jar, func(v *core.Visit, s *core.Session) { count(t)(v, s) })
			browser.Take("/", jar.SetCookies...)
		}
		if c.calls.reads == 0 || c.calls.writes == 0 {
			t.Errorf("%s: GetVersion was asked %d times, SetVersion %d times", name, c.calls.reads, c.calls.writes)
		}
	}
}

// An unwrapper has the three methods, and leads to the rest.
type unwrapper struct {
	core.Store
	inner core.Store
}

func (u unwrapper) Unwrap() core.Store { return u.inner }
