package concurrency_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
)

// What must come out when requests meet, as a machine without a store, without
// versions and without retries: loading is one step, and so is every save and
// every end of an id. Whatever the store calls of two requests are doing in
// between, the outcome must be that of some order of these steps.

// An act is what a handler does.
type act uint8

const (
	setSame  act = iota // x, which every request sets
	setOther            // a value that only this request sets
	update              // n, by adding
	deleteX
	destroy
	regenerate
	renew
	replaceAll
	touch  // a rolling request that only reads
	expire // the store drops the old session
	revoke // ByID ends it
	save
	login       // at the next save
	setCookie   // choose cookie options, which is the value of that name here
	replaceThen // replace all without loading, in deferred mode
	destroyThen // destroy without loading
	acts
)

var actNames = [acts]string{"set same", "set other", "update", "delete", "destroy", "regenerate", "renew", "replace all", "touch", "expire", "revoke", "save", "login", "set cookie", "replace unread", "destroy unread"}

func (a act) String() string { return actNames[a] }

// A program is what one request does between Begin and Commit.
type program struct {
	name string
	acts []act
}

// unread reports whether the request does not load the session.
func (p program) unread() bool {
	return len(p.acts) > 0 && (p.acts[0] == replaceThen || p.acts[0] == destroyThen)
}

// rolling reports whether the request renews what it only reads.
func (p program) rolling() bool { return slices.Contains(p.acts, touch) }

// values are those of a session; all of our tests are numbers.
type values map[string]int

func (v values) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(v)) {
		fmt.Fprintf(&b, " %s=%d", name, v[name])
	}
	return "{" + strings.TrimPrefix(b.String(), " ") + "}"
}

// begin is what is stored before the two requests come.
func begin() values { return values{"x": 0, "n": 100} }

// What a client with that letter sets, adds and replaces everything by.
func own(c byte) string     { return strings.ToLower(string(c)) }
func number(c byte) int     { return int(c-'A') + 1 }
func weight(c byte) int     { return []int{1, 10}[c-'A'] }
func instead(c byte) values { return values{"r": number(c)} }

// old is the id that every request carries.
const old = "old"

// rules are what differs between configurations.
type rules struct {
	policy core.ConflictPolicy
	plain  bool // the store has three methods only: the last write wins, whatever was there
	// oneStep: the store can change several keys at once, and the core looks what
	// became of a step that had no answer. removes: it can remove a key by its
	// version. untold: it does not tell the version of a write.
	oneStep, removes, untold bool
	koa                      bool // core.KoaCompat
}

// A spec is the machine: the sessions that live, by id.
type spec struct {
	began time.Time // the step: a call that waits for a store which is down looked at the time before
	rules
	live map[string]values

	ttl, absolute time.Duration // zero: there is no time
	lives         map[string]life

	marks    map[string]*mark // of ids given up for others
	versions map[string]int   // counts the writes of an id
}

func newSpec(r rules) *spec {
	return &spec{rules: r, live: map[string]values{}, lives: map[string]life{}, marks: map[string]*mark{}, versions: map[string]int{}}
}

// A mark says for a minute which ids came after one.
type mark struct {
	heirs []string
	at    time.Time
}

// lasts is how long a mark stays, and window how long a request with its id can't
// renew.
const (
	lasts  = time.Minute
	window = 3 * time.Second
)

// mark notes that the browser gets the heir in place of this id.
func (s *spec) mark(id, heir string) {
	if s.koa {
		return // it makes no marks
	}
	m := s.marks[id]
	if m == nil || time.Since(m.at) >= lasts {
		m = &mark{}
		s.marks[id] = m
	}
	m.heirs, m.at = append(m.heirs, heir), time.Now()
}

// marked reports whether id was given up lately.
func (s *spec) marked(id string) bool {
	m := s.marks[id]
	return m != nil && time.Since(m.at) < lasts
}

// heirs are the ids that the browser has got in place of this one.
func (s *spec) heirs(id string) []string {
	if s.marked(id) {
		return s.marks[id].heirs
	}
	return nil
}

// A life says when a session began and when it ends if nobody comes.
type life struct{ created, ends time.Time }

// sweep drops the sessions whose time is over.
func (s *spec) sweep() {
	for id, l := range s.lives {
		if s.ttl > 0 && !time.Now().Before(l.ends) {
			delete(s.live, id)
		}
	}
}

