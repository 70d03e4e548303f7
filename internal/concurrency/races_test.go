package concurrency_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// Races that two requests of one act each do not have: goroutines within a
// request, requests that go on after they were told something, and times that
// run out in between.

var bg = context.Background()

// apart runs f in another goroutine of the request, and waits for it.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// during returns an addition to n in whose middle something happens, once.
func during(k int, happens func()) func(int) int {
	begun := false
	return func(n int) int {
		if !begun {
			begun = true
			apart(happens)
		}
		return n + k
	}
}

func (s *scene) want(n int) {
	s.t.Helper()
	if wrong := s.wantN(n); wrong != "" {
		s.t.Error(wrong)
	}
}

// seen is n of the session of an id, and whether there is one.
func (s *scene) seen(id core.ID) (int, bool) {
	s.t.Helper()
	data, err := s.manager.GetByID(bg, id)
	if errors.Is(err, core.ErrNotFound) {
		return 0, false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return parse(s.t, data)["n"], true
}

func add(k int) func(*core.Session) {
	return func(s *core.Session) { _, _ = n.Update(s, adding(k)) }
}

// Goroutines of one request, and another request beside them (items 2 and 8).
func TestWithinARequest(t *testing.T) {
	t.Run("an Update while another value is being saved", func(t *testing.T) {
		s := newScene(t, newMemory(t), core.Options{})
		second := s.browser.Jar("/")
		s.request(func(session *core.Session) {
			_ = session.Set("a", 1)
			s.atWrite(func() {
				add(1)(session)
				_ = s.serve(second, add(10))
			})
			if err := session.Save(bg); err != nil {
				t.Error(err)
			}
			if got := n.Get(session); got != 111 {
				t.Errorf("the handler sees %d, want 111", got)
			}
		})
		s.want(111)
	})
	t.Run("a Save in the middle of an Update", func(t *testing.T) {
		s := newScene(t, newMemory(t), core.Options{})
		second := s.browser.Jar("/")
		s.request(func(session *core.Session) {
			_ = session.Set("a", 1)
			got, err := n.Update(session, during(1, func() {
				_ = s.serve(second, add(10))
				if err := session.Save(bg); err != nil {
					t.Error(err)
				}
			}))
			if err != nil || got != 111 {
				t.Errorf("Update returns %d, %v, want 111", got, err)
			}
		})
		s.want(111)
	})
	t.Run("a Replace in the middle of an Update", func(t *testing.T) {
		s := newScene(t, newMemory(t), core.Options{})
		s.request(func(session *core.Session) {
			_, _ = n.Update(session, during(1, func() { _ = session.Replace(values{"n": 5}) }))
		})
		s.want(6)
	})
	t.Run("a Reset in the middle of an Update", func(t *testing.T) {
		s := newScene(t, newMemory(t), core.Options{})
		s.request(func(session *core.Session) {
			_, _ = n.Update(session, during(1, func() { _ = session.Reset(bg) }))
		})
		s.want(1) // nothing of the old session gets into the new one
	})
	t.Run("what was set to what it was does not undo what another request set", func(t *testing.T) {
		s := newScene(t, newMemory(t), core.Options{})
		second := s.browser.Jar("/")
		s.request(func(session *core.Session) {
			_ = n.Set(session, 100)
			_ = x.Delete(session) // there is none
			_ = session.Set("a", 1)
			_ = s.serve(second, func(s *core.Session) { _, _ = n.Set(s, 7), x.Set(s, 8) })
			if err := session.Save(bg); err != nil {
				t.Error(err)
			}
		})
		s.want(7)
		s.request(func(session *core.Session) {
			if x.Get(session) != 8 {
				t.Error("a value of another request is gone")
			}
		})
	})
}

// same (item 2).
func TestLostUpdateBesideItsTwin(t *testing.T) {
	for name, o := range map[string]*core.Options{"by default": {}, "KoaCompat": core.KoaCompat()} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, newMemory(t), *o)
			jar, second := s.browser.Jar("/"), s.browser.Jar("/")
			err := s.serve(jar, func(session *core.Session) {
				add(1)(session)
				s.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
					if op != storetest.OpSetVersion {
						return nil
					}
					s.store.Before(nil)
					if err := s.serve(second, add(1)); err != nil {
						t.Error(err)
					}
					return core.ErrOutcomeUnknown
				})
				if err := session.Save(bg); !errors.Is(err, core.ErrOutcomeUnknown) {
					t.Error(err)
				}
			})
			if got := s.stored(); err == nil && got != 102 {
				t.Errorf("both succeeded, and n is %d", got)
			}
		})
	}
}

