package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// A Visit loads and commits the session of one HTTP request. Adapters make one
// for each request; handlers get its [Session]. This file reads downwards in the
// order in which things happen.
//
// Its methods are safe for concurrent use.
//
// In deferred mode most requests have a visit and no session, so what only a
// session needs lies there.
type Visit struct {
	manager *Manager
	jar     Jar
	outer   *Visit

	loading sync.Mutex // held while the session is loaded; never by a commit
	ending  sync.Once  // the one commit, or the abandonment

	control  atomic.Int32  // how many guards say that the handler has control; see Enter
	stage    atomic.Uint32 // changed while loading is held, but for the end of an untouched visit
	resend   bool          // the carrier wants the id sent again
	sent     bool          // the response carries the id
	carrying bool          // the carrier has put something into the response; Session.op guards it

	others    []target   // of the other sessions that the request carries
	left      *leftScope // nil while the cookie keeps its scope in this request
	untrusted bool       // the session was chosen among several that the request carries
	expires   bool       // cookies of former scopes are removed with the next one that is sent
	carries   bool       // the request has an id
	copies    place      // where a copy of the id is sent, since it has changed; atName for nowhere
	crowded   bool       // the request carries more cookies than are looked at
	long      bool       // its Cookie field is so long that nothing is looked for in it
	foreign   bool       // the id came in the cookie of another library
	odd       bool       // it carries a signed id of another form than ids have, in KoaCompat

	running *time.Timer     // prolongs the session of a long request; nil if that is not needed
	began   time.Duration   // in deferred mode: when, as an age of the manager
	session *Session        // nil in deferred mode until somebody asks for it
	around  context.Context // what NewContext was given
}

// The stages of a visit.
const (
	begun   uint32 = iota // nothing is loaded
	busy                  // somebody loads
	loaded                // session is in use, for good
	outside               // the path has no session
	failed                // loading failed with err
	ended                 // committed or abandoned without having been loaded
)

// NewVisit returns the Visit of one request. outer is the visit of a middleware
// further out, nil if there is none. ok is false when one of them has the same
// manager or the same cookie: mounted twice, the first works and the second
// does nothing.
func (m *Manager) NewVisit(jar Jar, outer *Visit) (v *Visit, ok bool) {
	if m.mounted(outer) {
		return nil, false
	}
	v = new(Visit)
	v.begin(m, jar, outer)
	return v, true
}

// NewVisitOf is [Manager.NewVisit] for an adapter whose Jar is a *J. It makes an
// empty one, as a part of the visit: what every request needs is one object.
// Where ok is false there is no jar either.
func NewVisitOf[J any, P interface {
	*J
	Jar
}](m *Manager, outer *Visit) (jar P, v *Visit, ok bool) {
	if m.mounted(outer) {
		return nil, nil, false
	}
	if m.o.Defer {
		all := new(struct {
			visit Visit
			jar   J
		})
		jar, v = &all.jar, &all.visit
	} else {
		all := new(struct {
			visit   Visit
			session Session
			jar     J
		})
		jar, v = &all.jar, &all.visit
		v.session = &all.session
		v.session.visit = v
	}
	v.begin(m, jar, outer)
	return jar, v, true
}

// mounted reports whether one of the visits further out does what a visit of m
// would do.
func (m *Manager) mounted(outer *Visit) bool {
	for o := outer; o != nil; o = o.outer {
		if o.manager == m || o.manager.cookie != nil && m.cookie != nil && o.manager.cookie.name == m.cookie.name {
			return true
		}
	}
	return false
}

func (v *Visit) begin(m *Manager, jar Jar, outer *Visit) {
	v.manager, v.jar, v.outer = m, jar, outer
	if m.o.Defer {
		v.began = time.Since(m.born)
	}
}

// Format does not show what the visit has, under any verb: the id and the session.
func (v *Visit) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session visit")) }

// Jar returns the exchange that the visit belongs to.
func (v *Visit) Jar() Jar { return v.jar }