// renewed begins the time of a session anew.
func (s *spec) renewed(id string, created time.Time) {
	if s.ttl > 0 {
		s.versions[id]++
		left := s.absolute - time.Since(created)
		if _, own := s.live[id]["cookie"]; !own { // it has chosen no longer life of its own
			left = min(left, s.ttl)
		}
		s.lives[id] = life{created, time.Now().Add(left)}
	}
}

// A specClient is one request in it.
type specClient struct {
	down    bool // the store is, and will be for this step
	letter  byte
	rolling bool
	id      string // the session's, "" if it is new and has none
	state   int
	base    values
	edits   map[string]specEdit
	past    map[string]specEdit // what of the edits has been saved
	cleared bool
	clears  int // counts the replacements
	made    int
	next    func() string // makes an id; nil: the letter and made
	created time.Time
	reissue bool // the id came in an old form

	fault int  // which of its calls to the machine fails: 1 the first, 0 none
	calls int  // so far
	late  bool // the one that fails is done all the same
	mute  bool // it fails without a word about whether it was done
	// The ids that the request carries in vain and that were given up, for which
	// ids, and whether that is not long ago. What it stores goes into the cookie of
	// late requests then.
	gave, heirs []string
	recent      bool
	came        cookies  // what the browser sent, and
	carries     cookies  // what of it has a signature that counts
	place       int      // of its session
	untrusted   bool     // it is one of several ids that the request carries
	spare       bool     // its id has changed, so that a copy is sent
	successor   bool     // an id was given up for its own, which is not stored yet
	unended     []string // what a Destroy could not end
	wrote       bool     // so that it does not know the version of its session
	known       string   // what a Destroy ends without looking at it before
	version     int      // of its session, as it knows it
	login       bool     // the next save is to be a login
	doubt       *doubt
	unread      bool // it has not loaded the session

	// closed are the Renews and Resets that failed and have not been made good:
	// while there is one, nothing is saved (W1).
	closed []refusal

	told  string      // "" or why something failed
	sets  [places]int // how often it set each cookie
	sends cookies     // what the response does to them: nothing, "-" or an id
}

// cookies are what there is in the three that a browser can have an id in.
type cookies [places]string

const (
	atName = iota
	atNext // a copy of a new id
	atLate // what late requests store
	places
)

var cookieNames = cookies{"koa.sid", "koa.sid.next", "koa.sid.late"}

const (
	specNew = iota
	specLive
	specEnded
	specAbandoned // without a session the handler does not run
)

// A specEdit is an assignment, of nothing if absent, or an addition.
type specEdit struct {
	assigned, absent bool
	value, add       int
	assigns          int // counts the assignments
}

// A refusal is an act that failed, and why.
type refusal struct {
	act act
	why string
}

// fails counts a call, and reports whether it fails, and if so, whether it is
// done all the same.
func (c *specClient) fails() (failed, done bool) {
	c.calls++
	if failed = c.calls == c.fault; failed {
		c.fail("error")
	}
	return failed, !failed || c.late
}

// load is the beginning of a request with these cookies.
func (c *specClient) load(s *spec, has cookies) {
	c.edits, c.past = map[string]specEdit{}, map[string]specEdit{}
	c.carries = has
	id := has[atName]
	if c.unread {
		c.id, c.state = id, specLive
		return
	}
	if failed, _ := c.fails(); failed {
		c.state = specAbandoned
		return
	}
	if v, ok := s.live[id]; ok {
		c.id, c.state, c.base, c.created, c.version = id, specLive, maps.Clone(v), s.lives[id].created, s.versions[id]
		return
	}
	c.unloaded()
	dead := false
	for at, id := range has {
		if id == "" || at != atName && id == has[atName] {
			continue
		}
		v, lives := s.live[id]
		if !lives {
			dead = true
			was := *c
			c.unknown(s, id)
			if s.marked(id) { // behind those before it
				c.gave, c.heirs = append(was.gave[:len(was.gave):len(was.gave)], id), slices.Concat(was.heirs, s.heirs(id))
			}
			continue
		}
		c.id, c.state, c.base, c.created, c.version = id, specLive, maps.Clone(v), s.lives[id].created, s.versions[id]
		heir := slices.Contains(c.heirs, id)
		c.untrusted = dead && !heir
		if c.place = at; at == atNext && (heir || len(c.gave) == 0) {
			c.place, c.reissue = atName, true
		}
		return
	}
	if s.koa {
		c.send("-") // K17
	}
}

