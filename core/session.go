package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
	"github.com/gensession/gensession/core/internal/record"
)

// A Session holds the values that belong to the browser of this request. Its methods
// are safe for concurrent use within the request. Once the response has begun, or the
// handler has returned, changes fail with [ErrCommitted]; reading goes on to work.
//
// Values are read and written with a [Key], or by name with Get, Set and
// Delete. They are kept as JSON, by the rules of encoding/json. What Get
// returns or Set was given and can be changed in place (maps, slices,
// pointers) belongs to the session until the commit: a change in place is
// noticed and saved, and so must not be made from another goroutine.
// What append returns is another slice, and wants a Set.
//
// The names "cookie" and "_gs" are reserved.
type Session struct {
	visit *Visit

	ctx     context.Context // the request's
	since   int64           // of the id's time, as it was loaded
	carries *signedID       // what the request carries, if it is a cookie of ours
	err     error           // why loading failed, or the result of the commit; the visit guards it

	// op is held while the store is changed, and taken before mu. Together with
	// mu it guards entry: either lock allows to read it, both to change it.
	op sync.Mutex
	entry
	sent *sentJar // nil if nothing has been sent before the commit; op guards it

	deadline atomic.Int64 // the first of the contexts by which handlers have got the session, as an age of the manager; zero: none

	hooks atomic.Int32 // how many hooks run, which must not save in turn

	mu      sync.Mutex  // guards the rest
	loadErr *Error      // why the session could not be loaded, if the hook let it pass
	sealed  atomic.Bool // no change any more; set while mu is held
	save    SaveMode
	acting  bool    // op is held by a call that tells events when it ends
	untold  *untold // the first of the events that wait for that

	// What this request did, so that it can be done to whatever the store has by
	// then. A changeSet is a copy of it.
	edits      []*edit
	many       *manyEdits // of the edits; nil while they are few, or if it has to be made anew
	own        *record.Cookie
	options    *CookieOptions // complete with own, computed at first use
	replaceRev uint32         // how often all values were replaced
	baseRev    uint32         // how often what the edits lie over has become another
	cookieRev  uint32         // how often SetCookie chose options
	cleared    bool           // none of the stored values counts any more
	ownSet     bool           // this request chose own
	lost       bool           // while it is destroyed: by another request, and not by this one
	apart      bool           // a Renew, Reset or Destroy was held back: the store knows nothing of it

	login  *login       // what the next save has to do; nil if the handler has not called Login
	failed *failedCalls // while there are any, nothing is saved
}

// A failedCall is a Renew, Reset or Replace that failed, or a Set or Update
// whose value can't be encoded: what the handler wanted as a whole must not be
// saved by half. A login whose Renew is refused would else sign in whoever has
// planted the id. The same call heals it when it succeeds.
type failedCall struct {
	call string // "Renew", …; "Set" for all calls that assign one value
	name string // of the value
}

// failedCalls are those of one request, with their errors. The number tells which
// came first.
type failedCalls struct {
	all  map[failedCall]numbered
	came int
}

type numbered struct {
	err error
	n   int
}

// add returns f with one more call, which may be nil.
func (f *failedCalls) add(c failedCall, err error) *failedCalls {
	if f == nil {
		f = &failedCalls{all: map[failedCall]numbered{}}
	}
	f.came++
	f.all[c] = numbered{err, f.came}
	return f
}

// drop takes calls out.
func (f *failedCalls) drop(which func(failedCall) bool) *failedCalls {
	if f == nil {
		return nil
	}
	maps.DeleteFunc(f.all, func(c failedCall, _ numbered) bool { return which(c) })
	if len(f.all) == 0 {
		return nil
	}
	return f
}

// Calls that are noted when they fail.
const (
	callRenew   = "Renew"
	callReset   = "Reset"
	callReplace = "Replace"
	callSet     = "Set"
	callLogin   = "Login"
)

// outcome notes whether a call succeeded, and returns err. mu is held.
func (s *Session) outcome(call, name string, err error) error {
	if s.failed == nil && err == nil || s.sealed.Load() {
		return err
	}
	if c := (failedCall{call, name}); err != nil {
		s.failed = s.failed.add(c, err)
	} else {
		s.failed = s.failed.drop(func(f failedCall) bool { return f == c })
	}
	return err
}

