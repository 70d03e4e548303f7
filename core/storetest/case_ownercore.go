package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
)

// The lists of owners as the core uses them: the store is stopped between any two of
// its calls, and then the lists and the sessions are compared.

// errStopped is the error of a call that a tracer does not pass on.
var errStopped = fmt.Errorf("%w: stopped by the test", core.ErrUnavailable)

// A tracer is an Indexer that notes which keys and lists are written, and that stops
// after some calls.
type tracer struct {
	core.Store
	index core.Indexer

	mu    sync.Mutex
	keys  map[string]bool
	lists map[string]bool
	left  int  // calls until it stops; negative: never
	lost  bool // the last call before is carried out, and its answer lost
	calls int
}

func (s *tracer) note(keys map[string]bool, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if name != "" {
			keys[name] = true
		}
	}
}

// stop makes the store stop after so many calls.
func (s *tracer) stop(after int, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.lost, s.calls = after, lost, 0
}

// call runs one call.
func (s *tracer) call(write bool, f func() error) error {
	s.mu.Lock()
	left, lost := s.left, s.lost
	if s.calls++; left > 0 {
		s.left--
	}
	s.mu.Unlock()
	switch {
	case left == 0:
		return errStopped
	case left == 1 && lost:
		if err := f(); err != nil || !write {
			return errors.Join(err, errStopped)
		}
		return fmt.Errorf("%w: its answer is lost by the test", core.ErrOutcomeUnknown)
	}
	return f()
}

func (s *tracer) Get(ctx context.Context, key string) (data []byte, err error) {
	err = s.call(false, func() error { data, err = s.Store.Get(ctx, key); return err })
	return data, err
}

func (s *tracer) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	s.note(s.keys, key)
	return s.call(true, func() error { return s.Store.Set(ctx, key, data, ttl) })
}

func (s *tracer) Destroy(ctx context.Context, key string) error {
	return s.call(true, func() error { return s.Store.Destroy(ctx, key) })
}

func (s *tracer) GetVersion(ctx context.Context, key string) (data []byte, v core.Version, err error) {
	err = s.call(false, func() error { data, v, err = s.index.GetVersion(ctx, key); return err })
	return data, v, err
}

func (s *tracer) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (now core.Version, err error) {
	s.note(s.keys, key)
	err = s.call(true, func() error { now, err = s.index.SetVersion(ctx, key, data, ttl, v); return err })
	return now, err
}

func (s *tracer) Batch(ctx context.Context, writes ...core.Write) (now []core.Version, err error) {
	for _, w := range writes {
		s.note(s.keys, w.Key)
		s.note(s.lists, w.Owner)
	}
	err = s.call(true, func() error { now, err = s.index.Batch(ctx, writes...); return err })
	return now, err
}

func (s *tracer) Append(ctx context.Context, key string, suffix []byte) (data []byte, v core.Version, err error) {
	err = s.call(true, func() error { data, v, err = s.index.Append(ctx, key, suffix); return err })
	return data, v, err
}

func (s *tracer) Owned(ctx context.Context, owner string) (keys []string, err error) {
	err = s.call(false, func() error { keys, err = s.index.Owned(ctx, owner); return err })
	return keys, err
}

func (s *tracer) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	s.note(s.keys, key)
	s.note(s.lists, owner)
	return s.call(true, func() error { return s.index.Own(ctx, owner, key, ttl) })
}

func (s *tracer) Disown(ctx context.Context, owner string, keys ...string) error {
	return s.call(true, func() error { return s.index.Disown(ctx, owner, keys...) })
}

func (s *tracer) GetMany(ctx context.Context, keys ...string) (found []core.Payload, err error) {
	err = s.call(false, func() error { found, err = s.index.GetMany(ctx, keys...); return err })
	return found, err
}

func (s *tracer) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	return s.call(false, func() error { return s.index.Keys(ctx, prefix, f) })
}

// An ownerApp is a program with sessions of owners on the store of a check.
type ownerApp struct {
	c     *check
	store *tracer
	m     *core.Manager
}

func (c *check) ownerApp(name string) *ownerApp {
	c.Helper()
	a := &ownerApp{c: c, store: &tracer{Store: c.store, index: c.indexer(), keys: map[string]bool{}, lists: map[string]bool{}, left: -1}}
	key := []byte(rand.Text() + rand.Text())
	var err error
	a.m, err = core.New(a.store, &core.Options{Keys: core.Keyring{key}, Prefix: c.prefix + name + ":", Owners: true, OpTimeout: 10 * time.Second})
	c.ok("core.New", err)
	c.Cleanup(func() { _ = a.m.Close() })
	return a
}