// after an error (items 5 and 6).
func TestRegenerateBesideOthers(t *testing.T) {
	for name, end := range map[string]func(*core.Session) error{
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Reset": func(s *core.Session) error { return errors.Join(s.Reset(bg), n.Set(s, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, newMemory(t), core.Options{})
			late := s.browser.Jar("/")
			var ids [2]core.ID
			_ = s.serve(late, func(session *core.Session) {
				s.request(func(other *core.Session) {
					if err := end(other); err != nil {
						t.Fatal(err)
					}
					ids[0] = other.ID()
				})
				if err := session.Reset(bg); !errors.Is(err, core.ErrGone) {
					t.Errorf("Reset of a session that has moved: %v", err)
				}
				_ = session.Set("a", 1)
				ids[1] = session.ID()
			})
			s.browser.Take("/", late.SetCookies...)
			s.want(100)
			if _, lives := s.seen(ids[1]); lives {
				t.Error("two ids live")
			}
		})
	}
	for name, fault := range map[string]func(s *scene, op storetest.Op){
		"refused": func(s *scene, op storetest.Op) {
			s.store.Before(func(_ context.Context, o storetest.Op, _ string) error {
				if o == op {
					return core.ErrRefused
				}
				return nil
			})
		},
		"its answer lost": func(s *scene, op storetest.Op) {
			s.store.After(func(_ context.Context, o storetest.Op, _ string) error {
				if o == op {
					return core.ErrOutcomeUnknown
				}
				return nil
			})
		},
	} {
		for _, op := range []storetest.Op{storetest.OpDestroy, storetest.OpSetVersion} {
			t.Run(string(op)+" "+name, func(t *testing.T) {
				s := newScene(t, newMemory(t), core.Options{})
				var old core.ID
				_ = s.serve(s.browser.Jar("/"), func(session *core.Session) {
					old = session.ID()
					fault(s, op)
					err := session.Reset(bg)
					s.store.Before(nil)
					s.store.After(nil)
					if got, lives := s.seen(old); lives != (err != nil) || lives && got != 100 {
						t.Errorf("Reset returned %v, and the old session lives: %v", err, lives)
					}
				})
			})
		}
	}
}

// a new session must not take the fresh cookie away (items 5 and 6).
func TestAfterErrGone(t *testing.T) {
	for name, told := range map[string]func(*core.Session) error{
		"Save":  func(s *core.Session) error { return errors.Join(s.Set("a", 1), s.Save(bg)) },
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Reset": func(s *core.Session) error { return s.Reset(bg) },
	} {
		moved := func(t *testing.T, then func(*core.Session)) (s *scene, late *jartest.Jar, heir core.ID) {
			s = newScene(t, newMemory(t), core.Options{})
			late = s.browser.Jar("/")
			_ = s.serve(late, func(session *core.Session) {
				s.request(func(other *core.Session) {
					if err := other.Renew(bg); err != nil {
						t.Fatal(err)
					}
					heir = other.ID()
				})
				if err := told(session); !errors.Is(err, core.ErrGone) {
					t.Fatalf("told %v, want ErrGone", err)
				}
				then(session)
			})
			return s, late, heir
		}
		t.Run("Destroy after "+name, func(t *testing.T) {
			s, _, heir := moved(t, func(session *core.Session) {
				if err := session.Destroy(bg); err != nil {
					t.Error(err)
				}
			})
			if _, lives := s.seen(heir); lives {
				t.Error("Destroy returned nil, and the session lives under its new id")
			}
		})
		t.Run("Reset after "+name, func(t *testing.T) {
			s, late, _ := moved(t, func(session *core.Session) {
				_ = session.Reset(bg)
				_ = session.Set("a", 1)
			})
			s.browser.Take("/", late.SetCookies...)
			s.want(100)
		})
	}
	t.Run("where nothing came after it a new session can begin", func(t *testing.T) {
		s := newScene(t, newMemory(t), core.Options{})
		s.request(func(session *core.Session) {
			if err := s.manager.DestroyByID(bg, session.ID()); err != nil {
				t.Fatal(err)
			}
			if err := session.Reset(bg); !errors.Is(err, core.ErrGone) {
				t.Errorf("the first Reset: %v", err)
			}
			if err := errors.Join(session.Reset(bg), n.Set(session, 7)); err != nil {
				t.Error(err)
			}
		})
		s.want(7)
	})
}

