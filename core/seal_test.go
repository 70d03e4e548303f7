package core_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const canary = "the-value-that-nobody-may-read"

var secretNote = core.Key[string]("note")

func sealed(keys ...[]byte) *core.Options { return &core.Options{Seal: core.Sealing{Keys: keys}} }

// stored is what the store has under the key of id.
func (a *app) stored(id string) []byte {
	a.t.Helper()
	data, err := a.store.Get(bg, hashed("koa:sess:", core.ID(id)))
	if err != nil {
		a.t.Fatal(err)
	}
	return data
}

func setNote(t *testing.T, s string) handler {
	return func(_ *core.Visit, session *core.Session) { must(t, secretNote.Set(session, s)) }
}

func (a *app) wantNote(want string) {
	a.t.Helper()
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if got := secretNote.Get(s); got != want {
			a.t.Errorf("the note is %q, want %q", got, want)
		}
	}))
}

// TestP28Sealed: every way to write a session seals it, and every way to read it
// opens it, whatever the store can do.
func TestP28Sealed(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func(*memorystore.Store) core.Store{
		"memory":  func(s *memorystore.Store) core.Store { return s },
		"swapper": func(s *memorystore.Store) core.Store { return stepwise(s) },
		"plain":   func(s *memorystore.Store) core.Store { return plainStore{s} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := sealed(testKey)
			o.IdleTimeout, o.TouchEvery = time.Hour, 1
			a := newAppOn(t, store(newMemory(t)), o)
			check := func() []byte {
				t.Helper()
				data := a.stored(a.value())
				if bytes.Contains(data, []byte(canary)) || bytes.Contains(data, []byte("note")) || bytes.Contains(data, []byte("_gs")) {
					t.Errorf("the store has %q", data)
				}
				return data
			}
			a.ok(a.get("/", setNote(t, canary)))
			first := check()
			a.wantNote(canary)
			a.ok(a.get("/", count(t))) // written again
			if second := check(); len(second) > 20 && string(first[13:25]) == string(second[13:25]) {
				t.Error("two writes have one nonce")
			}
			for act, do := range map[string]handler{
				"renew": func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) },
				"login": signIn(t, "ada"),
				"save":  func(_ *core.Visit, s *core.Session) { must(t, secretNote.Set(s, canary+"!")); must(t, s.Save(bg)) },
			} {
				a.ok(a.get("/", setNote(t, canary)))
				id := a.value()
				a.ok(a.get("/", do))
				check()
				if act != "save" && id == a.value() {
					t.Errorf("%s: the id is as before", act)
				}
				a.wantNote(map[bool]string{true: canary + "!", false: canary}[act == "save"])
			}
			id := core.ID(a.value())
			must(t, a.manager.SetByID(bg, id, map[string]string{"note": canary + "?"}, time.Hour))
			check()
			if text, err := a.manager.GetByID(bg, id); err != nil || !strings.Contains(string(text), canary+"?") {
				t.Errorf("GetByID: %s, %v", text, err)
			}
			must(t, a.manager.DestroyByID(bg, id))
			a.wantNote("")
		})
	}
	t.Run("a process without the keys", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		a := newAppOn(t, store, sealed(testKey))
		a.ok(a.get("/", setNote(t, canary)))
		_, err := newAppOn(t, store, &core.Options{}).manager.GetByID(bg, core.ID(a.value()))
		if !errors.Is(err, core.ErrCorrupt) || !strings.Contains(err.Error(), "Options.Seal has no Keys") {
			t.Error(err)
		}
	})
	t.Run("blanks of a hold", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		a := newAppOn(t, store, sealed(testKey))
		a.ok(a.get("/", setNote(t, canary)))
		key := hashed("koa:sess:", core.ID(a.value()))
		for range 3 { // each of a request that never came back
			if _, _, err := store.Append(bg, key, bytes.Repeat([]byte(" \t"), 16)); err != nil {
				t.Fatal(err)
			}
			a.wantNote(canary)
		}
		a.ok(a.get("/", signIn(t, "ada")))
		a.wantNote(canary)
		if _, _, err := store.Append(bg, hashed("koa:sess:", core.ID(a.value())), []byte("x")); err != nil {
			t.Fatal(err)
		}
		a.wantNote("") // anything but blanks is a change
	})
	t.Run("a login beside writers", func(t *testing.T) {
		t.Parallel()
		a := newApp(t, sealed(testKey))
		a.ok(a.get("/", setNote(t, canary)))
		held := false
		a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
			held = held || op == storetest.OpAppend
			return nil
		})
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			for range 3 { // it meets a conflict, so it holds the session
				a.ok(a.send(a.browser.Jar("/"), count(t)))
			}
			signIn(t, "ada")(v, s)
		}))
		if !held {
			t.Error("nothing was held: the test shows nothing")
		}
		a.wantUser("ada")
		a.wantNote(canary)
		a.wantVisits(3)
	})
}

