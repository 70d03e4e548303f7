package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// storedIn is what a manager finds in its store, by fingerprint.
func storedIn(t *testing.T, m *core.Manager, print string) map[string]*core.Stored {
	t.Helper()
	all := map[string]*core.Stored{}
	for s, err := range m.Stored(t.Context(), print) {
		if err != nil {
			t.Fatal(err)
		}
		all[s.Print] = s
	}
	return all
}

// id is that of the browser's session.
func (a *app) id() core.ID { return core.ID(a.value()) }

func TestStored(t *testing.T) {
	koa := core.KoaCompat()
	koa.Keys = [][]byte{testKey}
	for name, o := range map[string]*core.Options{
		"by default": {}, "sealed": sealed(testKey), "KoaCompat": koa, "no prefix": {NoPrefix: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, o)
				other := *a
				other.browser = &jartest.Browser{}
				a.ok(a.get("/", setNote(t, "first")))
				other.ok(other.get("/", setNote(t, "second")))
				began := time.Now()
				time.Sleep(time.Second)

				all := storedIn(t, a.manager, "")
				if len(all) != 2 {
					t.Fatalf("%d sessions, want 2", len(all))
				}
				s := all[a.id().String()]
				if s == nil || s.Note || s.Err != nil || s.Size == 0 || s.Owner != "" || !s.LastUsed.IsZero() || !s.LoggedIn.IsZero() {
					t.Fatalf("the session is %+v", s)
				}
				if name == "KoaCompat" {
					began = time.Time{}
				}
				if !s.Created.Equal(began) {
					t.Errorf("it began at %v, want %v", s.Created, began)
				}
				if data, err := s.Values(); err != nil || string(data) != `{"note":"first"}` {
					t.Errorf("the values are %s, %v", data, err)
				}
				if text := fmt.Sprintf("%+v %#v", *s, s.Print); strings.Contains(s.Print, string(a.id())) || !json.Valid([]byte(`"`+s.Print+`"`)) {
					t.Error(text)
				}

				// By its fingerprint, which leaves the other one where it is.
				if some := storedIn(t, a.manager, a.id().String()); len(some) != 1 || some[a.id().String()] == nil {
					t.Errorf("by fingerprint: %v", some)
				}
				if some := storedIn(t, a.manager, "id:00000000"); len(some) != 0 {
					t.Errorf("by one that there is not: %v", some)
				}
				must(t, s.Destroy(t.Context()))
				must(t, s.Destroy(t.Context())) // again
				a.wantNote("")
				other.wantNote("second")
			})
		})
	}
}

// Of an owner's session it has what the record says.
func TestStoredOfAnOwner(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(nil)
		a.mustLogin(core.LoginOptions{Owner: "ada", Label: "Firefox"})
		in := time.Now()
		all := storedIn(t, a.manager, "")
		s := all[a.id().String()]
		if len(all) < 1 || s == nil {
			t.Fatalf("%v", all)
		}
		if d := a.list("ada"); s.Owner != "ada" || s.Label != "Firefox" || s.Handle != d[0].Handle || !s.LoggedIn.Equal(in) || !s.LastUsed.Equal(d[0].LastUsed) {
			t.Errorf("it is %+v, in the list %+v", s, d)
		}
		must(t, s.Destroy(t.Context()))
		if a.owner() != "" || len(a.list("ada")) != 0 {
			t.Error("it lives")
		}
	})
}

// What a session has left under its old id is a Note, which leads to the session: so an
// old line of a log is good for ending it.
func TestStoredNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", setNote(t, "x")))
		old := a.id()
		a.ok(a.get("/", renewNow(t)))
		some := storedIn(t, a.manager, old.String())
		n := some[old.String()]
		if n == nil || !n.Note || len(storedIn(t, a.manager, "")) != 2 {
			t.Fatalf("%+v", n)
		}
		if _, err := n.Values(); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("values of a note: %v", err)
		}
		must(t, n.Destroy(t.Context()))
		a.wantNote("")
		if s := storedIn(t, a.manager, a.id().String()); len(s) != 0 {
			t.Errorf("the session is still there: %v", s)
		}
	})
}

