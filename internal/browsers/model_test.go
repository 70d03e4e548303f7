package browsers_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// Random schedules of three browsers. The second one, eve, holds copies of the
// anonymous cookies of the first, and plants hers there; the third one has
// nothing to do with them. Requests of one browser overlap and run up to five
// minutes, every call of the store takes a while, and answers come in any order,
// or never. All of it is in the time of a bubble.
//
// What must hold, with the letters that the messages begin with:
//
//	a  who has got the answer of a login is logged in, whatever other answers
//	   come later
//	b  at the end, and after a login whose answer is lost, the next form and login
//	   work at once
//	c  a login is never an error
//	d  after a logout the session that it ended, and its successors of the last
//	   minute, are opened by nothing
//	e  an id that was given up opens no session
//	f  nobody sees values of somebody else
//	g  nobody is logged in by the login of somebody else
//	h  what a login loaded is in its session only if that has taken the old one's
//	   place; the values of a session are in one living session at most
//
// What can't be prevented, and is no fault here (docs/concurrency.md): the answer of a
// request that has changed the id before the login; of one that carried no id that
// was alive, or given up within the last minute, when it was loaded; and of one of
// another living session, as two first requests beside each other make them.
//
// On a store of three methods b (when nothing else is under way), c, f and g hold:
// the last write wins there, also over a tombstone. With RenewAfter a session has two
// ids at times, of which the model knows nothing: there a, b, c, f and g are looked at,
// with requests that take no longer than RenewGrace.

func TestSchedules(t *testing.T) {
	t.Parallel()
	for _, kind := range stores {
		t.Run(kind.name, func(t *testing.T) {
			seeded(t, len(stores), 1500, 200, 340_000, func(seed uint64) (problems, log []string) { // a million in all
				return schedule(t, kind.name, seed, faults{})
			})
		})
	}
}

// faults are planted.
type faults struct {
	store     func(core.Store) core.Store                     // wraps it
	renews    bool                                            // the login uses Renew
	keepsID   bool                                            // the login does without
	ages      bool                                            // RenewAfter in every schedule
	looksLate bool                                            // whether a request is late is decided when it saves
	lines     func() func(name, line string) (string, string) // makes what changes the Set-Cookie lines of a request
}

type kind string

const (
	form       kind = "form"
	signIn     kind = "login"
	signInBare kind = "login without token"
	page       kind = "page"
	change     kind = "change"
	signOut    kind = "logout"
	role       kind = "role"
)

// A client is a browser and what the model knows of it.
type client struct {
	jartest.Browser
	name, group string
	token       string // of the form that it shows
	ids         map[core.ID]bool
	changing    int // requests that change the id, from then until their answer has come or is lost
	loggedIn    bool
	id          core.ID   // that of the login whose answer came last
	changed     time.Time // when the change of id was saved whose answer came last
}

// An edge is an id given up for another one.
type edge struct {
	to core.ID
	at time.Time
}

type sim struct {
	r        *rand.Rand
	rmu      sync.Mutex
	faults   faults
	weak     bool
	deferred bool // Options.Defer
	ages     bool // Options.RenewAfter
	quiet    bool // at the end, when all other requests are over
	manager  *core.Manager
	watcher  *core.Manager // of the store without latency
	start    time.Time
	clients  [3]*client
	requests sync.WaitGroup

	mu       sync.Mutex // guards the rest, and the clients; never held while time passes
	n        int
	others   int // steps of requests beside formAndLogin
	busy     int // of those that use the store just now
	ids      map[core.ID]bool
	edges    map[core.ID][]edge
	kin      map[core.ID][]core.ID // to the id that a request with this one left
	dead     map[core.ID]string    // why
	users    map[core.ID]bool      // whose session had a user
	ended    map[string]bool       // births of sessions that were ended
	logout   map[string]time.Time
	leaving  map[string]int // logouts that run just now
	problems []string
	log      []string
}

// names of the values beside user and token.
const (
	born core.Key[string]   = "born"
	mark core.Key[string]   = "mark"
	cart core.Key[[]string] = "cart"
)