// TestP28WhatIsNotSealedForTheKey: a record that was changed, cut, put under
// another key, or sealed by somebody else is no session.
func TestP28WhatIsNotSealedForTheKey(t *testing.T) {
	t.Parallel()
	store := newMemory(t)
	var met []error
	options := func(keys ...[]byte) *core.Options {
		o := sealed(keys...)
		o.Hooks.Error = func(_ context.Context, e *core.Error) error {
			if met = append(met, e); e.Op == core.OpGet && errors.Is(e, core.ErrCorrupt) {
				return nil
			}
			return e
		}
		return o
	}
	a := newAppOn(t, store, options(testKey))
	a.ok(a.get("/", setNote(t, canary)))
	mine := a.stored(a.value())
	key := hashed("koa:sess:", core.ID(a.value()))
	browser := a.browser
	shows := func(m *core.Manager, want string) {
		t.Helper()
		met = nil
		jar := browser.Jar("/")
		e := serve(t, m, jar, func(_ *core.Visit, s *core.Session) {
			if got := secretNote.Get(s); got != want {
				t.Errorf("the note is %q, want %q", got, want)
			}
		})
		a.ok(e)
		if (want == "") != (len(met) > 0) {
			t.Errorf("the hook was told %v", met)
		}
		for _, err := range met {
			if !errors.Is(err, core.ErrCorrupt) {
				t.Error(err)
			}
			if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), key) {
				t.Error("the message has a value or a key")
			}
		}
	}
	put := func(data []byte) { must(t, store.Set(bg, key, data, time.Hour)) }
	shows(a.manager, canary)
	for i := range mine {
		changed := slices.Clone(mine)
		changed[i] ^= 0x40
		put(changed)
		shows(a.manager, "")
		put(mine[:i])
		if i > 0 { // an empty payload is no session, as without sealing
			shows(a.manager, "")
		}
	}
	// The store's whole key is bound: the same id under another prefix, and another id.
	other := newAppOn(t, store, options(testKey))
	other.ok(other.get("/", setNote(t, "of another user")))
	put(other.stored(other.value()))
	shows(a.manager, "")
	o := options(testKey)
	o.Prefix = "b:"
	b := newAppOn(t, store, o)
	must(t, store.Set(bg, "b:"+strings.TrimPrefix(key, "koa:sess:"), mine, time.Hour))
	shows(b.manager, "")
	// With its mark of the key mended.
	moved := slices.Clone(mine)
	copy(moved[5:9], other.stored(other.value())[5:9])
	must(t, store.Set(bg, hashed("koa:sess:", core.ID(other.value())), moved, time.Hour))
	browser = other.browser
	shows(a.manager, "")
	browser = a.browser
	// Unsealed ones.
	plain := newAppOn(t, store, nil)
	plain.ok(plain.get("/", setNote(t, "planted")))
	put([]byte(`{"note":"planted"}`))
	shows(a.manager, "")
	// Another key, and a ring.
	put(mine)
	shows(newAppOn(t, store, options(otherKey)).manager, "")
	shows(newAppOn(t, store, options(otherKey, testKey)).manager, canary)
	shows(newAppOn(t, store, options(testKey, otherKey)).manager, canary)
}

// TestP28Rotation: keys are added behind, then in front; each write and each move
// seals with the first. No process of two neighbouring steps loses a session.
func TestP28Rotation(t *testing.T) {
	t.Parallel()
	steps := []core.Sealing{
		{},
		{Keys: core.Keyring{testKey}, OpenOnly: true, UnsealedUntil: time.Now().Add(time.Hour)},
		{Keys: core.Keyring{testKey}, UnsealedUntil: time.Now().Add(time.Hour)},
		{Keys: core.Keyring{testKey, otherKey}},
		{Keys: core.Keyring{otherKey, testKey}},
		{Keys: core.Keyring{otherKey}},
	}
	store := newMemory(t)
	a := newAppOn(t, store, &core.Options{Seal: steps[0]})
	a.ok(a.get("/", setNote(t, canary)))
	for i := 1; i < len(steps); i++ {
		older, newer := newAppOn(t, store, &core.Options{Seal: steps[i-1]}).manager, newAppOn(t, store, &core.Options{Seal: steps[i]}).manager
		for _, h := range []handler{count(t), signIn(t, "ada"), count(t), func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }} {
			for _, m := range []*core.Manager{older, newer, older, newer} {
				a.manager = m
				a.wantNote(canary)
				a.ok(a.get("/", h))
				a.wantNote(canary)
			}
		}
	}
	if bytes.Contains(a.stored(a.value()), []byte(canary)) {
		t.Error("not sealed at the end")
	}
}

