package core

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// An EventKind says what an [Event] is about. Its text is a few words, which suit
// as the label of a metric.
type EventKind string

// The kinds. Options.Logger gets each as one message, at the level that stands
// behind it.
const (
	EventCreated  EventKind = "created"   // debug: a new session was stored
	EventLoaded   EventKind = "loaded"    // debug: the session of a request was found
	EventSaved    EventKind = "saved"     // debug: a stored session was changed
	EventRenewed  EventKind = "renewed"   // info: Renew, or RenewAfter as Why then says, has given it a new id, and saved it
	EventLoggedIn EventKind = "logged in" // info: a login has given it a new id, and saved it

	EventLoggedOut  EventKind = "logged out"  // info: Destroy has ended it
	EventEnded      EventKind = "ended"       // info: it was ended otherwise; Why says by what
	EventExpired    EventKind = "expired"     // info: its time is over; Why says which. What only the store's ttl ends is EventUnknownID
	EventInvalid    EventKind = "invalid"     // info: Hooks.Valid has refused it
	EventNotRevoked EventKind = "not revoked" // warning: ending it failed, and the store may still have it

	EventUnknownID     EventKind = "unknown id"     // debug: the store has no session of the id, or none any more
	EventCookieRefused EventKind = "cookie refused" // warning: the session cookie does not count; Why says why not
	EventUnreadable    EventKind = "unreadable"     // warning: what is stored is no session
	EventForeign       EventKind = "foreign record" // warning: the store has returned the record of another key

	EventConflict EventKind = "conflict" // debug: a save met those of other requests, and was tried again
	EventGone     EventKind = "gone"     // debug: another request has ended it, and nothing was saved
	EventFailed   EventKind = "failed"   // warning: another operation has failed; debug after EventStoreDown or EventStoreFailing, or if another request was the cause

	EventAbandoned     EventKind = "abandoned"     // debug: the handler has panicked or not returned, and nothing was saved
	EventUnchecked     EventKind = "unchecked"     // warning: what the handler can change in place was not looked at, and such changes are not saved; Why says why not
	EventMisconfigured EventKind = "misconfigured" // warning, once for each reason: by the way that requests come sessions are lost, or cookies unsafe, or by what TTLFunc returns; Why says the remedy

	// Those of the store that Options.Migrate takes sessions from have "Options.Migrate.From" as Why.

	EventStoreDown    EventKind = "store down"    // warning: Err says why, if the store tells (Causer)
	EventStoreUp      EventKind = "store up"      // info: Lasted and Waited are about the outage that is over
	EventStoreFailing EventKind = "store failing" // warning: calls fail though the store is up, such as those to one of several servers; once, until they work again
)

// An Event is something that has happened to a session or to the store, for
// [Hooks].Event. It contains no id, no key of the store and no value.
type Event struct {
	Kind EventKind
	// Session is that of the request. It is nil if there is none, as for events
	// of the store and of the methods of [Manager] by id.
	Session *Session
	// ID is the fingerprint of the session's id, as [ID.String] returns it, ""
	// if no id is known.
	ID string
	// Former is the fingerprint of the id that ID replaces, for EventRenewed and
	// EventLoggedIn; "" if the session began with that login.
	Former string
	// Why is a constant text, for the kinds that say so.
	Why string
	// Err is what has failed, nil if nothing has. It is an [*Error], except for
	// events of the store.
	Err error
	// Lasted is how long the store was down, and Waited how many requests waited
	// for it. Both are for EventStoreUp.
	Lasted time.Duration
	Waited int
}

// listens reports whether anybody wants events. Most requests ask this once.
func (m *Manager) listens() bool { return m.o.Hooks.Event != nil || m.o.Logger != nil }

