package core

import (
	"context"
	"errors"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// Take removes the value and returns it, the zero T if there is none: for a message
// that is shown once, or a token that works once. Of all requests that take the
// same value at most one gets it.
//
// Take writes at once, which is one more round trip, and only where there is a value
// that is stored. It saves the removal alone: no other change of the request, and
// without Hooks.BeforeSave; a panic or an error of the handler does not bring the
// value back. A value that this request has set and not saved is just removed.
//
// After an error the request has not got the value. After [ErrOutcomeUnknown] it may
// be gone all the same. The error is [ErrType] if the stored value does not decode
// into T, and errors.ErrUnsupported if the store has no versions ([Swapper]). In
// both cases, and with SaveNever, the value stays.
func (k Key[T]) Take(ctx context.Context, s *Session) (T, error) {
	var v T
	err := k.nameable()
	if err == nil {
		err = s.takeOut(ctx, string(k), func(raw []byte) (err error) {
			var zero T
			if v = zero; raw == nil {
				return nil
			}
			if v, err = jsontext.Decode[T](raw); err != nil {
				err = k.fault(err)
			}
			return err
		})
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

var (
	errTakeVersions = misused("session: Take needs a store with versions (core.Swapper): %w", errors.ErrUnsupported)
	errTakeNever    = misused("session: Take removes at once, which SaveNever forbids")
	errTakeDoubt    = misused("%w: an earlier save of this request had no answer, and may come yet", ErrOutcomeUnknown)
)

// takeOut removes a value. use gets what it was just before, as often as the removal
// is tried: the last time counts.
func (s *Session) takeOut(ctx context.Context, name string, use func(raw []byte) error) error {
	v, m := s.visit, s.visit.manager
	if m.swapper == nil {
		return errTakeVersions
	}
	if _, err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	if s.loadErr != nil {
		return s.loadErr
	}
	ctx = withoutCancel(ctx)
	if err := v.whole(ctx, false); err != nil {
		return err
	}
	if err := v.resolve(ctx); err != nil {
		return v.untaken(ctx, err)
	}
	e, c, err := s.taking(name, use)
	if err != nil || c.values == nil {
		return err
	}
	taken := true
	c.values[0].updates = append(c.values[0].updates, func(raw []byte) ([]byte, error) {
		taken = raw != nil // else another request was first
		return nil, use(raw)
	})
	err = m.write(ctx, &e, &c)
	v.tellConflict(ctx, &e)
	if err != nil {
		s.mu.Lock()
		s.entry = e // with what it has learned, such as a write in doubt
		s.mu.Unlock()
		return v.untaken(ctx, err)
	}
	s.saved(&c, &e)
	if taken {
		if !v.jar.Begun() {
			_ = v.send(ctx, false) // what fails is told, and the value is out
		}
		v.tell(ctx, e.id, Event{Kind: EventSaved})
	}
	return nil
}

// taking removes a value that is not stored, or returns the change that removes one
// that is. There is none if there is no value.
func (s *Session) taking(name string, use func(raw []byte) error) (e entry, c changeSet, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err = s.writable(); {
	case err != nil:
		return e, c, err
	case s.save == SaveNever:
		return e, c, errTakeNever
	case s.unknownWrite != nil: // it may have stored what this request has set
		return e, c, errTakeDoubt
	}
	of := s.edit(name)
	raw, err := s.raw(name, of)
	if err == nil && raw != nil {
		err = use(raw)
	}
	if err != nil || raw == nil {
		return e, c, err
	}
	of = s.editFor(name)
	if s.cleared || s.state == fresh || of.own && of.assigned && !of.loaded {
		_ = s.outcome(callSet, name, nil)
		of.assign(nil)
		s.weigh(of)
		of.letGo()
		return e, c, nil
	}
	change := valueChange{name: name, edit: of, past: of.past, turn: of.turn, assigns: of.assigns, steps: uint32(len(of.updates)), assigned: true} // #nosec G115 -- the calls of one request
	if !of.assigned {
		change.updates = of.updates[:len(of.updates):len(of.updates)]
	}
	c = changeSet{values: []valueChange{change}, replaceRev: s.replaceRev, cookieRev: s.cookieRev, why: taking}
	if s.ownSet { // which stays to be saved
		c.cookieRev--
	}
	return s.entry, c, nil
}

// untaken is what follows from the error of a Take.
func (v *Visit) untaken(ctx context.Context, err error) error {
	failed := v.unsaved(ctx, err, false)
	switch {
	case failed != nil:
		return failed
	case errors.Is(err, errExpired):
		return &Error{OpSet, ErrGone}
	}
	return &Error{OpSet, err} // whatever the hook says: nothing was taken
}