// touch: what it meets is no save of another request, but the end (item 6).
func TestRenewalMeetsATombstone(t *testing.T) {
	m := newMemory(t)
	s := newScene(t, struct {
		core.Store
		core.Swapper
	}{m, m}, core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: 1})
	reader := s.browser.Jar("/")
	v, _ := s.manager.NewVisit(reader, nil)
	if _, err := v.Session(bg); err != nil {
		t.Fatal(err)
	}
	s.request(func(session *core.Session) {
		if err := session.Renew(bg); err != nil {
			t.Fatal(err)
		}
	})
	if err := v.Commit(bg); err != nil {
		t.Fatal(err)
	}
	s.browser.Take("/", reader.SetCookies...)
	s.want(100)
}

// another request has given more of it (item 7).
func TestProlongedMeanwhile(t *testing.T) {
	for name, act := range map[string]func(*core.Session){
		"set":   func(s *core.Session) { _ = s.Set("a", 1) },
		"touch": func(s *core.Session) {},
		"renew": func(s *core.Session) { _ = s.Renew(bg) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				until := func(d time.Duration) func(s *core.Session) {
					return func(s *core.Session) {
						c := s.Cookie()
						c.MaxAge, c.Expires = core.UntilBrowserCloses, time.Now().Add(d)
						if err := s.SetCookie(c); err != nil {
							t.Error(err)
						}
					}
				}
				m := newMemory(t)
				defer m.Close()
				s := newScene(t, m, core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: 1})
				defer s.manager.Close()
				s.request(until(time.Minute))
				s.request(func(session *core.Session) {
					s.request(until(time.Hour))
					time.Sleep(2 * time.Minute)
					act(session)
				})
				s.want(100)
			})
		})
	}
}

// another request has chosen meanwhile: it may be the last to arrive (item 7).
func TestChosenMeanwhile(t *testing.T) {
	rolling := core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: 1}
	m := newMemory(t)
	for name, c := range map[string]struct {
		store core.Store
		o     core.Options
	}{
		"touch": {m, rolling},
		"no touch": {struct {
			core.Store
			core.Swapper
		}{m, m}, rolling},
		"another key": {m, core.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, c.store, c.o)
			if name == "another key" {
				if err := s.manager.RotateKeys([][]byte{secondKey, firstKey}); err != nil {
					t.Fatal(err)
				}
			}
			late := s.browser.Jar("/")
			if err := s.serve(late, func(*core.Session) {
				s.request(func(s *core.Session) {
					c := s.Cookie()
					c.MaxAge = 30 * 24 * time.Hour
					if err := s.SetCookie(c); err != nil {
						t.Error(err)
					}
				})
			}); err != nil {
				t.Fatal(err)
			}
			if len(late.SetCookies) == 0 {
				t.Fatal("no cookie")
			}
			_, expires, _ := strings.Cut(late.SetCookies[0], "expires=")
			expires, _, _ = strings.Cut(expires, ";")
			at, err := http.ParseTime(expires)
			if err != nil || time.Until(at) < 29*24*time.Hour {
				t.Errorf("the cookie expires at %v, %v", at, err)
			}
		})
	}
}

// it ran (item 5).
func TestByIDSetRevivesNothing(t *testing.T) {
	for name, end := range map[string]func(*core.Session) error{
		"Destroy": func(s *core.Session) error { return s.Destroy(bg) },
		"Renew":   func(s *core.Session) error { return s.Renew(bg) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, newMemory(t), core.Options{})
			var old core.ID
			s.request(func(s *core.Session) { old = s.ID() })
			second := s.browser.Jar("/")
			s.atWrite(func() {
				if err := s.serve(second, func(s *core.Session) {
					if err := end(s); err != nil {
						t.Error(err)
					}
				}); err != nil {
					t.Error(err)
				}
			})
			err := s.manager.SetByID(bg, old, values{"n": 1}, 0)
			if _, lives := s.seen(old); lives || !errors.Is(err, core.ErrGone) {
				t.Errorf("Set is %v, and the old id lives: %v", err, lives)
			}
		})
	}
	t.Run("over a tombstone", func(t *testing.T) {
		s := newScene(t, newMemory(t), core.Options{})
		s.request(func(session *core.Session) {
			old := session.ID()
			if err := session.Renew(bg); err != nil {
				t.Fatal(err)
			}
			if err := s.manager.SetByID(bg, old, values{"n": 1}, 0); !errors.Is(err, core.ErrGone) {
				t.Errorf("Set of an id that was given up: %v", err)
			}
			if _, lives := s.seen(old); lives {
				t.Error("the old id lives beside the new one")
			}
		})
	})
}