// unknown is what a request learns of an id that leads nowhere.
func (c *specClient) unknown(s *spec, id string) {
	if s.marked(id) {
		c.gave = slices.Concat([]string{id}, c.gave)
		c.heirs = slices.Concat(s.heirs(id), c.heirs)
		c.recent = c.recent || time.Since(s.marks[id].at) < window
	}
	if c.place = atName; len(c.gave) > 0 {
		c.place = atLate
	}
}

// find is when a request that has not loaded the session looks for it after
// all, in its save: an id that is unknown by then is not adopted (K48).
func (c *specClient) find(s *spec) {
	if _, lives := s.live[c.id]; c.state == specLive && !lives {
		id := c.id
		c.id, c.state = "", specNew
		c.unknown(s, id)
	}
}

// A doubt is a save that had no answer.
type doubt struct {
	id      string
	version int // before
	wrote   values
	edits   map[string]specEdit // that it wrote
	clears  int
}

// settle finds out what became of it.
func (c *specClient) settle(s *spec) (goOn bool) {
	d := c.doubt
	if d == nil {
		return true
	}
	if !c.late { // a read has no answer to lose
		if failed, _ := c.fails(); failed {
			return false
		}
	}
	now, lives := s.live[c.id]
	switch {
	case !lives && c.state == specNew:
	case !lives:
		c.gone(s)
		return false
	case maps.Equal(now, d.wrote):
		c.state, c.base = specLive, maps.Clone(now)
		c.since(d)
		c.reissue, c.doubt, c.wrote, c.version = true, nil, false, s.versions[c.id] // it has sent no cookie
	case c.state == specNew || s.versions[c.id] != d.version:
		c.fail("error")
		return false
	} // else it may still come
	return true
}

// since leaves only what was changed after what d wrote.
func (c *specClient) since(d *doubt) {
	if c.clears != d.clears {
		return // all of it
	}
	c.cleared = false
	c.past = after(c.past, d.edits)
	delete(c.past, "cookie")
	for name, e := range c.edits {
		was, had := d.edits[name]
		switch {
		case !had || e.assigns != was.assigns:
		case e == was:
			delete(c.edits, name)
		default: // it was added to
			c.edits[name] = specEdit{add: e.add - was.add + e.value - was.value, assigns: e.assigns}
		}
	}
}

// unloaded makes it a new session.
func (c *specClient) unloaded() {
	c.id, c.state, c.base, c.edits, c.past, c.cleared = "", specNew, nil, map[string]specEdit{}, map[string]specEdit{}, false
	c.created, c.reissue, c.untrusted, c.doubt, c.unread = time.Now().Truncate(time.Millisecond), false, false, nil, false
	c.gave, c.heirs, c.place, c.recent, c.successor, c.unended, c.login, c.spare = nil, nil, atName, false, false, nil, false, false
}

// send sets the cookie, or removes all with "-".
func (c *specClient) send(id string) {
	if id == "-" {
		for at, has := range c.came {
			if at == atName || has != "" {
				c.set(at, "-")
			}
		}
		return
	}
	c.reissue = false
	if c.place == atNext && id == c.carries[atNext] {
		return // nothing but a new id is sent there
	}
	c.set(c.place, id)
	if c.spare && c.place == atName {
		c.set(atNext, id)
	}
	if c.spare && c.place == atName && c.came[atLate] != "" {
		c.set(atLate, "-")
	}
}

func (c *specClient) set(at int, id string) {
	c.sends[at] = id
	c.sets[at]++
}

// beside are the ids that it carries in the cookies from there on.
func (c *specClient) beside(from int) (ids []string) {
	for at := from; at < places; at++ {
		if id := c.carries[at]; id != "" && id != c.id && id != c.carries[atName] {
			ids = append(ids, id)
		}
	}
	return ids
}

func (c *specClient) assign(name string, e specEdit) {
	e.assigns = c.edits[name].assigns + 1
	c.edits[name] = e
}