// unhealed is the error of the first of those calls that failed and has not
// succeeded since. mu is held.
func (s *Session) unhealed(which func(failedCall) bool) error {
	if s.failed == nil {
		return nil
	}
	var first numbered
	for c, failed := range s.failed.all {
		if which(c) && (first.err == nil || failed.n < first.n) {
			first = failed
		}
	}
	return first.err
}

// SaveMode says what becomes of a session at the end of a request.
type SaveMode uint8

// The values for [Session.SetSaveMode].
const (
	SaveIfChanged SaveMode = iota
	// SaveAlways stores and sends the session, changed or not, empty or not
	// (generic-session's sessionSave = true).
	SaveAlways
	// SaveNever neither stores nor removes anything, and sends nothing
	// (sessionSave = false): the request's changes are dropped. It also holds
	// Save, Renew, Reset and Destroy back that are called after it: they
	// work within this request only. After Renew, Reset or Destroy it can't be
	// taken back.
	SaveNever
)

// An edit is what the request did with one value.
//
// The value is that of the last assignment, or the stored one if there was
// none, with the updates since then applied to it.
type edit struct {
	name     string
	raw      []byte          // nil: deleted
	own      bool            // raw counts instead of what is stored
	assigned bool            // raw does not come from what is stored
	loaded   bool            // held, or what it was changed to, comes from what is stored
	given    bool            // held is what Set or Update was given, and not what Get has decoded
	turn     uint32          // counts the changes of this edit
	assigns  uint32          // counts its assignments
	updates  []update        // since the assignment
	first    [1]update       // room for one, of the first time that there is one
	change   *[1]valueChange // room for what takeChange takes first
	held     holder          // what the handler holds and can change in place
	gave     holder          // what Set or Update was given, where Get has returned something else in held: JSON does not bring it back as it was
	from     []byte          // the JSON that held was made from
	past     *past           // what of it has been saved, nil for nothing
}

// A past is what the request had done with a value when it was saved last. Over
// nothing it makes what a login keeps that goes without the loaded values. An
// assignment is an update that does not look at what was there. It is not changed.
type past struct{ updates []update }

// then is the past after another save, of an assignment of raw or else of updates.
func (p *past) then(assigned bool, raw []byte, updates []update) *past {
	switch {
	case assigned:
		return &past{[]update{func([]byte) ([]byte, error) { return raw, nil }}}
	case p == nil:
		return &past{slices.Clone(updates)}
	}
	return &past{slices.Concat(p.updates, updates)}
}

// alone is what the past, nil for none, and updates after it make of nothing.
func (p *past) alone(updates []update) ([]byte, error) {
	var raw []byte
	if p != nil {
		var err error
		if raw, err = updated(nil, p.updates); err != nil {
			return nil, err
		}
	}
	return updated(raw, updates)
}

// An update makes the new JSON of a value from the old one, nil if there is
// none.
type update func(raw []byte) ([]byte, error)

// A holder has a value of some type that a handler can change in place.
type holder interface {
	encode() ([]byte, error)
	// again decodes raw into the same type and encodes it: what encode would
	// say if nothing had been changed.
	again(raw []byte) ([]byte, error)
}

// What can't be the name of a value.
var (
	errReserved = errors.New(`the names "cookie" and "_gs" are reserved`)
	errName     = misused("session: the name of a value must be valid UTF-8")
)

// ID returns the id of the session. A new session gets one when it is first
// asked for, or saved. It is "" if Options.NewID fails, which fails the save.
//
// The id is a secret: see [ID].
func (s *Session) ID() ID {
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	if id != "" {
		return id
	}
	id, _ = s.needID()
	return id
}

// needID returns the id of s, made if it has none.
func (s *Session) needID() (ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == "" && s.loadErr == nil && s.state == fresh {
		id, err := s.visit.manager.newID(s.ctx)
		if err != nil {
			return "", err
		}
		s.id = id
	}
	return s.id, nil
}