func schedule(t *testing.T, kind string, seed uint64, f faults) (problems, log []string) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{
			r: rand.New(rand.NewPCG(seed, 1)), faults: f, weak: kind == "plain", start: time.Now(),
			ids: map[core.ID]bool{}, edges: map[core.ID][]edge{}, kin: map[core.ID][]core.ID{}, dead: map[core.ID]string{}, users: map[core.ID]bool{}, ended: map[string]bool{}, logout: map[string]time.Time{}, leaving: map[string]int{},
		}
		memory := newMemory(t)
		store := memory
		switch kind {
		case "stepwise":
			store = stepwise(store)
		case "plain":
			store = plain{store}
		}
		if f.store != nil {
			store = f.store(store)
		}
		slow := storetest.NewFaulty(store)
		wait := func(context.Context, storetest.Op, string) error { s.sleep(2 * time.Millisecond); return nil }
		slow.Before(wait)
		slow.After(wait)
		var o core.Options
		if s.chance(5) {
			o.IdleTimeout, o.TouchEvery = core.DefaultMaxAge, 1
		}
		s.deferred = s.chance(4)
		if ages := s.chance(4) || f.ages; ages && !s.weak {
			s.ages, o.RenewAfter, o.RenewGrace = true, 2*time.Minute, renewGrace
		}
		s.watcher = newManager(t, memory, o)
		o.Defer = s.deferred
		s.manager = newManager(t, slow, o)
		for i, name := range []string{"ada", "eve", "bob"} {
			s.clients[i] = &client{name: name, group: map[bool]string{true: "bob", false: "ada"}[name == "bob"], ids: map[core.ID]bool{}}
		}
		s.run()
		s.requests.Wait()
		s.check("at the end")
		problems, log = s.problems, s.log
	})
	return problems, log
}

func (s *sim) intn(n int64) int64 {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	return s.r.Int64N(n)
}
func (s *sim) chance(in int64) bool               { return s.intn(in) == 0 }
func (s *sim) upTo(d time.Duration) time.Duration { return time.Duration(s.intn(int64(d))) }
func (s *sim) sleep(d time.Duration)              { time.Sleep(s.upTo(d)) }

const renewGrace = 30 * time.Second

// some is a time that is mostly short.
func (s *sim) some() time.Duration {
	d := s.upTo([]time.Duration{time.Millisecond, time.Millisecond, 20 * time.Millisecond, time.Second, 5 * time.Second, 90 * time.Second, 5 * time.Minute}[s.intn(7)])
	if s.ages { // three of them make a request
		d = min(d, renewGrace/4)
	}
	return d
}

func (s *sim) run() {
	s.do(s.clients[0], form, 0, 0, 0, false)
	s.plant()
	kinds := []kind{form, form, signIn, signIn, signInBare, page, change, change, signOut, role}
	who := []int{0, 0, 0, 1, 2}
	if s.chance(2) { // no logout hides what becomes of a login
		kinds, who = []kind{form, form, page, change, change, signIn}, []int{0, 0, 0, 0, 1}
	}
	for range 4 + s.intn(12) {
		c := s.clients[who[s.intn(int64(len(who)))]]
		k := kinds[s.intn(int64(len(kinds)))]
		s.requests.Go(func() { s.do(c, k, s.some(), s.some(), s.some(), s.chance(6)) })
		s.sleep([]time.Duration{time.Microsecond, 5 * time.Millisecond, time.Second, 5 * time.Second, time.Minute}[s.intn(5)])
		if s.chance(6) {
			s.plant()
		}
		if s.chance(8) {
			s.formAndLogin(s.clients[0])
		}
	}
	if s.chance(3) || s.weak {
		s.requests.Wait()
		s.quiet = true
	}
	for _, c := range s.clients {
		s.formAndLogin(c)
	}
}

// formAndLogin is b.
func (s *sim) formAndLogin(c *client) {
	if s.chance(3) {
		s.do(c, signInBare, 0, 0, 0, true)
		time.Sleep([]time.Duration{0, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second, 70 * time.Second}[s.intn(5)])
	}
	s.mu.Lock()
	others, busy := s.others, s.busy
	s.mu.Unlock()
	s.do(c, form, 0, 0, 0, false)
	s.do(c, signIn, 0, 0, 0, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.who(c); busy == 0 && (!s.weak || s.quiet) && s.others == others && got != c.name { // nothing else happened meanwhile
		s.problem("b: %s is %q after form and login", c.name, got)
	}
}

// plant copies cookies between ada and eve, if they are anonymous.
func (s *sim) plant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.clients[0], s.clients[1]
	if s.intn(2) == 0 {
		from, to = to, from
	}
	if s.who(from) != "" || to.loggedIn || to.changing > 0 || slices.ContainsFunc(cookieNames, func(name string) bool {
		v, _ := from.Value("/", name)
		return s.users[core.ID(v)]
	}) {
		return
	}
	only := cookieNames[s.intn(3)] // the first stands for all
	for pair := range strings.SplitSeq(from.Cookie("/"), "; ") {
		if strings.HasPrefix(pair, only) {
			to.Take("/", pair+"; path=/")
		}
	}
	for _, name := range cookieNames {
		if v, ok := to.Value("/", name); ok {
			to.ids[core.ID(v)] = true
		}
	}
	s.logf("%s plants %s in %s", from.name, only, to.name)
}