func (c *specClient) fail(why string) {
	if c.told == "" {
		c.told = why
	}
}

// do is one act, and what it closes or makes good.
func (c *specClient) do(s *spec, a act) {
	if why := c.refused(false); a == save && why != "" {
		c.fail(why)
		return
	}
	before := c.told
	c.told = ""
	c.perform(s, a)
	why := c.told
	if before != "" {
		c.told = before
	}
	switch {
	case c.state == specAbandoned:
	case a == destroy, a == destroyThen, a == regenerate && why == "":
		c.closed = nil
	case a == renew, a == regenerate:
		c.closed = slices.DeleteFunc(slices.Clone(c.closed), func(r refusal) bool { return r.act == a })
		if why != "" {
			c.closed = append(c.closed, refusal{a, why})
		}
	case a == login:
		c.closed = slices.DeleteFunc(slices.Clone(c.closed), func(r refusal) bool { return r.act == login })
	}
}

// refused is why nothing is saved, "" if it may be. A login gives the id up, as a
// Renew would have that has failed. A Save may try a login again that has failed,
// the commit may not.
func (c *specClient) refused(last bool) string {
	for _, r := range c.closed {
		switch {
		case !c.login, r.act != renew && (last || r.act != login):
			return r.why
		}
	}
	return ""
}

func (c *specClient) perform(s *spec, a act) {
	if c.state == specAbandoned && a != expire && a != revoke {
		return
	}
	if c.state == specEnded && slices.Contains([]act{setSame, setOther, update, deleteX, replaceAll, replaceThen, setCookie, renew}, a) {
		c.fail("gone")
		return
	}
	switch a {
	case setSame:
		c.assign("x", specEdit{assigned: true, value: number(c.letter)})
	case setOther:
		c.assign(own(c.letter), specEdit{assigned: true, value: number(c.letter)})
	case update:
		e := c.edits["n"]
		switch {
		case e.assigned && !e.absent:
			e.value += weight(c.letter)
		case e.assigned || c.cleared:
			e = specEdit{assigned: true, value: weight(c.letter), assigns: e.assigns}
		default:
			e.add += weight(c.letter)
		}
		c.edits["n"] = e
	case deleteX:
		c.assign("x", specEdit{assigned: true, absent: true})
	case setCookie:
		if c.over(c.base)["cookie"] != number(c.letter) {
			c.assign("cookie", specEdit{assigned: true, value: number(c.letter)})
		}
	case replaceAll, replaceThen:
		options, chose := c.edits["cookie"]
		c.edits, c.past, c.cleared = map[string]specEdit{}, map[string]specEdit{}, true
		if chose {
			c.edits["cookie"] = options
		}
		c.clears++
		for name, v := range instead(c.letter) {
			c.assign(name, specEdit{assigned: true, value: v})
		}
	case save:
		c.save(s)
	case destroyThen, destroy:
		var ids []string
		if c.stored() {
			ids = append(ids, c.id)
		}
		if c.known = ""; c.state == specLive && !c.unread && !c.wrote && c.doubt == nil {
			c.known = c.id
		}
		ids = slices.Concat(ids, c.unended, c.beside(atNext), c.gave, c.heirs)
		if len(ids) > 0 {
			c.end(s, ids...)
			c.send("-") // also when it failed
		}
		c.state, c.login = specEnded, false
		c.edits, c.past, c.base, c.cleared = map[string]specEdit{}, nil, nil, true
	case regenerate:
		ends := c.stored()
		if ends && c.state != specLive && s.marked(c.id) { // another request has given it up
			c.calls++
			ends = false
			c.unknown(s, c.id)
		}
		if ends && !c.leaves(s) {
			return
		}
		id := c.newID()
		switch {
		case ends:
			s.mark(c.id, id)
		case c.successor && c.state == specNew:
			c.passOn(s, id)
		}
		switch {
		case ends && c.place == atNext:
		case ends && c.place == atLate:
			c.set(atLate, "-")
		case ends || s.koa:
			c.send("-")
		}
		was := *c
		c.unloaded()
		c.id, c.successor, c.spare = id, ends || was.successor, was.spare || ends && c.copies(s)
		c.untrusted, c.gave, c.place, c.recent, c.heirs = was.untrusted, was.gave, was.place, was.recent, was.heirs
	case login:
		if c.state == specEnded { // what it loaded is not its own any more
			c.leave(s)
		}
		if _, chosen := c.over(c.base)["cookie"]; chosen {
			c.assign("cookie", specEdit{assigned: true, absent: true})
		}
		c.login = true
	case renew:
		if c.login {
			for _, r := range c.closed {
				if r.act != renew && r.act != login {
					c.fail(r.why)
					return
				}
			}
			c.logIn(s)
			return
		}
		if !c.settle(s) {
			return
		}
		if c.state == specNew {
			if c.recent {
				c.fail("gone")
				return
			}
			id := c.newID()
			if c.successor {
				c.passOn(s, id)
			}
			c.id = id
			return
		}
		c.move(s)
	case expire:
		delete(s.live, old)
	case revoke:
		c.end(s, old)
	}
}