// IsNew reports whether the session is not in the store yet.
func (s *Session) IsNew() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == fresh
}

// Created is when the session began, to the millisecond. KoaCompat does not
// store it: there it is when this request saw the session first.
func (s *Session) Created() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.UnixMilli(s.stored.Created)
}

// Get returns the value under name as encoding/json decodes it into an any,
// nil if there is none. See [Key] for typed access.
func (s *Session) Get(name string) any { return Key[any](name).Get(s) }

// Set keeps v under name: see [Key.Set].
func (s *Session) Set(name string, v any) error { return Key[any](name).Set(s, v) }

// Delete removes the value under name: see [Key.Delete].
func (s *Session) Delete(name string) error { return Key[any](name).Delete(s) }

// Names returns the names of all values in the order in which they came into
// the session.
func (s *Session) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	members, _ := s.values()
	names := make([]string, len(members))
	for i := range members {
		names[i] = string(members[i].Name)
	}
	return names
}

// JSON returns all values as one JSON object, without the session's cookie
// options and metadata. The caller owns the slice.
func (s *Session) JSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	members, err := s.values()
	if err != nil {
		return nil, err
	}
	return append(jsontext.AppendMembers([]byte{'{'}, members), '}'), nil
}

// values returns the values as they are now. mu is held.
func (s *Session) values() ([]jsontext.Member, error) {
	var bad error
	var members []jsontext.Member
	if !s.cleared {
		stored, err := s.stored.All()
		if err != nil {
			return nil, err
		}
		members = slices.Clone(stored)
	}
	now := record.TableOf(members)
	for _, e := range s.edits {
		if err := e.settle(); err != nil && bad == nil {
			bad = err
		}
		if e.own {
			now.Put(e.name, e.raw)
		}
	}
	return now.Left(), bad
}

// Replace drops all values and takes those of values, which encoding/json
// must make a JSON object of: a map or a struct. The session's id and cookie
// options stay. On an error nothing is changed, and nothing of this request is
// saved until a Replace succeeds.
func (s *Session) Replace(values any) error {
	members, err := membersOf(values)
	if errors.Is(err, errReserved) {
		return err
	}
	return s.replace(members, err)
}

// membersOf encodes the values of a whole session.
func membersOf(values any) ([]jsontext.Member, error) {
	raw, err := jsontext.Encode(values)
	if err != nil {
		return nil, misused("session: the values can't be encoded: %w", err)
	}
	members, ok := jsontext.ParseObject(raw, nil)
	if !ok {
		return nil, misused("session: the values are no JSON object: give a map or a struct")
	}
	for i := range members {
		if record.Reserved(string(members[i].Name)) {
			return nil, misused("session: %w", errReserved)
		}
	}
	return members, nil
}

// replace makes members the values, unless making them failed with err.
func (s *Session) replace(members []jsontext.Member, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if err == nil {
		err = s.fitsAll(members)
	}
	if s.outcome(callReplace, "", err) != nil {
		return err
	}
	// The values that could not be encoded are among those that go.
	s.failed = s.failed.drop(func(f failedCall) bool { return f.call == callSet })
	s.cleared = true
	s.replaceRev++
	s.baseRev++
	s.edits, s.many = nil, nil
	for i := range members {
		s.edits = append(s.edits, &edit{name: string(members[i].Name), own: true, assigned: true, raw: members[i].Raw})
	}
	return nil
}

// Cookie returns the complete cookie options of this session: the
// configuration, and what SetCookie chose for it. How long it lives in the end
// says [Session.Lifetime].
func (s *Session) Cookie() CookieOptions {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cookieOptions()
}

func (s *Session) cookieOptions() CookieOptions {
	m := s.visit.manager
	switch {
	case s.own == nil:
		return m.config
	case s.own == m.blank:
		return m.blankOptions
	case s.options == nil:
		all := m.dialect.withOwn(m.config, s.own)
		s.options = &all
	}
	return *s.options
}

// setOwn makes own the cookie options of s. complete are the complete ones, nil
// if they are not known. mu is held, or nobody has s yet.
func (s *Session) setOwn(own *record.Cookie, complete *CookieOptions) {
	if own != s.own || complete != nil {
		s.own, s.options = own, complete
	}
}