// A visitor is a browser with its cookies.
type visitor struct {
	cookies map[string]string
	lines   []string // Set-Cookie, of the request that runs
}

func (v *visitor) Cookie() string {
	var all []string
	for name, value := range v.cookies {
		all = append(all, name+"="+value)
	}
	return strings.Join(all, "; ")
}
func (*visitor) Path() string                  { return "/" }
func (*visitor) Secure() bool                  { return true }
func (*visitor) RequestHeader(string) string   { return "" }
func (v *visitor) ResponseCookies() []string   { return v.lines }
func (*visitor) ResponseHeader(string) string  { return "" }
func (*visitor) SetResponseHeader(_, _ string) {}
func (*visitor) Begun() bool                   { return false }
func (v *visitor) SetCookie(name, line string, replace bool) {
	if replace {
		v.DropCookies(name)
	}
	v.lines = append(v.lines, line)
}
func (v *visitor) DropCookies(name string) {
	v.lines = slices.DeleteFunc(slices.Clone(v.lines), func(line string) bool { return strings.HasPrefix(line, name+"=") })
}
func (*visitor) DefaultResponseHeader(_, _ string) bool { return true }

// visit runs one request.
func (a *ownerApp) visit(v *visitor, handler func(s *core.Session) error) error {
	v.lines = nil
	visit, _ := a.m.NewVisit(v, nil)
	ctx := core.NewContext(a.c.ctx, visit)
	err := visit.Begin(ctx)
	if err != nil {
		visit.Abandon()
		return err
	}
	s, err := visit.Session(ctx)
	if err == nil {
		err = handler(s)
	}
	err = errors.Join(err, visit.Commit(ctx))
	if v.cookies == nil {
		v.cookies = map[string]string{}
	}
	for _, line := range v.lines {
		pair, attributes, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		if v.cookies[name] = value; strings.Contains(strings.ToLower(attributes), "expires=thu, 01 jan 1970") {
			delete(v.cookies, name)
		}
	}
	return err
}

func (a *ownerApp) login(v *visitor, o core.LoginOptions) error {
	return a.visit(v, func(s *core.Session) error { return s.Login(o) })
}

// owner is whose session the browser has.
func (a *ownerApp) owner(v *visitor) (owner string) {
	a.c.Helper()
	a.c.ok("a request", a.visit(v, func(s *core.Session) error { owner = s.Owner(); return nil }))
	return owner
}

var appOwners = []string{"ada", "adb"}

// living are the keys of the sessions of an owner, by what is stored.
func (a *ownerApp) living(owner string) (keys []string) {
	a.c.Helper()
	keys, _ = a.stored(owner)
	return keys
}