// passOn marks its id, which is not stored yet, for another one. It fails without
// a word.
func (c *specClient) passOn(s *spec, id string) {
	c.calls++
	if !c.down && (c.calls != c.fault || c.late) {
		s.mark(c.id, id)
	}
}

// stored reports whether the store has, or may have, a session of the request.
func (c *specClient) stored() bool {
	return c.state == specLive || c.doubt != nil || c.id != "" && slices.Contains(c.unended, c.id)
}

// copies reports whether a new id is to be sent twice.
func (c *specClient) copies(s *spec) bool { return !s.koa && c.carries != cookies{} }

// move gives the session a new id, whatever others have saved meanwhile. It
// reports whether there was one to move. When its one step has no answer, the core
// looks whether it came through; when two steps fail they do nothing.
func (c *specClient) move(s *spec) bool {
	if c.late && s.oneStep {
		c.calls++
	} else if failed, _ := c.fails(); failed {
		return true
	}
	now, ok := s.live[c.id]
	switch {
	case s.plain:
		now = c.base
	case !ok:
		c.gone(s)
		return false
	}
	now = c.over(now)
	id := c.newID()
	delete(s.live, c.id)
	s.mark(c.id, id)
	c.spare = c.spare || c.copies(s)
	c.store(s, id, now)
	return true
}

// leaves ends the session in a Reset. If it fails it does nothing, since the
// core looks: also when it had no answer.
func (c *specClient) leaves(s *spec) bool {
	if s.plain || s.koa {
		return c.remove(s, c.id)
	}
	if c.late {
		c.calls++
	} else if failed, _ := c.fails(); failed {
		return false
	}
	if _, lives := s.live[c.id]; !lives && c.state == specLive && !c.unread {
		c.gone(s)
		return false
	}
	delete(s.live, c.id)
	return true
}

// gone is what is told when the session has ended meanwhile.
func (c *specClient) gone(s *spec) {
	if c.state == specLive {
		c.unknown(s, c.id)
	}
	for at, sent := range c.sends { // an id that is dead by now is taken out of the response
		if at != atName || sent != "-" {
			c.sends[at] = ""
		}
	}
	c.state = specEnded
	c.fail("gone")
}

// end destroys the sessions of ids, and what they have become.
func (c *specClient) end(s *spec, ids ...string) {
	defer func() { c.known = "" }()
	c.unended = nil
	ended := map[string]bool{}
	for i := 0; i < len(ids); i++ {
		id := ids[i]
		if ended[id] {
			continue
		}
		ended[id] = true
		if !c.remove(s, id) {
			c.unended = append(c.unended, id)
			continue
		}
		ids = append(ids[:len(ids):len(ids)], s.heirs(id)...)
	}
}

// remove destroys the session of id, and reports whether it could. Where there is
// none, the store is only asked: that has no answer to lose.
func (c *specClient) remove(s *spec, id string) bool {
	_, lives := s.live[id]
	failed, done := false, true
	switch {
	case !s.removes && !s.plain && !s.koa && (c.late && lives || !c.late && id == c.known):
		c.calls++ // of its two calls the second says how it ends
	case c.late && s.removes && id == c.known && (lives && s.ttl > 0 && s.versions[id] != c.version || !lives && s.marked(id)):
		c.calls++ // it appends to what it meets, and looks
	case !c.late || lives || s.koa:
		failed, done = c.fails()
	}
	if c.down {
		failed, done = true, false
		c.fail("error")
	}
	if done {
		delete(s.live, id)
	}
	return !failed
}