// SetCookie gives this session cookie options of its own, kept with it and
// used for its cookies and its life in the store from now on:
//
//	c := s.Cookie()
//	c.Partitioned = true
//	err := s.SetCookie(c)
//
// Zero fields mean the configuration. Another MaxAge or Expires replaces the life
// that a login or SetLifetime has given the session; Options.AbsoluteTimeout holds
// all the same. For a login there is LoginOptions.Remember. It is an error, and
// changes nothing, if browsers would refuse such a cookie, and for another MaxAge
// under a second or an Expires more than 400 days ahead.
func (s *Session) SetCookie(c CookieOptions) error {
	m := s.visit.manager
	if c.MaxAge > 0 && !m.o.koa {
		c.Expires = time.Time{}
	}
	c = c.or(m.config)
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.cookieOptions()
	err := c.checkLife(&was)
	if err == nil {
		err = c.check(m.o.Name)
	}
	if err != nil {
		return misused("session: Session.SetCookie: %w", err)
	}
	if err := s.writable(); err != nil {
		return err
	}
	if c == was {
		return nil
	}
	if was.scope() != c.scope() && s.state != fresh && m.dialect.recordsTime() {
		s.visit.left = &leftScope{was, s.visit.left}
	}
	own := m.dialect.override(m.config, c, s.own)
	if c.MaxAge == was.MaxAge && c.Expires == was.Expires {
		own = withLife(own, s.own.Lives())
	}
	s.setOwn(own, &c)
	s.ownSet = true
	s.cookieRev++
	return nil
}

// SetSaveMode forces or forbids the saving of this session in this request.
func (s *Session) SetSaveMode(w SaveMode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.apart {
		s.save = w
	}
}

// writable says why the session can't be changed any more. mu is held.
func (s *Session) writable() error {
	switch {
	case s.sealed.Load():
		return ErrCommitted
	case s.state == destroyed:
		return ErrGone
	}
	return nil
}

// reset makes s a new empty session. mu is held, or nobody has s yet.
func (s *Session) reset() {
	m := s.visit.manager
	s.entry = entry{stored: record.Record{Created: time.Now().UnixMilli()}, wrote: s.wrote, lasts: s.lasts}
	s.edits, s.many, s.cleared = nil, nil, false
	s.replaceRev++
	s.baseRev++
	s.cookieRev++
	s.setOwn(m.blank, nil)
	s.ownSet = false
	s.login, s.failed = nil, nil
}

// A manyEdits finds edits by their name and knows how much they weigh, lest a
// request that sets thousands of values costs their square.
type manyEdits struct {
	byName map[string]weighed
	weight int // of all
}

type weighed struct {
	edit   *edit
	weight int
}

// fewEdits are looked through one by one.
const fewEdits = 8

// index returns the manyEdits of s, nil while there are few. mu is held.
func (s *Session) index() *manyEdits {
	if s.many == nil && len(s.edits) > fewEdits {
		s.many = &manyEdits{byName: make(map[string]weighed, 2*len(s.edits))}
		for _, e := range s.edits {
			s.many.add(e)
		}
	}
	return s.many
}

// add takes e in, or weighs it anew.
func (m *manyEdits) add(e *edit) {
	w := e.weight()
	m.weight += w - m.byName[e.name].weight
	m.byName[e.name] = weighed{e, w}
}

// weight is how many bytes of a record e takes, if it is stored.
func (e *edit) weight() int {
	if !e.own || e.raw == nil {
		return 0
	}
	return len(e.name) + len(e.raw) + len(`"":,`)
}

// fits returns ErrTooLarge if what this request has set is too large with raw as the
// value of name: whatever else is stored, no record can have it. mu is held.
func (s *Session) fits(name string, raw []byte) error {
	limit, weight := s.visit.manager.o.MaxSize, len(name)+len(raw)
	if many := s.index(); many != nil {
		weight += many.weight - many.byName[name].weight
	} else {
		for _, e := range s.edits {
			if e.name != name {
				weight += e.weight()
			}
		}
	}
	if weight > limit {
		return misused("%w: with the value of %q it has more than %d bytes, the Options.MaxSize", ErrTooLarge, name, limit)
	}
	return nil
}