// stored is living, and how many different sessions they are: a store that stops while
// an id is given up leaves a copy.
func (a *ownerApp) stored(owner string) (keys []string, n int) {
	a.c.Helper()
	mark, serials := []byte(`"o":["`+owner+`","`), map[string]bool{}
	for key := range a.store.keys {
		data, err := a.store.Store.Get(a.c.ctx, key)
		if errors.Is(err, core.ErrNotFound) {
			continue
		}
		a.c.ok("Get", err)
		if _, rest, ok := bytes.Cut(data, mark); ok {
			serial, _, _ := bytes.Cut(rest, []byte(`"`))
			serials[string(serial)] = true
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, len(serials)
}

// listed are the keys in all lists.
func (a *ownerApp) listed() (keys []string) {
	a.c.Helper()
	for list := range a.store.lists {
		some, err := a.store.index.Owned(a.c.ctx, list)
		a.c.ok("Owned", err)
		keys = append(keys, some...)
	}
	slices.Sort(keys)
	return keys
}

// agree fails the run unless the lists have all sessions, and after a look nothing
// else.
func (a *ownerApp) agree(when string) {
	a.c.Helper()
	var all []string
	listed := a.listed()
	for _, owner := range appOwners {
		for _, key := range a.living(owner) {
			if all = append(all, key); !slices.Contains(listed, key) {
				a.c.broken("%s: a session is not in the list of its owner: nobody can end it", when)
			}
		}
	}
	for _, owner := range appOwners {
		devices, err := a.m.ListByOwner(a.c.ctx, owner, nil)
		a.c.ok("ListByOwner", err)
		if _, n := a.stored(owner); len(devices) != n {
			a.c.broken("%s: ListByOwner returned %d sessions of %d", when, len(devices), n)
		}
	}
	slices.Sort(all)
	if listed := a.listed(); !slices.Equal(listed, all) {
		a.c.broken("%s: after a look the lists have %d keys of %d sessions", when, len(listed), len(all))
	}
}

// An ownerAct is what a program does with the sessions of owners. before prepares it,
// and ended says what must be so when it has returned without an error.
type ownerAct struct {
	name   string
	before func(a *ownerApp, v []*visitor) error
	do     func(a *ownerApp, v []*visitor) error
	ended  func(a *ownerApp, v []*visitor) string
}

func loggedIn(owners ...string) func(a *ownerApp, v []*visitor) error {
	return func(a *ownerApp, v []*visitor) error {
		var errs []error
		for i, owner := range owners {
			if owner == "" {
				errs = append(errs, a.visit(v[i], func(s *core.Session) error { return s.Set("x", 1) }))
			} else {
				errs = append(errs, a.login(v[i], core.LoginOptions{Owner: owner}))
			}
		}
		return errors.Join(errs...)
	}
}

func logsIn(o core.LoginOptions) func(a *ownerApp, v []*visitor) error {
	return func(a *ownerApp, v []*visitor) error { return a.login(v[0], o) }
}

func handles(handler func(ctx context.Context, a *ownerApp, s *core.Session) error) func(a *ownerApp, v []*visitor) error {
	return func(a *ownerApp, v []*visitor) error {
		return a.visit(v[0], func(s *core.Session) error { return handler(a.c.ctx, a, s) })
	}
}

// has is an end: so many sessions of ada live, and the first browser is ada's.
func has(n int, first string) func(a *ownerApp, v []*visitor) string {
	return func(a *ownerApp, v []*visitor) string {
		if got := len(a.living("ada")); got != n {
			return fmt.Sprintf("%d sessions live, want %d", got, n)
		}
		if got := a.owner(v[0]); got != first {
			return fmt.Sprintf("the browser's session is of %q, want %q", got, first)
		}
		return ""
	}
}

var ownerActs = []ownerAct{
	{"a first login", loggedIn(), logsIn(core.LoginOptions{Owner: "ada"}), has(1, "ada")},
	{"a visitor's login", loggedIn(""), logsIn(core.LoginOptions{Owner: "ada"}), has(1, "ada")},
	{"a second login", loggedIn("ada"), logsIn(core.LoginOptions{Owner: "ada"}), has(1, "ada")},
	{"another's login", loggedIn("adb"), logsIn(core.LoginOptions{Owner: "ada"}), has(1, "ada")},
	{"a login as nobody", loggedIn("ada"), logsIn(core.LoginOptions{}), has(0, "")},
	{"a login that is the last", loggedIn("", "ada", "ada"), logsIn(core.LoginOptions{Owner: "ada", MaxSessions: 1}), has(1, "ada")},
	{"a login that is refused", loggedIn("", "ada"), func(a *ownerApp, v []*visitor) error {
		err := a.login(v[0], core.LoginOptions{Owner: "ada", MaxSessions: 1, RefuseMore: true})
		if errors.Is(err, core.ErrTooMany) {
			return nil
		}
		return errors.Join(err, errors.New("it was not refused"))
	}, has(1, "")},
	{"Renew", loggedIn("ada"), handles(func(ctx context.Context, _ *ownerApp, s *core.Session) error {
		if s.Owner() == "" {
			return nil // after a retry
		}
		return s.Renew(ctx)
	}), nil},
	{"Reset", loggedIn("ada"), handles(func(ctx context.Context, _ *ownerApp, s *core.Session) error {
		return errors.Join(s.Reset(ctx), s.Set("y", 1))
	}), nil},
	{"a save", loggedIn("ada"), handles(func(_ context.Context, _ *ownerApp, s *core.Session) error { return s.Set("y", 1) }), has(1, "ada")},
	{"a logout", loggedIn("ada"), handles(func(ctx context.Context, _ *ownerApp, s *core.Session) error { return s.Destroy(ctx) }), nil},
	{"the end of one", loggedIn("ada", "ada"), func(a *ownerApp, _ []*visitor) error {
		devices, err := a.m.ListByOwner(a.c.ctx, "ada", nil)
		if err == nil && len(devices) == 2 {
			err = a.m.DestroyByHandle(a.c.ctx, "ada", devices[0].Handle)
		}
		if errors.Is(err, core.ErrNotFound) {
			return nil
		}
		return err
	}, nil},
	{"the end of all", loggedIn("ada", "ada", "ada", "adb"), func(a *ownerApp, _ []*visitor) error {
		return a.m.DestroyByOwner(a.c.ctx, "ada", nil)
	}, has(0, "")},
	{"the end of all others", loggedIn("ada", "ada", "ada", "adb"), handles(func(ctx context.Context, a *ownerApp, s *core.Session) error {
		return a.m.DestroyByOwner(ctx, "ada", s)
	}), has(1, "ada")},
	{"a list", loggedIn("ada", "ada"), func(a *ownerApp, _ []*visitor) error {
		_, err := a.m.ListByOwner(a.c.ctx, "ada", nil)
		return err
	}, has(2, "ada")},
	{"a list made anew", loggedIn("ada", "ada"), func(a *ownerApp, _ []*visitor) error {
		_, err := a.m.RebuildOwners(a.c.ctx)
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		return err
	}, has(2, "ada")},
}

var ownerCoreCases = []Case{{
	Name: "owners and a store that stops",
	Rule: "wherever a store stops between two calls of the core, each session is in the list of its owner, and the same again finishes what was begun",
	test: func(c *check) {
		c.indexer()
		for _, act := range ownerActs {
			for _, lost := range []bool{false, true} {
				for after := 0; ; after++ {
					a := c.ownerApp(strings.ReplaceAll(act.name, " ", "-"))
					v := []*visitor{{}, {}, {}, {}}
					c.ok(act.name+", before", act.before(a, v))
					a.store.stop(after, lost)
					err := act.do(a, v)
					done := a.store.calls < after || after > 0 && !lost && a.store.calls == after
					a.store.stop(-1, false)
					when := fmt.Sprintf("%s, stopped after call %d (answer lost: %v)", act.name, after, lost)
					a.agree(when)
					if err != nil {
						if done {
							c.broken("%s failed: %v", act.name, err)
						}
						c.ok(when+", again", act.do(a, v))
						a.agree(when + ", again")
					}
					if act.ended != nil {
						if wrong := act.ended(a, v); wrong != "" && (err == nil || !strings.Contains(act.name, "login")) {
							c.broken("%s: %s", when, wrong)
						}
					}
					for _, owner := range appOwners {
						c.ok("DestroyByOwner", a.m.DestroyByOwner(c.ctx, owner, nil))
						if n := len(a.living(owner)); n > 0 {
							c.broken("%s: %d sessions live on after DestroyByOwner", when, n)
						}
					}
					for _, v := range v {
						if owner := a.owner(v); owner != "" {
							c.broken("%s: a cookie opens a session of %s after DestroyByOwner", when, owner)
						}
					}
					if done {
						break
					}
				}
			}
		}
	},
}, {
	Name: "owners beside each other",
	Rule: "whatever logins, logouts and ends of all sessions run at the same time, the lists and the sessions agree, and no more sessions live than the last logins allow",
	test: func(c *check) {
		c.indexer()
		for round := range 10 {
			a := c.ownerApp(fmt.Sprint("round-", round))
			a.store.Store = c.store
			v := make([]*visitor, 6)
			for i := range v {
				v[i] = new(visitor)
			}
			c.ok("a login", errors.Join(loggedIn("", "", "ada", "ada", "adb", "")(a, v)))
			c.together(len(v), func(i int) error {
				var err error
				switch i {
				case 0, 1, 2:
					err = a.login(v[i], core.LoginOptions{Owner: "ada", MaxSessions: 1})
				case 3:
					err = a.visit(v[i], func(s *core.Session) error { return s.Destroy(c.ctx) })
				case 4:
					err = a.login(v[i], core.LoginOptions{Owner: "ada", MaxSessions: 1})
				case 5:
					if round%2 == 0 {
						err = a.m.DestroyByOwner(c.ctx, "ada", nil)
					} else {
						_, err = a.m.ListByOwner(c.ctx, "ada", nil)
					}
				}
				if errors.Is(err, core.ErrGone) {
					return nil
				}
				return err
			})
			if n := len(a.living("ada")); n > 1 || n == 0 && round%2 != 0 {
				c.broken("%d sessions live after logins with MaxSessions 1", n)
			}
			a.agree("after a round")
		}
	},
}}