func (c *specClient) newID() string {
	if c.made++; c.next != nil {
		return c.next()
	}
	return fmt.Sprint(string(c.letter), c.made)
}

func (c *specClient) store(s *spec, id string, v values) {
	s.live[id] = v
	s.versions[id]++
	c.doubt, c.unread, c.wrote = nil, false, s.untold
	c.past = after(c.past, c.edits)
	delete(c.past, "cookie") // a login forgets them
	c.id, c.state, c.base, c.edits, c.cleared = id, specLive, maps.Clone(v), map[string]specEdit{}, false
	s.renewed(id, c.created)
	c.version = s.versions[id]
	c.send(id)
}

// over lays the changes over v. Values set to what they were are none.
func (c *specClient) over(v values) values {
	now := maps.Clone(v)
	if c.cleared || now == nil {
		now = values{}
		if options, chosen := v["cookie"]; chosen {
			now["cookie"] = options // which are no value
		}
	}
	for name, e := range c.edits {
		was, had := c.base[name]
		switch {
		case (!c.cleared || name == "cookie") && e.assigned && e.absent != had && (!had || was == e.value):
		case e.assigned && e.absent:
			delete(now, name)
		case e.assigned:
			now[name] = e.value
		case e.add != 0:
			now[name] += e.add
		}
	}
	return now
}

// merged is what a save or Renew of a live session stores; not ok if it can't.
func (c *specClient) merged(s *spec) (values, bool) {
	now, ok := s.live[c.id]
	switch {
	case s.plain:
		now = c.base
	case !ok:
		c.gone(s)
		return nil, false
	case c.unread, maps.Equal(now, c.base):
	case s.policy == core.ConflictRefuse:
		c.fail("conflict")
		return nil, false
	case s.policy == core.ConflictLastWriteWins:
		now = c.base
	}
	return c.over(now), true
}

func (c *specClient) save(s *spec) {
	if c.login && c.state < specEnded {
		c.logIn(s)
		return
	}
	if c.state < specEnded && !c.settle(s) {
		return
	}
	changed := c.unread || !maps.Equal(c.over(c.base), c.base)
	if c.state >= specEnded || !changed {
		return
	}
	if c.state == specNew && s.absolute > 0 && s.began.Sub(c.created) >= s.absolute {
		if c.doubt != nil { // else it was never stored
			failed, done := c.fails()
			if done {
				delete(s.live, c.id)
			}
			if failed {
				c.unended = []string{c.id}
			}
		}
		c.state = specEnded
		c.edits, c.past, c.base, c.cleared = map[string]specEdit{}, nil, nil, true
		return
	}
	failed, done := c.fails()
	var d *doubt
	if failed && (c.mute || c.late) {
		d = &doubt{id: c.id, version: s.versions[c.id], edits: maps.Clone(c.edits), clears: c.clears}
		if now, ok := s.live[c.id]; ok || c.state == specNew {
			d.wrote = c.over(now)
		}
	}
	if failed && !done {
		if d != nil {
			if c.doubt = d; c.id == "" {
				c.id = c.newID()
			}
		}
		return
	}
	before := *c
	if c.state == specNew {
		if c.id == "" {
			c.id = c.newID()
		}
		if _, taken := s.live[c.id]; taken { // by itself, when it got no answer
			c.fail("error")
			return
		}
		before.id = c.id
		c.store(s, c.id, c.over(nil))
	} else if now, ok := c.merged(s); ok {
		c.store(s, c.id, now)
	}
	if failed { // it knows nothing of what it did
		if before.told = c.told; c.state == specLive {
			before.doubt = d
			before.doubt.wrote = c.base
		} else {
			before.state = c.state
		}
		*c = before
	}
}

// leave makes it a new session with what the request did. The one that it was
// belongs to another request, or to nobody.
func (c *specClient) leave(s *spec) {
	if c.id != "" && c.state == specLive && !s.koa {
		c.gave = slices.Concat([]string{c.id}, c.gave)
	}
	c.id, c.state, c.base, c.cleared, c.doubt = "", specNew, nil, true, nil
	c.created, c.reissue, c.unread, c.successor = time.Now().Truncate(time.Millisecond), false, false, false
	c.fromNothing()
}