// TestP28UnsealedUntil: unsealed sessions are read until the date, and sealed by the
// next write.
func TestP28UnsealedUntil(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memorystore.New(nil)
		defer store.Close()
		plain := newAppOn(t, store, nil)
		until := time.Now().Add(time.Hour)
		for _, openOnly := range []bool{false, true} {
			o := sealed(testKey)
			o.Seal.UnsealedUntil, o.Seal.OpenOnly = until, openOnly
			a := newAppOn(t, store, o)
			plain.browser, a.browser = &jartest.Browser{}, &jartest.Browser{}
			plain.ok(plain.get("/", setNote(t, canary)))
			a.browser = plain.browser
			a.wantNote(canary)
			a.ok(a.get("/", count(t)))
			if bytes.Contains(a.stored(a.value()), []byte(canary)) != openOnly {
				t.Errorf("OpenOnly %v: %q", openOnly, a.stored(a.value()))
			}
			if !openOnly {
				continue
			}
			time.Sleep(time.Until(until) - 1)
			a.wantNote(canary)
			time.Sleep(time.Nanosecond)
			a.wantNote("")
			a.ok(a.get("/", setNote(t, canary)))
			if a.wantNote(canary); bytes.Contains(a.stored(a.value()), []byte(canary)) {
				t.Error("written unsealed after the date, when that is refused")
			}
		}
	})
}

// TestP28MaxSize: what counts is what the store gets.
func TestP28MaxSize(t *testing.T) {
	t.Parallel()
	o := sealed(testKey)
	o.MaxSize = 1000
	a := newApp(t, o)
	a.ok(a.get("/", setNote(t, "")))
	room := 1000 - len(a.stored(a.value()))
	a.ok(a.get("/", setNote(t, strings.Repeat("x", room))))
	if n := len(a.stored(a.value())); n != 1000 {
		t.Errorf("%d bytes", n)
	}
	a.wantNote(strings.Repeat("x", room))
	a.fails(core.ErrTooLarge, a.get("/", setNote(t, strings.Repeat("x", room+1))))
}

// TestW44 is the record of another prefix, and the one that is too large.
func TestW44(t *testing.T) {
	t.Parallel()
	t.Run("prefix", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		a, b := newAppOn(t, store, &core.Options{Prefix: "a:"}), newAppOn(t, store, &core.Options{Prefix: "b:"})
		a.ok(a.get("/", setNote(t, canary)))
		id := core.ID(a.value())
		data, err := store.Get(bg, hashed("a:", id))
		must(t, err)
		must(t, store.Set(bg, hashed("b:", id), data, time.Hour))
		b.browser = a.browser
		e := b.get("/", func(*core.Visit, *core.Session) { t.Error("the handler ran") })
		wantIs(t, e.begin, core.ErrCorrupt)
		e.wantCookies(t, "")
		// Written before the prefix had a mark.
		old := bytes.Replace(data, data[bytes.Index(data, []byte(`","p":"`)):bytes.Index(data, []byte(`","c":`))], nil, 1)
		must(t, store.Set(bg, hashed("a:", id), old, time.Hour))
		a.wantNote(canary)
		a.ok(a.get("/", count(t)))
		if data, err = store.Get(bg, hashed("a:", id)); err != nil || !bytes.Contains(data, []byte(`","p":"`)) {
			t.Errorf("written anew: %s, %v", data, err)
		}
	})
	t.Run("size", func(t *testing.T) {
		t.Parallel()
		for name, o := range map[string]*core.Options{"default": {}, "sealed": sealed(testKey), "KoaCompat": core.KoaCompat()} {
			var met error
			o.Hooks.Error = func(_ context.Context, e *core.Error) error {
				if met = e; e.Op == core.OpGet {
					return nil
				}
				return e
			}
			o.OpTimeout = time.Minute // 20 MiB, on a busy machine under the race detector
			large, small := *o, *o
			large.MaxSize = 1 << 25
			store := newMemory(t)
			a := newAppOn(t, store, &large)
			a.ok(a.get("/", setNote(t, strings.Repeat("x", 20<<20))))
			b := newAppOn(t, store, &small)
			b.browser = a.browser
			key := hashed("koa:sess:", core.ID(a.value()))
			if name == "KoaCompat" {
				key = "koa:sess:" + a.value()
			}
			jar := b.browser.Jar("/")
			b.ok(b.send(jar, func(_ *core.Visit, s *core.Session) {
				if !s.IsNew() {
					t.Errorf("%s: it was read", name)
				}
			}))
			if !errors.Is(met, core.ErrTooLarge) {
				t.Errorf("%s: %v", name, met)
			}
			if _, err := store.Get(bg, key); err != nil {
				t.Errorf("%s: the record is gone: %v", name, err)
			}
		}
	})
	t.Run("the blanks of a hold don't count", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		a := newAppOn(t, store, &core.Options{MaxSize: 500})
		a.ok(a.get("/", setNote(t, "")))
		note := strings.Repeat("x", 500-len(a.stored(a.value())))
		a.ok(a.get("/", setNote(t, note)))
		if _, _, err := store.Append(bg, hashed("koa:sess:", core.ID(a.value())), bytes.Repeat([]byte(" \t"), 16)); err != nil {
			t.Fatal(err)
		}
		a.wantNote(note)
	})
}