// fitsAll is fits for all values at once.
func (s *Session) fitsAll(members []jsontext.Member) error {
	weight := 0
	for i := range members {
		weight += len(members[i].Name) + len(members[i].Raw) + len(`"":`)
	}
	if limit := s.visit.manager.o.MaxSize; weight > limit {
		return misused("%w: the values have more than %d bytes, the Options.MaxSize", ErrTooLarge, limit)
	}
	return nil
}

// weigh notes that e has changed. mu is held.
func (s *Session) weigh(e *edit) {
	if s.many != nil {
		s.many.add(e)
	}
}

// edit returns what the request did with name, nil for nothing. mu is held.
func (s *Session) edit(name string) *edit {
	if len(s.edits) == 0 { // as in most requests
		return nil
	}
	return s.editAmong(name)
}

func (s *Session) editAmong(name string) *edit {
	if many := s.index(); many != nil {
		return many.byName[name].edit
	}
	for _, e := range s.edits {
		if e.name == name {
			return e
		}
	}
	return nil
}

// editFor returns the edit of name, made if there is none. mu is held.
func (s *Session) editFor(name string) *edit {
	e := s.edit(name)
	if e == nil {
		if s.edits == nil { // mostly it stays the only one
			only := new(struct {
				edit   edit
				list   [1]*edit
				change [1]valueChange
			})
			only.edit.name, only.edit.change = name, &only.change
			only.list[0] = &only.edit
			s.edits = only.list[:]
			return &only.edit
		}
		e = &edit{name: name}
		if s.edits = append(s.edits, e); s.many != nil {
			s.many.add(e)
		}
	}
	return e
}

// raw returns the JSON under name as it is now, nil if there is none; e is
// its edit or nil. What the handler holds is looked at first. mu is held.
func (s *Session) raw(name string, e *edit) ([]byte, error) {
	if e != nil {
		if err := e.settle(); err != nil {
			return nil, err
		}
		if e.own {
			return e.raw, nil
		}
	}
	if s.cleared {
		return nil, nil
	}
	return s.stored.Find(name)
}

// settle takes over what the handler changed in place (K22).
func (e *edit) settle() error {
	if e.held == nil {
		return nil
	}
	changed, err := e.takes(e.held)
	switch {
	case err != nil:
		return err
	case changed:
		e.gave = nil
	case e.gave != nil:
		if changed, err = e.takes(e.gave); changed {
			e.held, e.gave, e.given = e.gave, nil, true
		}
	}
	return err
}

// takes assigns what is in h, if that has changed.
func (e *edit) takes(h holder) (changed bool, err error) {
	now, err := h.encode()
	if err != nil {
		return false, err
	}
	if bytes.Equal(now, e.from) {
		return false, nil
	}
	// The stored text may spell the same value in another way.
	if before, err := h.again(e.from); err == nil && bytes.Equal(now, before) {
		return false, nil
	}
	was := e.loaded
	e.assign(now)
	e.from, e.loaded = now, was
	return true, nil
}

// letGo makes that what the handler holds is not looked at any more.
func (e *edit) letGo() { e.held, e.gave = nil, nil }

// add notes one more update. first is used once: what a save took with it may
// still look at it.
func (e *edit) add(u update) {
	if e.updates == nil && e.first[0] == nil {
		e.updates = e.first[:0]
	}
	e.updates = append(e.updates, u)
}

// assign makes raw the value, whatever it was.
func (e *edit) assign(raw []byte) {
	e.own, e.assigned, e.raw, e.updates, e.loaded = true, true, raw, nil, false
	e.turn++
	e.assigns++
}

// String does not show what is in the session.
func (s *Session) String() string { return "session" }

// GoString does not show what is in the session.
func (s *Session) GoString() string { return "session" }

// Format does not show what is in the session, under any verb.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session")) }

// LogValue does not show what is in the session.
func (s *Session) LogValue() slog.Value { return slog.StringValue("session") }