// fromNothing makes all edits, also those that were saved, the edits of an empty
// session.
func (c *specClient) fromNothing() {
	c.base, c.cleared = nil, true
	c.edits, c.past = after(c.past, c.edits), map[string]specEdit{}
	for name, e := range c.edits {
		if !e.assigned {
			c.edits[name] = specEdit{assigned: true, value: e.add, assigns: e.assigns}
		}
	}
}

// after is past and then edits.
func after(past, edits map[string]specEdit) map[string]specEdit {
	both := map[string]specEdit{}
	maps.Copy(both, past)
	for name, e := range edits {
		was, had := both[name]
		switch {
		case e.assigned || !had:
		case was.assigned && !was.absent:
			e = specEdit{assigned: true, value: was.value + e.add, assigns: e.assigns}
		case was.assigned:
			e = specEdit{assigned: true, value: e.add, assigns: e.assigns}
		default:
			e.add += was.add
		}
		both[name] = e
	}
	return both
}

// logIn is the save of a login.
func (c *specClient) logIn(s *spec) {
	told := c.told
	c.told = ""
	settled := c.settle(s)
	if !settled && c.told == "gone" {
		c.told, settled = "", true
		c.leave(s)
	}
	before := *c
	if settled {
		c.tryLogIn(s)
	}
	if c.told == "" {
		c.told, c.login = told, false
		c.closed = slices.DeleteFunc(slices.Clone(c.closed), func(r refusal) bool { return r.act == login || r.act == renew })
		return
	}
	why, calls := c.told, c.calls
	*c = before
	c.calls = calls
	c.closed = append(slices.DeleteFunc(slices.Clone(c.closed), func(r refusal) bool { return r.act == login }), refusal{login, why})
	if c.told = told; told == "" {
		c.told = why
	}
}

func (c *specClient) tryLogIn(s *spec) {
	c.edits = maps.Clone(c.edits) // which stay as they are if it fails
	for _, id := range c.beside(c.place + 1) {
		c.known = ""
		if !c.remove(s, id) { // what it has become is another login's
			return
		}
	}
	c.place = atName
	c.created = time.Now().Truncate(time.Millisecond)
	if c.state == specLive {
		_, lives := s.live[c.id]
		switch {
		case c.late && s.oneStep && lives:
			c.calls++
		case c.late && s.oneStep: // its first write is that of the new session
		default:
			if failed, _ := c.fails(); failed {
				return
			}
		}
		if lives || s.plain {
			now := s.live[c.id]
			if s.plain {
				now = c.base
			}
			if c.untrusted { // without what was loaded
				options, chosen := now["cookie"]
				c.fromNothing()
				if now = c.over(nil); chosen && !c.edits["cookie"].assigned {
					now["cookie"] = options
				}
			} else {
				now = c.over(now)
			}
			id := c.newID()
			delete(s.live, c.id)
			s.mark(c.id, id)
			c.spare = c.spare || c.copies(s)
			c.note(s, id)
			c.store(s, id, now)
			return
		}
		created := c.created
		c.leave(s)
		c.created = created
		delete(c.edits, "cookie")
	}
	if c.calls < c.fault || c.fault == 0 {
		if failed, _ := c.fails(); failed {
			return
		}
	}
	now := c.over(nil)
	passed := c.id
	id := c.newID()
	c.spare = c.spare || c.copies(s)
	if c.successor { // of an id that this request gave up by Reset
		s.mark(passed, id)
	}
	c.note(s, id)
	c.store(s, id, now)
}

// note marks the ids that the request carries in vain for that of its login.
func (c *specClient) note(s *spec, id string) {
	for _, given := range c.gave {
		s.mark(given, id)
	}
}