// hashed is the store's key of id under a prefix.
func hashed(prefix string, id core.ID) string {
	return prefix + strings.TrimPrefix(hashedKey(id), "koa:sess:")
}

// TestP28APlantedPointer: who can write to the store opens nobody's session by what
// stands there for an id that was renewed of itself, planted under a key of their own.
// What processes with other Seal.Keys have in common still leads there.
func TestP28APlantedPointer(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]time.Duration{"a new id": 0, "an old one, in time": 20 * time.Second, "an old one, for years": 20000 * time.Hour} {
		for _, unsealed := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", while what is not sealed is read"}[unsealed], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, o := newMemory(t), sealed(testKey)
					if unsealed {
						o.Seal.UnsealedUntil = time.Now().Add(time.Hour)
					}
					a := newAppOn(t, store, o)
					a.ok(a.get("/", signIn(t, "ada")))
					victim := hashed("", core.ID(a.value()))
					time.Sleep(time.Minute)
					a.browser = &jartest.Browser{}
					a.ok(a.get("/", signIn(t, "mallory")))
					text := "null" + strings.Repeat(" ", 32) + "\n" + strconv.FormatInt(time.Now().UnixMilli(), 10) + "\n>" + victim
					if life > 0 {
						text += "@" + strconv.FormatInt(time.Now().Add(life).UnixMilli(), 10)
					}
					for _, more := range []string{"", "~", "~AAAA", "~" + strings.Repeat("A", 43)} {
						must(t, store.Set(bg, hashed("koa:sess:", core.ID(a.value())), []byte(text+more), time.Hour))
						a.ok(a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
							if got := user.Get(s); got == "ada" && !unsealed {
								t.Errorf("%q opens the session of %s", more, got)
							} else if got != "ada" && unsealed && more == "" && life > 0 {
								t.Errorf("what is planted does not lead there: the test shows nothing") // as a record could be planted
							}
						}))
					}
				})
			})
		}
	}
}

// TestP28APointerAndTheKeys: in each step of a change of the keys an id that was
// renewed of itself leads on, before and after its end was noted.
func TestP28APointerAndTheKeys(t *testing.T) {
	t.Parallel()
	first, second, third := testKey, otherKey, slices.Concat(otherKey[16:], testKey[:16])
	for name, test := range map[string]struct {
		by, reads core.Keyring
		leads     bool
	}{
		"one that is not used yet": {core.Keyring{first}, core.Keyring{first, second}, true},
		"one that is used":         {core.Keyring{first, second}, core.Keyring{second, first}, true},
		"the one before":           {core.Keyring{second, first}, core.Keyring{first, second}, true},
		"the old one is gone":      {core.Keyring{second, first}, core.Keyring{second}, true},
		"others":                   {core.Keyring{first, second}, core.Keyring{third}, false},
	} {
		for stores, wrap := range renewingStores {
			t.Run(name+", "+stores, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, o := newMemory(t), renewingOptions()
					o.Seal.Keys = test.by
					a := newAppOn(t, wrap(store), o)
					a.ok(a.get("/", signIn(t, "ada")))
					jars := []*jartest.Jar{a.browser.Jar("/"), a.browser.Jar("/")}
					time.Sleep(renewAfter)
					a.ok(a.get("/", count(t)))

					other := renewingOptions()
					other.Seal.Keys = test.reads
					b := newAppOn(t, wrap(store), other)
					read := func(when string, old *jartest.Jar) {
						t.Helper()
						got := ""
						e := b.send(old, func(_ *core.Visit, s *core.Session) { got = user.Get(s) })
						if (got == "ada") != test.leads || test.leads && e.err() != nil {
							t.Errorf("%s: the old id opens the session of %q: %v", when, got, e.err())
						}
					}
					read("before the new id was used", jars[0])
					a.ok(a.get("/", count(t)))
					read("afterwards", jars[1])
				})
			})
		}
	}
}