// A session that can't be read is there, with the reason, and can be ended.
func TestStoredUnreadable(t *testing.T) {
	a := newApp(t, sealed(testKey))
	a.ok(a.get("/", setNote(t, canary)))
	id := a.id()
	without, err := core.New(a.store, &core.Options{Carrier: core.Header("X-Session")})
	must(t, err)
	defer without.Close()
	must(t, a.store.Set(bg, "koa:sess:own:no-key-of-a-session", []byte("x"), 0))
	all := storedIn(t, without, "")
	s := all[id.String()]
	if len(all) != 1 || s == nil || !errors.Is(s.Err, core.ErrCorrupt) || s.Size == 0 {
		t.Fatalf("%+v", all)
	}
	if _, err := s.Values(); !errors.Is(err, core.ErrCorrupt) || strings.Contains(err.Error(), canary) {
		t.Errorf("its values: %v", err)
	}
	must(t, s.Destroy(t.Context()))
	a.wantNote("")
}

func TestStoredEndsEarlyAndFails(t *testing.T) {
	a := newApp(t, nil)
	for range 5 {
		a.browser = &jartest.Browser{}
		a.ok(a.get("/", count(t)))
	}
	n := 0
	for range a.manager.Stored(bg, "") {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d came after the break", n)
	}
	a.store.Down()
	for s, err := range a.manager.Stored(bg, "") {
		if s != nil || !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("of a store that is down: %v, %v", s, err)
		}
	}
	m, err := core.New(plainStore{newMemory(t)}, &core.Options{Keys: [][]byte{testKey}})
	must(t, err)
	defer m.Close()
	for s, err := range m.Stored(bg, "") {
		if s != nil || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("of a store without Keys: %v, %v", s, err)
		}
	}
}

// othersKeys is a store whose server has keys of others.
type othersKeys struct{ *memorystore.Store }

func (s othersKeys) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	if err := f([]string{prefix + "a b", prefix + "\x1b[31m", prefix + "é", prefix + strings.Repeat("x", 250), prefix}); err != nil {
		return err
	}
	return s.Store.Keys(ctx, prefix, f)
}

func (s othersKeys) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	for _, key := range keys {
		if len(key) > 250 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, core.ErrRefused
		}
	}
	return s.Store.GetMany(ctx, keys...)
}

// One key of somebody else, which no store reads, hid all sessions.
func TestStoredBesideKeysOfOthers(t *testing.T) {
	for name, o := range map[string]*core.Options{"by default": {}, "KoaCompat": core.KoaCompat(), "no prefix": {NoPrefix: true}} {
		t.Run(name, func(t *testing.T) {
			o.Keys = [][]byte{testKey}
			store := newMemory(t)
			m, err := core.New(othersKeys{store}, o)
			must(t, err)
			defer m.Close()
			b := &jartest.Browser{}
			must(t, serve(t, m, b.Jar("/"), count(t)).err())
			if all := storedIn(t, m, ""); len(all) != 1 {
				t.Errorf("%d sessions, want 1", len(all))
			}
		})
	}
}

// An operator's logout is told like others.
func TestStoredEvents(t *testing.T) {
	var told []core.Event
	o := &core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) { told = append(told, e) }}}
	a := newApp(t, o)
	a.ok(a.get("/", count(t)))
	for s, err := range a.manager.Stored(bg, "") {
		must(t, err)
		must(t, s.Destroy(bg))
	}
	last := told[len(told)-1]
	if last.Kind != core.EventEnded || last.ID != a.id().String() || last.Why != "Stored.Destroy" {
		t.Errorf("the event is %+v", last)
	}
}
