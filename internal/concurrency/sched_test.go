package concurrency_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// A stage is where two requests meet: each has a manager of its own on the
// same store, as two instances of a server have, and each call of the store
// waits until its turn comes.
type stage struct {
	t       testing.TB
	store   core.Store // of all of them
	options core.Options
	watcher *core.Manager // goes past the turns
	players [2]*player
	round   int // makes ids differ from run to run
	oldID   core.ID
	oldKey  string // of oldID in the store

	rules rules
	frame frame
	after bool // a late request comes after each run
	most  int  // orders of a cell that has more, without those by chance; zero: all
}

// A frame is what the HTTP library does with one request: it runs the handler
// with a context that has the visit, commits, and returns the Set-Cookie
// lines. It does not run the handler when the session can't be loaded.
type frame func(t testing.TB, m *core.Manager, cookie string, handler func(context.Context)) (set []string)

// bare is the core alone.
func bare(t testing.TB, m *core.Manager, cookie string, handler func(context.Context)) (set []string) {
	jar := &jartest.Jar{Cookies: []string{cookie}}
	v, ok := m.NewVisit(jar, nil)
	if !ok {
		t.Error("NewVisit: not ok")
		return nil
	}
	ctx := context.Background()
	if err := v.Begin(ctx); err != nil {
		v.Abandon()
		return jar.SetCookies
	}
	handler(core.NewContext(ctx, v))
	_ = v.Commit(ctx) // the hook is told
	return jar.SetCookies
}

// A player runs the requests of one side, one in each run.
type player struct {
	stage   *stage
	letter  byte
	base    time.Duration    // the cookie's life in the configuration
	manager [3]*core.Manager // as usual, rolling, deferred
	store   *storetest.Faulty

	free  bool // calls do not wait
	turn  chan struct{}
	event chan bool // the player waits for its turn: true, or has finished

	made       []core.ID
	final      core.ID
	told       string
	committing bool
	sent       []string // Set-Cookie lines
	calls      int
	looks      int                                  // its calls since the last one that could change something
	fault      func(call int) (before, after error) // nil for none
}

func newStage(t testing.TB, store core.Store, options core.Options) *stage {
	options.Keys = [][]byte{firstKey}
	options.OpTimeout = cmp.Or(options.OpTimeout, time.Minute)
	options.FailFast = true // nobody here brings a store back
	s := &stage{t: t, store: store, options: options, frame: bare, rules: rules{policy: options.OnConflict}}
	s.round = rand.IntN(1e9) // servers have the sessions of other stages
	s.watcher = s.newManager(store, func(o *core.Options) {
		o.InsecureIDFrom = func(ctx context.Context, _ core.Jar) core.ID {
			id, _ := ctx.Value(watched{}).(core.ID)
			return id
		}
	})
	for i := range s.players {
		p := &player{stage: s, letter: "AB"[i], base: s.base(), store: storetest.NewFaulty(store), turn: make(chan struct{}), event: make(chan bool)}
		p.store.Before(func(_ context.Context, op storetest.Op, key string) error { return p.wait(op, key) })
		p.store.After(func(context.Context, storetest.Op, string) error { return p.answer() })
		for i := range p.manager {
			p.manager[i] = s.newManager(p.store, func(o *core.Options) {
				if i == 1 {
					if o.TouchEvery = 1; o.ResetUnknown { // KoaCompat
						o.Rolling = true
					} else {
						o.IdleTimeout = core.DefaultMaxAge
					}
				}
				o.Defer = i == 2
				o.NewID = func(context.Context) (string, error) { return string(p.newID()), nil }
				o.Hooks.Error = func(_ context.Context, e *core.Error) error {
					if p.tell(e.Err); p.committing && errors.Is(e, core.ErrGone) {
						return nil // as without a hook: what is gone fails no response
					}
					return e
				}
			})
		}
		s.players[i] = p
	}
	return s
}

func (s *stage) newManager(store core.Store, with func(*core.Options)) *core.Manager {
	o := s.options
	with(&o)
	m, err := core.New(store, &o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { m.Close() })
	return m
}

// wait is before each call of the store.
func (p *player) wait(op storetest.Op, key string) error {
	if p.free {
		if p.letter == 'O' {
			p.stage.oldKey = key
		}
		return nil
	}
	if op == storetest.OpGetVersion {
		p.looks++
	} else {
		p.looks = 0
	}
	p.event <- true
	<-p.turn
	p.calls++
	if p.fault != nil {
		before, _ := p.fault(p.calls)
		return before
	}
	return nil
}

func (p *player) answer() error {
	if p.free || p.fault == nil {
		return nil
	}
	_, after := p.fault(p.calls)
	return after
}

func (p *player) newID() core.ID {
	id := core.ID(fmt.Sprintf("%c%d-%010d-0123456789", p.letter, len(p.made)+1, p.stage.round))
	p.made = append(p.made, id)
	return id
}

