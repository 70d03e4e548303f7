package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// TestK15Generator is requirement 2: what a generator of the user's does wrong
// is an error of the request. No session, no cookie, no call of the store.
func TestK15Generator(t *testing.T) {
	t.Parallel()
	noEntropy := errors.New("no entropy")
	for _, test := range []struct {
		name, id string
		err      error
		want     string
	}{
		{"empty", "", nil, "0 characters, at least 16"},
		{"3 bytes", "abc", nil, "3 characters, at least 16"},
		{"15 bytes", "0123456789abcde", nil, "15 characters"},
		{"alphabet", "0123456789abcde/", nil, "characters other than"},
		{"path", "../../../../etc/passwd", nil, "characters other than"},
		{"injection", "0123456789abcdef\r\nSet-Cookie: a=b", nil, "characters other than"},
		{"slot", "{0123456789abcdef}", nil, "characters other than"},
		{"too long", strings.Repeat("a", 129), nil, "129 characters, at most 128"},
		{"error", "0123456789abcdef", noEntropy, "no entropy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, err := core.New(bareStore{t}, &core.Options{
				Keys:  goodKeys,
				NewID: func(context.Context) (string, error) { return test.id, test.err },
			})
			if err != nil {
				t.Fatal(err)
			}
			failed := func(op string, err error) {
				t.Helper()
				var e *core.Error
				if !errors.As(err, &e) || e.Op != core.OpID || !strings.Contains(err.Error(), test.want) || core.Status(err) != 500 {
					t.Errorf("%s: %v, want an Error of %q with %q", op, err, core.OpID, test.want)
				}
				if test.err != nil && !errors.Is(err, test.err) {
					t.Errorf("%s: the generator's error is lost: %v", op, err)
				}
				if len(test.id) > 3 && err != nil && strings.Contains(err.Error(), test.id) {
					t.Errorf("%s: the message shows the id", op)
				}
			}
			for op, f := range map[string]func(ctx context.Context, s *core.Session) error{
				"commit": func(_ context.Context, s *core.Session) error { return nil },
				"Save":   func(ctx context.Context, s *core.Session) error { return s.Save(ctx) },
				"Renew":  func(ctx context.Context, s *core.Session) error { return s.Renew(ctx) },
				"Reset":  func(ctx context.Context, s *core.Session) error { return s.Reset(ctx) },
			} {
				jar := new(jartest.Jar)
				v, _ := m.NewVisit(jar, nil)
				ctx := context.Background()
				s, err := v.Session(ctx)
				if err != nil {
					t.Fatalf("an id was made before one was needed: %v", err)
				}
				if err := s.Set("a", 1); err != nil {
					t.Fatal(err)
				}
				if id := s.ID(); id != "" {
					t.Errorf("%s: the session has the id %q", op, string(id))
				}
				if err := f(ctx, s); op != "commit" {
					failed(op, err)
				}
				failed(op+", then commit", v.Commit(ctx))
				if len(jar.SetCookies) != 0 {
					t.Errorf("%s: Set-Cookie: %q", op, jar.SetCookies)
				}
			}
		})
	}
	t.Run("only when needed", func(t *testing.T) {
		t.Parallel()
		m, err := core.New(bareStore{t}, &core.Options{Keys: goodKeys, NewID: func(context.Context) (string, error) {
			t.Error("the generator was asked")
			return fixedID, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		jar := new(jartest.Jar)
		v, _ := m.NewVisit(jar, nil)
		if err := errors.Join(v.Begin(context.Background()), v.Commit(context.Background())); err != nil || len(jar.SetCookies) != 0 {
			t.Errorf("%v, Set-Cookie: %q", err, jar.SetCookies)
		}
	})
	t.Run("repeats itself", func(t *testing.T) {
		t.Parallel()
		m, err := core.New(onceStore{bareStore{t}, new(int)}, &core.Options{Keys: goodKeys, NewID: newFixedID})
		if err != nil {
			t.Fatal(err)
		}
		setCookies(t, m)
		jar := new(jartest.Jar)
		v, _ := m.NewVisit(jar, nil)
		s, err := v.Session(context.Background())
		if err == nil {
			err = s.Set("a", 2)
		}
		if err != nil {
			t.Fatal(err)
		}
		var e *core.Error
		if err := v.Commit(context.Background()); !errors.As(err, &e) || e.Op != core.OpID || len(jar.SetCookies) != 0 {
			t.Errorf("a second session got the id of the first: %v, Set-Cookie: %q", err, jar.SetCookies)
		}
	})
}

// TestW10AGeneratorRepeatsItself: on a store without versions, too, nobody gets the
// session of somebody else, neither by a new session nor by a login or Renew.
func TestW10AGeneratorRepeatsItself(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		koa   bool
		store func(t *testing.T) core.Store
	}{
		"default":             {false, func(t *testing.T) core.Store { return plainStore{newMemory(t)} }},
		"KoaCompat":           {true, func(t *testing.T) core.Store { return plainStore{newMemory(t)} }},
		"versions":            {false, func(t *testing.T) core.Store { return newMemory(t) }},
		"KoaCompat, versions": {true, func(t *testing.T) core.Store { return newMemory(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			koa, repeat := c.koa, false
			o := &core.Options{}
			if koa {
				o = core.KoaCompat()
			}
			n := 0
			o.NewID = func(context.Context) (string, error) {
				if n++; repeat {
					return fixedID, nil
				}
				return fmt.Sprintf("%s-%d", fixedID, n), nil
			}
			a := newAppOn(t, c.store(t), o)
			repeat = true
			a.ok(a.get("/", signIn(t, "ada")))
			first := a.browser
			if a.value() != fixedID {
				t.Fatalf("the first user has %q", a.value())
			}
			for act, h := range map[string]handler{
				"new":   count(t),
				"login": signIn(t, "eve"),
				"renew": func(_ *core.Visit, s *core.Session) {
					must(t, user.Set(s, "eve"))
					if s.Renew(bg) == nil {
						t.Error("Renew succeeded")
					}
				},
			} {
				for _, has := range []bool{false, true} { // a session of its own already
					if act == "renew" && !has { // whose id is not stored
						continue
					}
					a.browser = &jartest.Browser{}
					if repeat = false; has {
						a.ok(a.get("/", count(t)))
						if act == "new" {
							continue // it keeps its id
						}
					}
					repeat = true
					e := a.get("/", h)
					if opError, ok := errors.AsType[*core.Error](e.commit); !ok || opError.Op != core.OpID {
						t.Errorf("%s: %v", act, e.commit)
					}
					e.wantCookies(t, "")
				}
			}
			a.browser = first
			a.wantUser("ada")
		})
	}
}

// onceStore lets one record be created and no other over it.
type onceStore struct {
	bareStore
	created *int
}

func (s onceStore) GetVersion(context.Context, string) ([]byte, core.Version, error) {
	return nil, 0, core.ErrNotFound
}

func (s onceStore) SetVersion(context.Context, string, []byte, time.Duration, core.Version) (core.Version, error) {
	if *s.created++; *s.created > 1 {
		return 0, core.ErrConflict
	}
	return 1, nil
}