// level is that of e for the Logger.
func (m *Manager) level(e *Event) slog.Level {
	switch e.Kind {
	case EventRenewed, EventLoggedIn, EventLoggedOut, EventEnded, EventExpired, EventInvalid, EventStoreUp:
		return slog.LevelInfo
	case EventMisconfigured, EventNotRevoked, EventCookieRefused, EventUnreadable, EventForeign, EventUnchecked, EventStoreDown, EventStoreFailing:
		return slog.LevelWarn
	case EventFailed:
		switch {
		case m.health.failing(), m.old != nil && m.old.health.failing() && errors.Is(e.Err, ErrUnavailable):
			return slog.LevelDebug // EventStoreDown or EventStoreFailing has told it
		case errors.Is(e.Err, ErrConflict), errors.Is(e.Err, ErrGone):
			return slog.LevelDebug
		}
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// tell passes e, about the session of id, to the Logger and the hook. v is the
// visit that it happened in, nil for none. No lock is held, and no place in a queue,
// but Session.op, which the event waits for: see acts.
func (m *Manager) tell(ctx context.Context, v *Visit, id ID, e Event) {
	if !m.listens() {
		return
	}
	hook, l := m.o.Hooks.Event, m.o.Logger
	level := m.level(&e)
	logs := l != nil && l.Enabled(ctx, level)
	if !logs && hook == nil {
		return
	}
	if id != "" {
		e.ID = id.String()
	}
	u := untold{ctx: ctx, event: e, level: level, logs: logs}
	if v == nil || v.session == nil || !v.session.tellsLater(u) {
		u.tellOne(m, v)
	}
}

// An untold is an event that waits until what it is about is done: see acts.
type untold struct {
	ctx   context.Context
	event Event
	level slog.Level
	logs  bool
	next  *untold
}

// tellsLater keeps u for exit, if somebody will call that.
func (s *Session) tellsLater(u untold) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.acting {
		return false
	}
	last := &s.untold
	for *last != nil {
		last = &(*last).next
	}
	kept := u
	*last = &kept
	return true
}

// tell tells u, which may be nil, and those behind it, also if a hook panics.
func (u *untold) tell(v *Visit) {
	if u == nil {
		return
	}
	defer u.next.tell(v)
	u.tellOne(v.manager, v)
}

// tellOne tells u to the Logger and the hook. What a hook causes itself, such as that
// it can't decode a value, it is not told, or it would be called for ever.
func (u *untold) tellOne(m *Manager, v *Visit) {
	if v == nil || v.session == nil {
		u.log(m)
		u.callHook(m)
		return
	}
	if v.session.within("runHook") {
		u.log(m)
		return
	}
	u.event.Session = v.session
	_, _ = v.runHook(func() (bool, error) {
		u.log(m)
		u.callHook(m)
		return true, nil
	})
}

// callHook calls Hooks.Event, unless that has caused u itself, by a method of the Manager
// or another visit.
func (u *untold) callHook(m *Manager) {
	hook := m.o.Hooks.Event
	if hook == nil || m.telling.Load() > 0 && onStack("/core.(*untold).callHook") {
		return
	}
	m.telling.Add(1)
	defer m.telling.Add(-1)
	hook(u.ctx, u.event)
}

func (u *untold) log(m *Manager) {
	if u.logs {
		m.o.Logger.LogAttrs(u.ctx, u.level, "session "+string(u.event.Kind), u.event.attrs()...)
	}
}

// attrs are those of the message.
func (e *Event) attrs() []slog.Attr {
	var attrs []slog.Attr
	for _, a := range []struct{ name, text string }{{"session", e.ID}, {"former", e.Former}, {"why", e.Why}} {
		if a.text != "" {
			attrs = append(attrs, slog.String(a.name, a.text))
		}
	}
	if e.Kind == EventStoreUp {
		attrs = append(attrs, slog.Duration("after", e.Lasted), slog.Int("waited", e.Waited))
	}
	err := e.Err
	if of, ok := err.(*Error); ok {
		attrs, err = append(attrs, slog.String("op", string(of.Op))), of.Err
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	return attrs
}

// whyFrom is the Why of events of the store that sessions are taken over from.
const whyFrom = "Options.Migrate.From"

// storeChanged returns what tells of a change of a store, and of what has made it go
// down, on a goroutine of its own; nil if nobody listens. The store that sessions are
// taken over from has whyFrom as why.
func (m *Manager) storeChanged(why string) func(now storeState, cause func() error) {
	if !m.listens() {
		return nil
	}
	return func(now storeState, cause func() error) {
		if why == whyFrom && !now.up && !m.migrates() {
			return // nobody asks it any more
		}
		e := Event{Kind: EventStoreDown, Why: why, Err: now.cause, Lasted: now.lasted, Waited: now.waited}
		switch {
		case now.partial:
			e.Kind = EventStoreFailing
		case now.up:
			e.Kind = EventStoreUp
		default:
			m.alone(func() { e.Err = cause() })
		}
		m.alone(func() { m.tell(context.Background(), nil, "", e) })
	}
}

// tell is that of the manager, in this visit.
func (v *Visit) tell(ctx context.Context, id ID, e Event) { v.manager.tell(ctx, v, id, e) }

// tellFormer is tell with the id that id replaces.
func (v *Visit) tellFormer(ctx context.Context, id, former ID, e Event) {
	if former != "" && v.manager.listens() {
		e.Former = former.String()
	}
	v.tell(ctx, id, e)
}

// report tells of a failure and asks Hooks.Error what becomes of it, whose result
// it returns.
func (v *Visit) report(ctx context.Context, op Op, err error) error {
	e := v.failed(ctx, op, err)
	if v.manager.o.Hooks.Error != nil && !left(ctx, err) {
		return v.decide(ctx, e)
	}
	return e
}

// decide calls Hooks.Error. What it can't decode itself is left to it.
func (v *Visit) decide(ctx context.Context, e *Error) error {
	if v.session.within("ask") {
		return e
	}
	return v.ask(ctx, e)
}

// ask calls it in a session, whose stored values it may use.
func (v *Visit) ask(ctx context.Context, e *Error) (failed error) {
	_, failed = v.runHook(func() (bool, error) { return true, v.manager.o.Hooks.Error(ctx, e) })
	return failed
}

// left reports whether err is that the caller has gone: that is no failure, and
// nobody is there to decide for.
func left(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled)
}

// failAlways is report for failures that the hook can't suppress: a caller that
// continued after a failed Renew would log in under the old id.
func (v *Visit) failAlways(ctx context.Context, op Op, err error) error {
	if failed := v.report(ctx, op, err); failed != nil {
		return failed
	}
	return &Error{Op: op, Err: err}
}

// note is report for failures that fail the operation only if the hook wants it:
// one that logs them and returns what it was given changes nothing.
func (v *Visit) note(ctx context.Context, op Op, err error) error {
	e := v.failed(ctx, op, err)
	if v.manager.o.Hooks.Error == nil || left(ctx, err) {
		return nil
	}
	if failed := v.decide(ctx, e); !errors.Is(failed, e) {
		return failed
	}
	return nil
}

// failed tells of a failure, and returns it.
func (v *Visit) failed(ctx context.Context, op Op, err error) *Error {
	e := &Error{Op: op, Err: err}
	kind := EventFailed
	switch {
	case left(ctx, err):
		v.manager.debug(ctx, "session operation ended, since the client has gone", slog.String("op", string(op)))
		return e
	case errors.Is(err, ErrGone):
		kind = EventGone
	case op == OpDestroy:
		kind = EventNotRevoked
	case op == OpGet && errors.Is(err, record.ErrForeign):
		kind = EventForeign
	case op == OpGet && errors.Is(err, ErrCorrupt):
		kind = EventUnreadable
	}
	if v.manager.listens() {
		v.tell(ctx, v.knownID(), Event{Kind: kind, Err: e})
	}
	return e
}

// Tell tells of an error of a handler that is answered with a status alone, so that
// nobody else sees its cause: it is an EventFailed with [OpHandler]. Errors that
// were told when they happened are left out. It decides nothing.
func (v *Visit) Tell(ctx context.Context, err error) {
	if err == nil {
		return
	}
	_, told := errors.AsType[*Error](err)
	if _, is := errors.AsType[unheard](err); !told || is {
		v.failed(ctx, OpHandler, err)
	}
}

// unheard is the cause of an [Error] that was not told when it happened: that of a
// method of the Manager which has no request, and whose caller may do without the
// outcome. If a handler returns it, Tell tells it.
type unheard struct{ error }

func (u unheard) Unwrap() error { return u.error }

// quietly returns an Error that is not told, unless a handler returns it.
func quietly(op Op, err error) *Error { return &Error{Op: op, Err: unheard{err}} }

// knownID is the session's id, "" if it has none.
func (v *Visit) knownID() ID {
	s := v.session
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}