func (p *player) tell(err error) {
	if p.told == "" && err != nil {
		p.told = class(err)
	}
}

// class is why something failed, as the machine says it.
func class(err error) string {
	switch {
	case errors.Is(err, core.ErrGone):
		return "gone"
	case errors.Is(err, core.ErrConflict) && !errors.Is(err, core.ErrOutcomeUnknown):
		return "conflict"
	}
	return "error"
}

const (
	x core.Key[int] = "x"
	n core.Key[int] = "n"
)

func adding(k int) func(int) int { return func(n int) int { return n + k } }

// perform is one request.
func (p *player) perform(prog program, cookie string) {
	m := p.manager[0]
	switch {
	case prog.rolling():
		m = p.manager[1]
	case prog.unread():
		m = p.manager[2]
	}
	var session *core.Session
	p.sent = p.stage.frame(p.stage.t, m, cookie, func(ctx context.Context) {
		if !prog.unread() {
			var err error
			if session, err = core.From(ctx); err != nil {
				p.stage.t.Error(err)
				return
			}
		}
		for _, a := range prog.acts {
			p.tell(p.act(ctx, session, a))
			if session == nil {
				session, _ = core.From(ctx)
			}
		}
		p.committing = true
	})
	switch {
	case session != nil:
		p.final = session.ID()
	case slices.Contains(prog.acts, expire): // which needs no session
		p.tell(p.act(context.Background(), nil, expire))
	case slices.Contains(prog.acts, revoke):
		p.tell(p.act(context.Background(), nil, revoke))
	}
}

func (p *player) act(ctx context.Context, s *core.Session, a act) error {
	c := p.letter
	switch a {
	case setSame:
		return x.Set(s, number(c))
	case setOther:
		return s.Set(own(c), number(c))
	case update:
		_, err := n.Update(s, adding(weight(c)))
		return err
	case deleteX:
		return x.Delete(s)
	case destroy:
		return s.Destroy(ctx)
	case regenerate:
		return s.Reset(ctx)
	case renew:
		return s.Renew(ctx)
	case setCookie:
		o := s.Cookie()
		o.MaxAge = p.base + time.Duration(number(c))*time.Hour
		return s.SetCookie(o)
	case replaceAll:
		return s.Replace(instead(c))
	case replaceThen, destroyThen:
		v, err := core.VisitFrom(ctx)
		if err != nil {
			return err
		}
		if a == destroyThen {
			return v.Destroy(ctx)
		}
		return v.Replace(ctx, instead(c))
	case save:
		return s.Save(ctx)
	case login:
		return s.Login(core.LoginOptions{})
	case expire:
		p.wait(storetest.OpDestroy, "")
		// What expires is the session, not what says that its id was given up.
		if data, err := p.stage.store.Get(ctx, p.stage.oldKey); err == nil && bytes.HasPrefix(data, []byte("null")) {
			return nil
		}
		return p.stage.store.Destroy(ctx, p.stage.oldKey)
	case revoke:
		return p.manager[0].DestroyByID(ctx, p.stage.oldID)
	}
	return nil
}

// base is the cookie's life in the configuration.
func (s *stage) base() time.Duration {
	if s.options.Cookie.MaxAge > 0 {
		return s.options.Cookie.MaxAge
	}
	return core.DefaultMaxAge
}