func (c *specClient) commit(s *spec) {
	if why := c.refused(true); why != "" {
		c.fail(why)
		return
	}
	if c.login && c.state < specEnded {
		c.logIn(s)
		return
	}
	if c.doubt != nil && c.state < specEnded && !c.settle(s) {
		return
	}
	if c.rolling && c.state == specLive && maps.Equal(c.over(c.base), c.base) {
		if s.plain { // it has no Toucher either
			c.store(s, c.id, maps.Clone(c.base))
			return
		}
		failed, done := c.fails()
		if _, ok := s.live[c.id]; done && ok {
			s.renewed(c.id, c.created)
		} else if done {
			c.gone(s)
			return
		}
		if !failed {
			c.send(c.id)
		}
		return
	}
	if c.reissue && c.state == specLive && maps.Equal(c.over(c.base), c.base) {
		c.calls++ // it fails without a word
		failed := c.calls == c.fault
		if _, lives := s.live[c.id]; lives && (!failed || c.late) {
			s.renewed(c.id, c.created)
			if !failed {
				c.send(c.id)
			}
		}
		return
	}
	c.save(s)
}

// An outcome is all that can be seen when both requests are answered.
type outcome struct {
	live    map[string]values
	final   [2]string // the id that each request ended with
	told    [2]string
	cookies [2]cookies // as in specClient
}

// String names ids by who made them, whatever they are.
func (o outcome) String() string {
	var lives []string
	for id, v := range o.live {
		lives = append(lives, o.label(id)+v.String())
	}
	slices.Sort(lives)
	if lives == nil {
		lives = []string{"nothing"}
	}
	told := func(i int) string {
		if o.told[i] == "" {
			return "ok"
		}
		return o.told[i]
	}
	return fmt.Sprintf("%s; told %s, %s; cookie %s or %s", strings.Join(lives, " "), told(0), told(1), o.browser(1, 0), o.browser(0, 1))
}

func (o outcome) label(id string) string {
	switch {
	case id == old || id == "-":
		return id
	case id == o.final[0]:
		return "A"
	case id == o.final[1]:
		return "B"
	}
	return id[:1] + "'"
}

// browser is the first cookie in it when the responses arrived in that order, and
// that which counts if it is another one; "+" behind it if its session lives.
func (o outcome) browser(arrivals ...int) string {
	has := cookies{old}
	for _, i := range arrivals {
		for at, c := range o.cookies[i] {
			if c != "" {
				has[at] = c
			}
		}
	}
	for at, id := range has {
		switch _, lives := o.live[id]; {
		case !lives:
		case at == atName:
			return o.label(id) + "+"
		default:
			return o.label(has[atName]) + "," + o.label(id) + "+"
		}
	}
	return o.label(has[atName])
}

// A specFault is the failing call of one client.
type specFault struct {
	client, call int
	late, mute   bool
}

// allowed are the outcomes of all orders of the steps of two programs, without
// a fault or with each of those.
func allowed(r rules, programs [2]program, faults ...specFault) map[string]bool {
	all := map[string]bool{}
	var order []int
	var left [2]int
	for i, p := range programs {
		left[i] = len(p.acts) + 2
	}
	var walk func()
	walk = func() {
		if left[0]+left[1] == 0 {
			all[play(r, programs, order, specFault{}).String()] = true
			for _, f := range faults {
				all[play(r, programs, order, f).String()] = true
			}
			return
		}
		for i := range left {
			if left[i] > 0 {
				left[i]--
				order = append(order, i)
				walk()
				order = order[:len(order)-1]
				left[i]++
			}
		}
	}
	walk()
	return all
}

// play runs the machine in one order.
func play(r rules, programs [2]program, order []int, f specFault) outcome {
	s := newSpec(r)
	s.live[old] = begin()
	var cs [2]*specClient
	for i, p := range programs {
		cs[i] = &specClient{came: cookies{old}, letter: "AB"[i], rolling: p.rolling(), unread: p.unread()}
		if f.client == i {
			cs[i].fault, cs[i].late, cs[i].mute = f.call, f.late, f.mute
		}
	}
	var at [2]int
	for _, i := range order {
		c, p := cs[i], programs[i].acts
		switch n, unread := at[i], programs[i].unread(); {
		case n == 0:
			if c.load(s, cookies{old}); unread {
				c.do(s, p[0])
			}
		case unread && n < len(p):
			c.do(s, p[n])
		case unread && n == len(p):
			c.find(s)
		case n <= len(p):
			c.do(s, p[n-1])
		default:
			c.commit(s)
		}
		at[i]++
	}
	o := outcome{live: s.live}
	for i, c := range cs {
		o.final[i], o.told[i], o.cookies[i] = c.id, c.told, c.sends
	}
	return o
}