// do is one request of c, which runs as long as network and running say; its answer
// takes delay, or is lost.
func (s *sim) do(c *client, k kind, network, running, delay time.Duration, lost bool) {
	s.mu.Lock()
	s.n++
	n := s.n
	jar := c.Jar("/")
	tok := c.token
	var carried []core.ID // in the order in which they count
	for _, name := range cookieNames {
		if v, ok := c.Value("/", name); ok && !slices.Contains(carried, core.ID(v)) {
			carried = append(carried, core.ID(v))
		}
	}
	main, _ := c.Value("/", "koa.sid")
	s.logf("%d %s: %s with %s", n, c.name, k, c.Cookie("/"))
	s.mu.Unlock()
	step := func(busy int) {
		if network+running+delay > 0 {
			s.mu.Lock()
			s.others++
			s.busy += busy
			s.mu.Unlock()
		}
	}
	time.Sleep(network)

	step(1)
	s.mu.Lock()
	const window = 59 * time.Second
	known := s.recent(core.ID(main), window)
	knows := known       // that the request is late
	var gaveUp []core.ID // of its ids
	for _, id := range carried {
		if gone := s.edges[id]; len(gone) > 0 && time.Since(gone[len(gone)-1].at) < window {
			gaveUp = append(gaveUp, id)
		}
	}
	s.mu.Unlock()
	if s.faults.looksLate {
		time.Sleep(running / 2)
	}
	seen := core.Jar(jar)
	if s.faults.lines != nil {
		seen = lineJar{jar, s.faults.lines()}
	}
	x := beginWith(s.manager, jar, seen)
	if x.err != nil {
		s.mu.Lock()
		s.problem("%d: Begin: %v", n, x.err)
		s.mu.Unlock()
		return
	}
	if s.deferred && !s.faults.looksLate {
		time.Sleep(running / 2)
	}
	session, err := x.visit.Session(x.ctx)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	s.sees(n, c, session)
	was, stored, birth, hasToken := session.ID(), !session.IsNew(), born.Get(session), token.Get(session)
	knows = knows && (stored || len(s.edges[core.ID(main)]) > 0) // not ended just now, which leaves nothing
	s.mu.Unlock()
	step(-1)
	time.Sleep(running / 2)
	step(1)

	changes := k == signIn && tok != "" && tok == hasToken || k == signInBare || k == signOut || k == role
	began := time.Now()
	if changes {
		s.mu.Lock()
		c.changing++
		s.mu.Unlock()
	}
	moved := false // to another id
	switch {
	case k == form:
		if hasToken == "" {
			must2(token.Set(session, fmt.Sprint(c.group, n)), s.bear(session, n))
		}
		hasToken = token.Get(session)
	case (k == signIn || k == signInBare) && changes:
		switch {
		case s.faults.keepsID:
		case s.faults.renews:
			err = session.Renew(bg)
		default:
			err = session.Login(core.LoginOptions{})
		}
		if moved = true; err == nil {
			err = user.Set(session, c.name)
		}
		if err == nil {
			_, err = cart.Update(session, func(l []string) []string { return l })
		}
	case k == change:
		must2(mark.Set(session, c.group), s.bear(session, n))
		_, err = cart.Update(session, func(l []string) []string { return append(l, c.group) })
	case k == signOut:
		s.mu.Lock()
		found := stored && s.recent(was, 59*time.Second)
		finds := stored && s.finds(was, birth)
		s.leave(c.group)
		s.leaving[c.group]++
		s.mu.Unlock()
		err = session.Destroy(bg)
		s.mu.Lock()
		s.leaving[c.group]--
		if err != nil {
			s.problem("%d: Destroy: %v", n, err)
		}
		s.leave(c.group)
		targets := slices.DeleteFunc(slices.Clone(carried), func(id core.ID) bool { return id == core.ID(main) && !known }) // there was nothing to end when it began
		if found {
			targets = append(targets, was)
		}
		if finds {
			s.ended[birth] = true
		}
		s.end(n, began, targets...)
		s.mu.Unlock()
	case k == role:
		err = session.Renew(bg)
		moved = err == nil && stored
		if errors.Is(err, core.ErrGone) {
			err = nil
		}
	}
	renewed := time.Now()
	step(-1)
	time.Sleep(running - running/2)
	step(1)
	saving := time.Now()
	if k == role {
		saving = began
	}
	x.commit()
	saved := time.Now()

	s.mu.Lock()
	s.logf("%d %s: %s: %.4s to %.4s, %s, %v %v", n, c.name, k, was, session.ID(), x.cookies(), err, x.err)
	switch err = errors.Join(err, x.err); {
	case (k == signIn || k == signInBare) && err != nil:
		s.problem("c: %d: %v", n, err)
	case err != nil && k == role && errors.Is(err, core.ErrGone), errors.Is(err, core.ErrConflict) && k == change:
	case err != nil:
		s.problem("%d: %s: %v", n, k, err)
	}
	s.ids[session.ID()] = true
	for _, id := range append(slices.Clone(carried), was) {
		if id != "" && id != session.ID() && (k != role || id == was) { // a Renew ends nothing beside its own session
			s.kin[id] = append(s.kin[id], session.ID())
		}
	}
	if id := session.ID(); moved && err == nil {
		at := saved // a login is noted under all ids of its request that are dead, whatever became of them meanwhile
		if k == role {
			at, gaveUp = renewed, nil
		}
		if i := slices.Index(carried, was); stored && i >= 0 { // those behind it are not looked at
			gaveUp = slices.DeleteFunc(gaveUp, func(id core.ID) bool { return slices.Index(carried, id) >= i })
		}
		if stored {
			gaveUp = append(gaveUp, was)
			s.dead[was] = fmt.Sprintf("e: given up by %d", n)
		}
		for _, old := range gaveUp {
			s.edges[old] = append(s.edges[old], edge{id, at})
		}
		if k != role && !s.weak {
			s.loginHas(n, c, id, stored, birth)
		}
	}
	s.check(fmt.Sprintf("after %d", n))
	s.mu.Unlock()
	step(-1)
	time.Sleep(delay)

	step(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if changes {
		c.changing--
	}
	if lost {
		s.logf("%d: its answer is lost", n)
		if moved || k == signOut {
			c.loggedIn = false
		}
		return
	}
	s.logf("%d: its answer comes", n)
	if k == form {
		c.token = hasToken
	}
	x.to(&c.Browser)
	sends := false
	for _, line := range x.jar.SetCookies {
		name, rest, _ := strings.Cut(line, "=")
		id, _, _ := strings.Cut(rest, ";")
		if slices.Contains(cookieNames, name) {
			c.ids[core.ID(id)], s.ids[core.ID(id)] = true, true
			sends = true
		}
	}
	excused := !(stored || knows) || moved && !saving.After(c.changed)
	if moved && err == nil {
		c.changed = latest(c.changed, saved)
		if k != role && s.leaving[c.group] == 0 && began.After(s.logout[c.group]) {
			c.loggedIn, c.id = true, session.ID()
		}
	}
	from := core.ID(main)
	if stored {
		from = was
	}
	excused = excused || k == signOut || !s.leads(from, c.id)
	if excused && sends && (s.who(c) != c.name || c.changing > 0) {
		c.loggedIn = false
	}
	if got := s.who(c); c.loggedIn && c.changing == 0 && got != c.name {
		if !s.weak {
			s.problem("a: the answer of %d has logged %s out: %q", n, c.name, got)
		}
		c.loggedIn = false
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// bear gives a session a birth, by which its values are known wherever they go.
func (s *sim) bear(session *core.Session, n int) error {
	if born.Get(session) != "" {
		return nil
	}
	_, err := born.Update(session, func(b string) string { return cmp.Or(b, fmt.Sprint("birth", n)) })
	return err
}

// leave notes that somebody of a group logs out just now. mu is held.
func (s *sim) leave(group string) {
	s.logout[group] = time.Now()
	for _, c := range s.clients {
		c.loggedIn = c.loggedIn && c.group != group
	}
}

// recent reports whether id is alive or was given up within that time. mu is held.
func (s *sim) recent(id core.ID, window time.Duration) bool {
	if id == "" {
		return false
	}
	for _, e := range s.edges[id] {
		if time.Since(e.at) < window {
			return true
		}
	}
	_, ok := s.values(id)
	return ok
}

// leads reports whether requests with the id from have led to the id to. mu is held.
func (s *sim) leads(from, to core.ID) bool {
	seen := map[core.ID]bool{}
	for todo := []core.ID{from}; len(todo) > 0; todo = todo[1:] {
		if todo[0] == to {
			return true
		}
		if !seen[todo[0]] {
			seen[todo[0]] = true
			todo = append(todo, s.kin[todo[0]]...)
		}
	}
	return false
}

// finds reports whether a logout with id finds the session with that birth. mu is
// held.
func (s *sim) finds(id core.ID, birth string) bool {
	for ids := []core.ID{id}; len(ids) > 0; ids = ids[1:] {
		if values, ok := s.values(ids[0]); ok && birth != "" && values["born"] == birth {
			return true
		}
		for _, e := range s.edges[ids[0]] {
			if time.Since(e.at) < 59*time.Second {
				ids = append(ids, e.to)
			}
		}
	}
	return false
}

// end notes what a logout ends that began then.
func (s *sim) end(n int, began time.Time, ids ...core.ID) {
	for i := 0; i < len(ids); i++ {
		id := ids[i]
		if id == "" || strings.HasPrefix(s.dead[id], "d") {
			continue
		}
		s.dead[id] = fmt.Sprintf("d: ended by %d", n)
		for _, e := range s.edges[id] {
			if e.at.Before(began) && time.Since(e.at) < 59*time.Second {
				ids = append(ids, e.to)
			}
		}
	}
}

// sees checks what a request is shown. mu is held.
func (s *sim) sees(n int, c *client, session *core.Session) {
	if u := user.Get(session); u != "" && u != c.name {
		s.problem("g: %d: %s is %q", n, c.name, u)
	}
	values := append(slices.Clone(cart.Get(session)), mark.Get(session), strings.TrimRight(token.Get(session), "0123456789"))
	for _, v := range values {
		if v != "" && v != c.group {
			s.problem("f: %d: %s sees %q", n, c.name, v)
		}
	}
}

// loginHas checks the values of a session that a login has made. mu is held.
func (s *sim) loginHas(n int, c *client, id core.ID, stored bool, birth string) {
	values, ok := s.values(id)
	if !ok || stored && birth != "" && values["born"] == birth {
		return
	}
	for name, v := range values {
		if name != "user" && fmt.Sprint(v) != "<nil>" && stored && birth != "" {
			s.problem("h: %d: a login of its own has %s: %v", n, name, v)
		}
	}
}

func (s *sim) values(id core.ID) (v map[string]any, ok bool) {
	raw, err := s.watcher.GetByID(bg, id)
	if err != nil {
		return nil, false
	}
	_ = json.Unmarshal(raw, &v)
	return v, true
}

// check looks at all sessions. mu is held, or nothing runs.
func (s *sim) check(when string) {
	births := map[any]core.ID{}
	for id := range s.ids {
		values, ok := s.values(id)
		if !ok {
			continue
		}
		s.users[id] = s.users[id] || values["user"] != nil
		for _, c := range s.clients {
			if u := values["user"]; c.ids[id] && u != nil && u != c.name {
				s.problem("g: %s: a cookie that %s had opens a session of %v", when, c.name, u)
			}
		}
		if s.weak {
			continue
		}
		if why := s.dead[id]; why != "" {
			s.problem("%s, and lives %s: %v", why, when, id)
		}
		b, _ := values["born"].(string)
		if b == "" {
			continue
		}
		if s.ended[b] {
			s.problem("d: the values of %s were ended, and live %s: %.4s", b, when, string(id))
		}
		if births[b] != "" {
			s.problem("h: two sessions have the values of %s %s", b, when)
		}
		births[b] = id
	}
}

// who is logged in at c. mu is held.
func (s *sim) who(c *client) (name string) {
	v, _ := s.watcher.NewVisit(c.Jar("/"), nil)
	if err := v.Begin(core.NewContext(bg, v)); err != nil {
		s.problem("%v", err)
		return ""
	}
	session, err := v.Session(bg)
	if err != nil {
		s.problem("%v", err)
		return ""
	}
	v.Abandon()
	return user.Get(session)
}

func (s *sim) problem(format string, a ...any) {
	if text := fmt.Sprintf(format, a...); s.ages && strings.IndexByte("deh", text[0]) >= 0 && text[1] == ':' {
		return
	}
	if len(s.problems) < 5 {
		s.problems = append(s.problems, fmt.Sprintf(format, a...))
	}
	s.logf("PROBLEM "+format, a...)
}

func (s *sim) logf(format string, a ...any) {
	s.log = append(s.log, fmt.Sprintf("%9.3f ", time.Since(s.start).Seconds())+fmt.Sprintf(format, a...))
}

func must2(errs ...error) {
	if err := errors.Join(errs...); err != nil {
		panic(err)
	}
}