// prepare stores the session that both requests carry.
func (s *stage) prepare() (cookie string) {
	s.round++
	p := s.players[0]
	p.free, p.made, p.letter = true, nil, 'O'
	var b jartest.Browser
	b.Take("/", bare(s.t, p.manager[0], "", func(ctx context.Context) {
		session, err := core.From(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for name, value := range begin() {
			if err := session.Set(name, value); err != nil {
				s.t.Fatal(err)
			}
		}
		s.oldID = session.ID()
	})...)
	p.free, p.letter = false, 'A'
	return b.Cookie("/")
}

// A choice is which of the players that wait goes on.
type choice struct{ took, of int }

// run plays two programs in the order of the choices, and the first player
// first when they are used up. It returns the choices that there were.
func (s *stage) run(programs [2]program, choices []choice) (outcome, []choice) {
	cookie := s.prepare()
	var done [2]bool
	var all sync.WaitGroup
	next := func(i int) { done[i] = !<-s.players[i].event }
	for i, p := range s.players {
		p.made, p.told, p.final, p.committing, p.calls, p.looks, p.sent = nil, "", "", false, 0, 0, nil
		all.Go(func() {
			defer func() { p.event <- false }()
			p.perform(programs[i], cookie)
		})
		next(i)
	}
	var path []choice
	dead := false
	for !done[0] || !done[1] {
		c := choice{0, 1}
		i := 0
		switch {
		case done[0]:
			i = 1
		case !done[1]:
			// Who only looks waits for the other one, which would take for ever.
			if i = slices.IndexFunc(s.players[:], func(p *player) bool { return p.looks < 4 }); i < 0 || s.players[1-i].looks >= 4 {
				c.took = max(i, 0)
				i = c.took
				break
			}
			c.of = 2
			if len(path) < len(choices) {
				c.took = choices[len(path)].took
			}
			i = c.took
		}
		path = append(path, c)
		s.players[i].turn <- struct{}{}
		next(i)
		lives := s.read(s.oldID) != nil
		if dead && lives && !s.rules.plain {
			s.t.Error("the old session came back to life")
		}
		dead = dead || !lives
	}
	all.Wait()

	o := outcome{live: map[string]values{}}
	if v := s.read(s.oldID); v != nil {
		o.live[old] = v
	}
	for i, p := range s.players {
		o.final[i], o.told[i] = p.name(p.final), p.told
		for at, name := range cookieNames {
			o.cookies[i][at] = p.cookie(name + "=")
		}
		for _, id := range p.made {
			if v := s.read(id); v != nil {
				o.live[p.name(id)] = v
			}
		}
	}
	if s.after {
		s.late(cookie, programs, path, o)
	}
	return o, path
}

// late is a request with the old cookie after all others, which sets something.
// If the browser has been given another id, its first cookie must stay as it is, and
// the copy of it, and what the request stores goes into that of late requests; else
// it gets a new session
// (TestItem6NewIDs).
func (s *stage) late(cookie string, programs [2]program, path []choice, o outcome) {
	p := s.players[0]
	p.free, p.letter, p.told = true, 'L', ""
	defer func() { p.free, p.letter = false, 'A' }()
	isNew := false
	set := bare(s.t, p.manager[0], cookie, func(ctx context.Context) {
		session, err := core.From(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		if isNew = session.IsNew(); isNew {
			_ = x.Set(session, 9)
		}
	})
	// What stands under the old id says whether it was given up for another one.
	data, _ := s.store.Get(context.Background(), s.oldKey)
	gaveUp := bytes.HasPrefix(data, []byte("null")) && bytes.Count(data, []byte("\n")) > 1
	_, lives := o.live[old]
	switch where := fmt.Sprintf("%s | %s in the order %s: %s", programs[0].name, programs[1].name, orderOf(path), o); {
	case isNew == lives:
		s.t.Errorf("%s: a late request has a new session: %v", where, isNew)
	case isNew && gaveUp && (len(set) == 0 || !strings.HasPrefix(set[0], "koa.sid.late=")):
		s.t.Errorf("%s: a late request replaces the cookie, or has no session: %s", where, p.told)
	case isNew && !gaveUp && (len(set) == 0 || !strings.HasPrefix(set[0], "koa.sid=")):
		s.t.Errorf("%s: a late request can begin no session: %s", where, p.told)
	}
}

// orders plays two programs in every order of their calls of the store, or in
// stage.most of them and as many by chance.
func (s *stage) orders(programs [2]program, each func(o outcome, path []choice)) (runs int) {
	var path []choice
	for {
		var o outcome
		o, path = s.run(programs, path)
		runs++
		each(o, path)
		if s.most > 0 && runs >= s.most {
			if runs == 2*s.most {
				return runs
			}
			path = make([]choice, 100)
			for i := range path {
				path[i].took = rand.IntN(2)
			}
			continue
		}
		last := len(path) - 1
		for last >= 0 && path[last].took+1 >= path[last].of {
			last--
		}
		if last < 0 {
			return runs
		}
		path = path[:last+1]
		path[last].took++
	}
}

// watched is the context key of the id that the watcher looks at.
type watched struct{}

// read returns the values of a session, its cookie options among them; nil if
// it is dead.
func (s *stage) read(id core.ID) values {
	ctx := context.WithValue(context.Background(), watched{}, id)
	v, _ := s.watcher.NewVisit(&jartest.Jar{}, nil)
	session, err := v.Session(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	defer v.Abandon()
	if session.IsNew() {
		return nil
	}
	return see(s.t, session, s.base())
}

// see is what a session has.
func see(t interface{ Fatalf(string, ...any) }, session *core.Session, base time.Duration) values {
	data, err := session.JSON()
	if err != nil {
		t.Fatalf("%v", err)
	}
	now := parse(t, data)
	if more := session.Cookie().MaxAge - base; more > 0 {
		now["cookie"] = int(more / time.Hour)
	}
	return now
}

// name is the id without what differs from run to run.
func (p *player) name(id core.ID) string {
	if id == p.stage.oldID {
		return old
	}
	name, _, _ := strings.Cut(string(id), "-")
	return name
}

// cookie is what the response does to the browser's cookie of that name.
func (p *player) cookie(name string) string {
	var lines []string
	for _, l := range p.sent {
		if strings.HasPrefix(l, name) {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	if len(lines) > 1 {
		p.stage.t.Errorf("%d Set-Cookie lines", len(lines))
	}
	value, _, _ := strings.Cut(strings.TrimPrefix(lines[0], name), ";")
	if value == "" {
		return "-"
	}
	return p.name(core.ID(value))
}