// Of finds the visit of m among v and its outer ones: ErrNoSession if m is not
// mounted.
func (v *Visit) Of(m *Manager) (*Visit, error) {
	for ; v != nil; v = v.outer {
		if v.manager == m {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%w: the middleware of this manager is missing", ErrNoSession)
}

// Begin loads the session, unless it is deferred or the path has none. After
// an error the request must be answered with [Status] of it, and the handler
// must not run.
func (v *Visit) Begin(ctx context.Context) error {
	if v.manager.o.Defer {
		return nil
	}
	if v.stage.Load() == begun { // without a lock, since nobody else has v yet
		v.load(ctx)
	}
	if v.stage.Load() == failed {
		return v.session.err
	}
	return nil
}

// Session returns the session of the request, loaded if it has not been yet:
// callers that come meanwhile wait for that one load. It is
// ErrNoSession outside the cookie's path, ErrCommitted when the request ended
// without one.
//
// A hook can't have it while it is being loaded: [From] with the hook's context
// is then ErrNoSession. Calling this method itself from there waits for ever.
func (v *Visit) Session(ctx context.Context) (*Session, error) {
	if v.stage.Load() == loaded {
		v.session.asked(ctx)
		return v.session, nil
	}
	ctx = requestless(ctx)
	v.loading.Lock()
	defer v.loading.Unlock()
	return v.loadOnce(ctx)
}

// loadOnce loads the session if nobody has, and returns it. loading is held.
func (v *Visit) loadOnce(ctx context.Context) (*Session, error) {
	if v.stage.CompareAndSwap(begun, busy) {
		defer v.stage.CompareAndSwap(busy, begun) // if a hook panics
		v.load(ctx)
	}
	switch v.stage.Load() {
	case loaded:
		v.session.asked(ctx)
		return v.session, nil
	case outside:
		v.manager.askedOutside(v.hookContext(ctx))
		return nil, errOutside
	case ended:
		return nil, ErrCommitted
	}
	return nil, v.session.err
}

// load is everything before the handler.
func (v *Visit) load(ctx context.Context) {
	if !v.inside() {
		v.stage.Store(outside)
		return
	}
	s := v.needSession()
	s.ctx = v.hookContext(ctx)
	s.err = v.read(s.ctx)
	if s.err == nil && s.state == live && v.manager.listens() {
		v.tell(s.ctx, s.id, Event{Kind: EventLoaded})
	}
	s.ctx = ctx
	if s.err != nil {
		v.stage.Store(failed)
		return
	}
	v.keep(ctx)
	v.stage.Store(loaded)
}

// needSession returns the session, made if there is none.
func (v *Visit) needSession() *Session {
	if v.session == nil {
		v.session = &Session{visit: v}
	}
	return v.session
}

// hookContext returns ctx for the hooks that run while v is loaded. In deferred mode
// it would lead them to v, and a hook that asked v would wait for itself.
func (v *Visit) hookContext(ctx context.Context) context.Context {
	o := &v.manager.o
	if o.Hooks.Valid == nil && o.Hooks.Error == nil && o.Hooks.Event == nil && o.InsecureIDFrom == nil {
		return ctx
	}
	for w, _ := ctx.Value(visitKey{}).(*Visit); w != nil; w = w.outer {
		if w == v {
			return context.WithValue(ctx, visitKey{}, errLoading)
		}
	}
	return ctx
}

// inside reports whether the path has a session (K33).
func (v *Visit) inside() bool {
	m := v.manager
	if m.inside == "/" {
		return true
	}
	if v.isMade() {
		return true
	}
	is := pathMatch(v.jar.Path(), m.inside)
	if is {
		m.setup.first(wasInside)
	}
	return is
}

// read fills the session with what the store has for the id that the request
// carries, or leaves it new.
func (v *Visit) read(ctx context.Context) error {
	m := v.manager
	if err := m.health.wait(ctx); err != nil {
		return v.broken(ctx, OpWait, err)
	}
	id, several, err := v.carried(ctx)
	if err != nil {
		return v.broken(ctx, OpCarrier, err)
	}
	if several != nil {
		v.carries = true
		return v.choose(ctx, several)
	}
	if id == "" && !v.carriesBeside() {
		v.session.reset()
		return nil
	}
	v.carries = true
	if v.foreign {
		return v.foundForeign(ctx, id)
	}
	now, err := lookup{}, error(ErrGone)
	if id != "" {
		err = m.findInto(ctx, &now, id, v.keyOf(id))
	}
	return v.found(ctx, id, &now, err)
}

// foundForeign is found for an id that came in the cookie of another library. The
// response has one of ours.
func (v *Visit) foundForeign(ctx context.Context, id ID) error {
	now, err := v.manager.findForeign(ctx, id, v.manager.key(id))
	v.resend = err == nil
	return v.found(ctx, id, &now, err)
}

// found goes on with what the store has for id, as now and err say.
func (v *Visit) found(ctx context.Context, id ID, now *lookup, err error) error {
	s := v.session
	switch {
	case errors.Is(err, ErrGone):
		return v.noSession(ctx, id, now.tombstone)
	case err == record.ErrForeign:
		// Somebody else's session is a fault of the way, not of this one.
		s.id = id
		return v.broken(ctx, OpGet, err)
	case now.corrupt:
		if err := v.note(ctx, OpGet, err); err != nil { // K39
			return err
		}
		return v.unknownID(ctx, id, nil)
	case err != nil:
		s.id = id
		return v.broken(ctx, OpGet, err)
	}
	if now.by != nil || now.record.Next != "" {
		id, *now = v.current(ctx, id, *now)
	}
	s.take(id, now.at, now)
	return v.admit(ctx, id, now.at)
}

// current goes on with what now has found for id, where the session has another id of
// itself or is about to get it: with that one, if the request carries it.
func (v *Visit) current(ctx context.Context, id ID, now lookup) (ID, lookup) {
	m := v.manager
	switch {
	case now.by != nil && now.by.lead.until == 0 && v.isMade(): // which is only looked at
		return id, now
	case now.by != nil && now.by.lead.until == 0:
		now = m.settle(ctx, v.keyOf(id), now)
		v.resend = v.resend || now.by == nil // its life has begun anew, and that of the cookie has to
		return id, now
	}
	// A response from before may have replaced the new id. There is a copy of it.
	for _, other := range v.beside(id).ids {
		if other == "" {
			continue
		}
		switch key := m.key(other); key {
		case now.at:
			v.resend = true
			return other, led(now, key, nil)
		case m.o.Prefix + now.record.Next:
			if then, err := m.find(ctx, key); err == nil {
				v.resend = true
				return other, m.settle(ctx, key, then)
			}
		}
	}
	return id, now
}

// noSession goes on when id, which may be "", leads nowhere: then the cookies beside
// it count. t is what stands there if it was given up.
func (v *Visit) noSession(ctx context.Context, id ID, t *tombstone) error {
	m, s := v.manager, v.session
	if id != "" {
		e := Event{Kind: EventUnknownID}
		if t != nil {
			e.Why = "it was given up for another one"
		}
		v.tell(ctx, id, e)
	}
	unknown, beside := id, v.beside(id)
	for at := atNext; at < places; at++ {
		id := beside.ids[at]
		if id == "" {
			continue
		}
		key := m.key(id)
		now, err := m.findOf(ctx, id, key)
		if errors.Is(err, ErrGone) || now.corrupt {
			unknown, t = cmp.Or(unknown, id), t.and(now.tombstone)
			continue
		}
		s.id = id
		if err != nil {
			return v.broken(ctx, OpGet, err)
		}
		s.take(id, now.at, &now)
		s.givenUp = t
		named := t.names(key)
		v.untrusted = v.untrusted || !named && unknown != "" // one of several that the request carries
		if named || at == atNext && !t.notes() && !v.longAgo() {
			// A response from before has replaced the cookie of a new id. This one
			// puts it back, unless another request may have got a newer one.
			v.resend, v.expires = true, true
		} else {
			s.entry.place, v.resend = at, at == atLate && beside.reissue[at]
		}
		return v.admit(ctx, id, now.at)
	}
	if id == "" && t == nil {
		s.reset()
		return nil
	}
	return v.unknownID(ctx, unknown, t)
}

// longAgo reports whether the request began so long ago that what stood under an id
// when it began may have passed. Only in deferred mode it looks so late.
func (v *Visit) longAgo() bool { return v.manager.o.Defer && v.manager.longAgo(v.began) }

// choose goes on when the request carries several genuine ids, as after the scope
// of the cookie has changed: the one that lives in the store counts, if there is
// exactly one. It is not trusted with its past, since the browser may have got it
// from somebody else.
func (v *Visit) choose(ctx context.Context, ids []ID) error {
	m := v.manager
	var living []ID
	var at lookup
	var t *tombstone
	for _, id := range ids {
		now, err := m.findOf(ctx, id, m.key(id))
		switch {
		case err == nil && len(living) > 0 && now.at == at.at: // two ids of one session
			if now.by == nil || now.by.lead.until == 0 {
				living[len(living)-1], at = id, now
			}
			continue
		case errors.Is(err, ErrGone) || now.corrupt:
			t = t.and(now.tombstone)
			continue
		case err != nil:
			v.session.id = id
			return v.broken(ctx, OpGet, err)
		}
		living, at = append(living, id), now
	}
	v.untrusted = true
	switch len(living) {
	case 0:
		return v.noSession(ctx, ids[0], t)
	case 1:
		v.session.givenUp = t
		v.resend, v.expires = true, true // in the scope that the cookie has now
		return v.found(ctx, living[0], &at, nil)
	}
	for _, id := range living {
		v.others = append(v.others, target{key: m.key(id), id: id})
	}
	v.tell(ctx, "", Event{Kind: EventCookieRefused, Why: "several cookies with a valid signature, each of a living session"})
	v.session.reset()
	v.session.givenUp = t
	return nil
}

// beside are the ids that the request carries beside the first cookie and that are
// other than own. KoaCompat has none.
func (v *Visit) beside(own ID) besides {
	if c := v.manager.cookie; c != nil && !c.koa && !v.long {
		return c.beside(v.jar, own)
	}
	return besides{}
}

// carriesBeside reports whether there is one.
func (v *Visit) carriesBeside() bool {
	beside := v.beside("")
	return beside.any()
}

// targetsBeside are where the sessions of other ids are that the request carries in
// the cookies from there on. A copy of the first one is none: that was looked at.
func (v *Visit) targetsBeside(from place) (targets []target) {
	s := v.session
	beside := v.beside(s.id)
	for _, id := range append(beside.ids[from:], beside.several...) {
		if id != "" && (s.carries == nil || id != s.carries.id) {
			targets = append(targets, target{key: v.manager.key(id)})
		}
	}
	return targets
}

// keyOf is where the store has id.
func (v *Visit) keyOf(id ID) string {
	if p := v.session.carries; p != nil && p.id == id && p.key != "" {
		return p.key
	}
	return v.manager.key(id)
}

// admit asks whether a session that was found may be used: its time must not
// be over, and Hooks.Valid has the last say (K18).
func (v *Visit) admit(ctx context.Context, id ID, key string) error {
	m := v.manager
	s := v.session
	if m.tooOld(&s.stored) {
		v.tell(ctx, id, Event{Kind: EventExpired, Why: "AbsoluteTimeout"})
		return v.refuse(ctx, id, key)
	}
	if m.o.Hooks.Valid == nil {
		return nil
	}
	valid, err := v.runHook(func() (bool, error) { return m.o.Hooks.Valid(ctx, v.jar, s) })
	if err != nil {
		return v.broken(ctx, OpValid, err)
	}
	if valid {
		return nil
	}
	v.tell(ctx, id, Event{Kind: EventInvalid})
	if m.o.KeepInvalid {
		return v.unknownID(ctx, id, nil)
	}
	return v.refuse(ctx, id, key)
}

// refuse removes a session that must not be used any more.
func (v *Visit) refuse(ctx context.Context, id ID, key string) error {
	if err := v.manager.destroyOwned(ctx, key, v.session.stored.Owned); err != nil {
		if err := v.report(ctx, OpDestroy, err); err != nil {
			return err
		}
	}
	return v.unknownID(ctx, id, nil)
}

// unknownID goes on with a new session: the browser's id is never adopted
// (K17). t is what stands there if the id was given up: then the browser may have
// another session by now.
func (v *Visit) unknownID(ctx context.Context, id ID, t *tombstone) error {
	t = t.and(v.session.givenUp) // of other ids, if a session was refused
	v.session.reset()
	v.session.unknown(v.keyOf(id), t, v.longAgo())
	v.resend = false
	if v.manager.o.ResetUnknown && v.session.place == atName && !v.isMade() {
		return v.sendReset(ctx, false)
	}
	return nil
}

// broken reports that the session can't be had. If the hook lets the request
// go on, it gets an empty session that is never saved, and the browser keeps
// its cookie: an outage must not log anybody out (DESIGN: store errors, K40).
func (v *Visit) broken(ctx context.Context, op Op, err error) error {
	if failed := v.report(ctx, op, err); failed != nil {
		return failed
	}
	id := v.session.id
	if op == OpWait { // Destroy wants to know whose session it was
		id, _, _ = v.carried(ctx)
	}
	v.session.reset()
	v.session.id, v.session.loadErr = id, &Error{Op: op, Err: err}
	return nil
}

// carried returns the id that came with the request, "" for none, or the several
// that did (K31, K34).
func (v *Visit) carried(ctx context.Context) (id ID, several []ID, err error) {
	m, s := v.manager, v.session
	if m.o.InsecureIDFrom != nil {
		id = m.o.InsecureIDFrom(ctx, v.jar)
	}
	switch {
	case id != "":
	case m.cookie == nil:
		if id, v.resend, err = m.o.Carrier.Get(v.jar); err != nil {
			return "", nil, err
		}
		if id == "" {
			v.takesForeign(&id)
		}
	default:
		r := m.cookie.withFormer(v.jar, m.cookie.read(v.jar))
		v.crowded, v.long, v.odd = r.more, r.long, r.odd
		switch {
		case r.only != nil:
			s.carries, v.resend = r.only, r.reissue
			return r.only.id, nil, nil // whose form read has seen
		case len(r.several) > 0 && m.o.koa: // the original takes the first
			id = r.several[0].id
		case len(r.several) > 0:
			for _, p := range r.several {
				several = append(several, p.id)
			}
			return "", several, nil
		case v.takesForeign(&id):
			return id, nil, nil
		case r.refused != "":
			if r.forged {
				m.cookie.refuseSignature(v.sends())
				v.carrying = true
			}
			v.tell(ctx, "", Event{Kind: EventCookieRefused, Why: r.refused})
		}
	}
	if !m.shaped(id) {
		if id != "" {
			v.tell(ctx, "", Event{Kind: EventCookieRefused, Why: "an id of other characters or of another length"})
		}
		return "", nil, nil
	}
	return id, nil, nil
}

// takesForeign finds the id in the cookie of another library.
func (v *Visit) takesForeign(id *ID) bool {
	found := v.manager.foreignID(v.jar)
	if v.foreign = found != ""; v.foreign {
		*id = found
	}
	return v.foreign
}

// runHook runs a hook, in which the session must not be saved.
func (v *Visit) runHook(hook func() (bool, error)) (bool, error) {
	s := v.session
	s.hooks.Add(1)
	defer s.hooks.Add(-1)
	return hook()
}

// within reports whether a hook calls that runs for s, by way of that method of Visit:
// it would wait for itself, or be called for ever. Others in the same request may wait.
// Only their stacks tell them apart, and they are looked at only while a hook runs.
func (s *Session) within(method string) bool {
	return s.hooks.Load() > 0 && onStack("/core.(*Visit)."+method)
}

// onStack reports whether the caller was called, at any depth, by a function whose name
// ends so. The caller itself does not count.
func onStack(name string) bool {
	const self = 3 // runtime.Callers, onStack and its caller
	callers := make([]uintptr, 64)
	for skip := self; ; skip += len(callers) {
		n := runtime.Callers(skip, callers)
		frames := runtime.CallersFrames(callers[:n])
		for more := n > 0; more; {
			var frame runtime.Frame
			if frame, more = frames.Next(); strings.HasSuffix(frame.Function, name) {
				return true
			}
		}
		if n < len(callers) {
			return false
		}
	}
}

// Commit saves what has changed and sends the cookie. The adapter calls it
// after the handler, and before the first byte of the response. Only the first
// call works; later ones wait for it and return its result. After an error the
// handler's response must not be sent, but [Status] of the error.
//
// It does not stop when ctx is cancelled: a browser that hangs up must not
// cancel its own logout. It has deadlines of its own.
func (v *Visit) Commit(ctx context.Context) error {
	// A hook that writes the response would wait for itself.
	if v.stage.Load() == busy && (onStack("/core.(*Visit).loadOnce") || onStack("/core.(*Visit).withoutLoading")) {
		return errFromHook
	}
	if !v.end() {
		return nil
	}
	s, first := v.session, false
	if s.within("runHook") {
		return v.failed(ctx, OpHandler, errFromHook)
	}
	v.ending.Do(func() {
		if first = true; v.Running() {
			v.abandon(ctx)
		} else {
			v.last(ctx)
		}
	})
	if !first {
		s.putBack() // if it was abandoned
	}
	return s.err
}

// last is the save at the end of the request. Events are told when all is done, and
// so a hook that panics there changes nothing.
func (v *Visit) last(ctx context.Context) {
	s := v.session
	s.op.Lock()
	login := s.acts()
	defer s.exit()
	defer v.finish()
	defer v.stops()
	defer s.seal() // also when a hook panics
	v.checkDeadline(ctx)
	s.sent.putBack()
	defer func() { s.sent = nil }()
	defer v.keepOut() // what was sent before may go out although a hook panics
	s.err = errPanicked
	s.err = v.save(ctx, true, login)
	v.checkTTLFunc(ctx)
}

// save stores the session if there is a reason to. last means the end of the request,
// login that one is among what is saved. Session.op is held.
func (v *Visit) save(ctx context.Context, last, login bool) error {
	if s := v.session; login {
		done := false
		defer func() {
			if !done {
				_ = s.loginFailed(errPanicked)
			}
		}()
		err := v.saveOnce(ctx, last)
		done = true
		return err
	}
	return v.saveOnce(ctx, last)
}

// saveOnce does so in three steps: what is to be done and why; doing it to the store;
// the cookie, the session's state and the report.
func (v *Visit) saveOnce(ctx context.Context, last bool) error {
	if v.session.unknownWrite != nil {
		if err := v.resolved(ctx, last); err != nil {
			return err
		}
	}
	var p plan
	if err := v.plan(ctx, last, &p); err != nil || p.why == nothing {
		return err
	}
	return v.conclude(&p, v.manager.carryOut(&p))
}

// resolved finds out what became of a save of this request without an answer, before
// another one.
func (v *Visit) resolved(ctx context.Context, last bool) error {
	if err := v.whole(ctx, last); err != nil {
		return err
	}
	if err := v.resolve(ctx); err != nil {
		switch s := v.session; {
		case !s.signsIn():
			return v.unsaved(ctx, err, last)
		case !errors.Is(err, ErrGone):
			return s.loginFailed(v.failAlways(ctx, OpSet, err))
		default:
			v.withdraw()
			s.mu.Lock()
			s.leave()
			s.mu.Unlock()
		}
	}
	return nil
}

// errPanicked is the result of a commit in which a hook panicked.
var errPanicked = errors.New("session: a hook panicked, the session was not saved")

// end reports whether there is a session to commit, and lets none be loaded
// from now on.
func (v *Visit) end() bool {
	if v.stage.Load() == loaded {
		return true
	}
	if v.stage.CompareAndSwap(begun, ended) {
		return false // as mostly in deferred mode
	}
	v.loading.Lock()
	defer v.loading.Unlock()
	v.stage.CompareAndSwap(begun, ended)
	if v.stage.Load() == loaded {
		return true
	}
	if v.session != nil {
		v.session.seal() // a hook may have it
	}
	return false
}

// finish tells caches what the response depends on.
func (v *Visit) finish() {
	switch c := v.manager.carrier.(type) {
	case *signedCookie:
		vary(v.jar, "Cookie")
	case header:
		vary(v.jar, string(c))
	}
}

// Abandon ends the visit without saving: after a panic. A Save, Renew or Destroy
// of the request that is under way comes to its end, and its cookies stay in the
// response.
func (v *Visit) Abandon() {
	if v.stage.Load() == ended {
		return
	}
	v.ending.Do(func() {
		if v.end() {
			v.abandon(v.session.ctx)
		}
	})
}

// The ways to have no session. They are made once, since each request of the
// outermost middleware asks in vain.
var (
	errMissing = fmt.Errorf("%w: the middleware is missing", ErrNoSession)
	errOutside = fmt.Errorf("%w: the path lies outside the cookie's", ErrNoSession)
	errLoading = fmt.Errorf("%w: a hook asked for it that runs while it is loaded", ErrNoSession)
)

// visitKey is the context key of the innermost visit, or of the error that says
// why there is none.
type visitKey struct{}

// Destroy is [Session.Destroy] without loading the session first, for deferred
// mode: the store is not asked before.
func (v *Visit) Destroy(ctx context.Context) error {
	s, err := v.withoutLoading(ctx)
	if err != nil {
		return err
	}
	return s.Destroy(ctx)
}

// Replace is [Session.Replace] without loading the session first, for
// deferred mode: the store is asked only when the request is saved. An id that
// it does not know by then is not adopted.
func (v *Visit) Replace(ctx context.Context, values any) error {
	members, bad := membersOf(values)
	if errors.Is(bad, errReserved) {
		return bad
	}
	s, err := v.withoutLoading(ctx)
	if err != nil {
		return err
	}
	return s.replace(members, bad)
}

// withoutLoading returns the session as it is, or, if nothing is loaded, one that has
// only the id that the request carries.
func (v *Visit) withoutLoading(ctx context.Context) (*Session, error) {
	ctx = requestless(ctx)
	v.loading.Lock()
	defer v.loading.Unlock()
	if v.inside() && v.stage.CompareAndSwap(begun, busy) {
		defer v.stage.CompareAndSwap(busy, begun) // if there is an error, or a hook panics
		s := v.needSession()
		s.ctx = ctx
		s.reset()
		hooks := v.hookContext(ctx)
		id, several, err := v.carried(hooks)
		switch {
		case err != nil:
			return nil, v.failAlways(hooks, OpCarrier, err)
		case several != nil: // the store has to be asked
			err = v.choose(hooks, several)
		case v.foreign: // it may open nothing of ours
			err = v.foundForeign(hooks, id)
		case id != "":
			s.id, s.state, s.notLoaded = id, live, true
		case v.carriesBeside():
			err = v.noSession(hooks, "", nil)
		}
		if err != nil {
			return nil, err
		}
		v.carries = id != "" || several != nil || v.carriesBeside()
		v.stage.Store(loaded)
	}
	return v.loadOnce(ctx)
}

// NewContext returns ctx with v in it, for [VisitFrom] and [From]. It must not
// be called twice at the same time for one visit.
func NewContext(ctx context.Context, v *Visit) context.Context {
	if v.around != nil {
		return context.WithValue(ctx, visitKey{}, v)
	}
	v.around = ctx
	return (*visitContext)(v)
}

// A visitContext is what context.WithValue would make, without an object of
// its own: the first one that is made of a visit.
type visitContext Visit

func (c *visitContext) Deadline() (time.Time, bool) { return c.around.Deadline() }
func (c *visitContext) Done() <-chan struct{}       { return c.around.Done() }
func (c *visitContext) Err() error                  { return c.around.Err() }
func (c *visitContext) Value(key any) any {
	if key == (visitKey{}) {
		return (*Visit)(c)
	}
	return c.around.Value(key)
}

// String is as that of other contexts, and shows nothing of the visit.
func (c *visitContext) String() string { return fmt.Sprint(c.around) + ".WithValue(core.Visit)" }

// ContextKey returns the key under which an adapter keeps a context that
// [NewContext] has returned in a request that is a context itself, such as that of
// fasthttp. [From] and [VisitFrom] then find the visit in the request, and hooks
// and stores get the kept context in place of the request, which may serve
// another browser by the time that they look at it.
func ContextKey() any { return visitKey{} }

// requestless returns the context that an adapter keeps in ctx, ctx itself if there is
// none.
func requestless(ctx context.Context) context.Context {
	if c, ok := ctx.Value(visitKey{}).(context.Context); ok {
		return c
	}
	return ctx
}

// VisitFrom returns the visit in ctx, of the middleware nearest to the handler
// if several are mounted; ErrNoSession if there is none.
func VisitFrom(ctx context.Context) (*Visit, error) {
	switch v := ctx.Value(visitKey{}).(type) {
	case *Visit:
		return v, nil
	case error:
		return nil, v
	case context.Context:
		return VisitFrom(v)
	}
	return nil, errMissing
}

// From returns the session in ctx, of the middleware nearest to the handler.
func From(ctx context.Context) (*Session, error) {
	v, err := VisitFrom(ctx)
	if err != nil {
		return nil, err
	}
	return v.Session(ctx)
}

// From returns the session of this manager in ctx, where several managers are
// mounted.
func (m *Manager) From(ctx context.Context) (*Session, error) {
	v, err := VisitFrom(ctx)
	if err != nil {
		return nil, err
	}
	if v, err = v.Of(m); err != nil {
		return nil, err
	}
	return v.Session(ctx)
}
