package core

import (
	"errors"
	"reflect"
	"unicode/utf8"

	"github.com/gensession/gensession/core/internal/jsontext"
	"github.com/gensession/gensession/core/internal/record"
)

// A Key is the name of a session value and its type:
//
//	const visits core.Key[int] = "visits"
//
// Declare keys once, where the values are used. T is anything that
// encoding/json can encode and decode; a custom Marshaler must not use the
// session.
type Key[T any] string

// Get returns the value, the zero T if there is none. If the stored value does
// not decode into T, Get returns the zero T, leaves the stored value unchanged,
// and reports the error to Hooks.Error; [Key.Lookup] returns it.
//
// A value of this request is as the next one will get it: where JSON does not bring
// back what Set was given, such as a struct in an any, an unexported field or the
// location of a time, Get after Set returns what JSON makes of it.
func (k Key[T]) Get(s *Session) T {
	v, _, err := k.Lookup(s)
	if err != nil {
		_ = s.visit.note(s.ctx, OpDecode, err)
	}
	return v
}

// Lookup returns the value and whether there is one. It returns [ErrType] if the
// stored value does not decode into T, as after a deployment that has changed T.
// The value can then be read by a Key of the former type under the same name, and
// replaced by Set.
func (k Key[T]) Lookup(s *Session) (v T, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.edit(string(k))
	if e != nil && e.held != nil {
		if h, ok := e.held.(*held[T]); ok && !e.given {
			return h.v, true, nil // every Get returns the same value
		}
	}
	raw, err := s.raw(string(k), e)
	if err != nil || raw == nil {
		return v, false, err
	}
	if v, err = jsontext.Decode[T](raw); err != nil {
		var zero T
		return zero, false, k.fault(err)
	}
	if !plain(&v) && jsontext.Changeable(v) && s.deadline.Load() != letGone {
		e = s.editFor(string(k))
		e.gave = nil
		if h, ok := e.held.(*held[T]); ok { // which was given
			if e.given = false; reflect.DeepEqual(h.v, v) {
				return h.v, true, nil
			}
			e.gave = h
		}
		e.held, e.from, e.loaded, e.given = &held[T]{v}, raw, e.loaded || !e.own, false
	}
	return v, true, nil
}

// Set sets the value to v. It returns an error and changes nothing if v can't be
// encoded, if the values that this request has set exceed Options.MaxSize with it
// ([ErrTooLarge]), if the name is reserved or not UTF-8, or if the session is
// committed or destroyed. After a Set whose value can't be encoded or is too large
// the commit fails and saves nothing, unless a later Set or Delete of the name
// succeeds. Setting the stored value again is not a change.
func (k Key[T]) Set(s *Session, v T) error {
	if err := k.nameable(); err != nil {
		return err
	}
	raw, err := k.encode(v)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if err == nil {
		err = s.fits(string(k), raw)
	}
	if s.outcome(callSet, string(k), err) != nil {
		return err
	}
	e := s.editFor(string(k))
	e.assign(raw)
	s.weigh(e)
	hold(s, e, v)
	return nil
}

// Update replaces the value with the result of f, and returns it. f gets the
// current value, the zero T if there is none.
//
// f may run more than once, each time on the current value: again if another
// goroutine of this request changed the value meanwhile, and again at the commit
// if another request did. So no update is lost: a hundred requests that add one
// add a hundred. f must depend only on its argument, which it may change, and
// must not use the session. Update returns the errors of Set, and [ErrType] if
// the stored value does not decode into T; it then changes nothing.
func (k Key[T]) Update(s *Session, f func(T) T) (T, error) {
	if err := k.nameable(); err != nil {
		var zero T
		return zero, err
	}
	for {
		s.mu.Lock()
		err := s.writable()
		e := s.edit(string(k))
		var raw []byte
		var turn uint32
		if err == nil {
			raw, err = s.raw(string(k), e)
		}
		if e != nil {
			turn = e.turn
		}
		base := s.baseRev
		s.mu.Unlock()
		if err != nil {
			var zero T
			return zero, err
		}

		v, raw, err := k.update(raw, f)
		if err != nil {
			if !errors.Is(err, ErrType) {
				s.mu.Lock()
				_ = s.outcome(callSet, string(k), err)
				s.mu.Unlock()
			}
			var zero T
			return zero, err
		}
		again := func(raw []byte) ([]byte, error) {
			_, raw, err := k.update(raw, f)
			return raw, err
		}
		done, err := k.updated(s, base, turn, v, raw, again)
		if err != nil {
			var zero T
			return zero, err
		}
		if done {
			return v, nil
		}
	}
}

// update applies f to an encoded value.
func (k Key[T]) update(raw []byte, f func(T) T) (T, []byte, error) {
	v, err := jsontext.Decode[T](raw)
	if err != nil {
		return v, nil, k.fault(err)
	}
	v = f(v)
	raw, err = k.encode(v)
	return v, raw, err
}

// updated stores the result of an Update, unless the value has changed since base
// and turn. It reports whether it stored the result.
func (k Key[T]) updated(s *Session, base, turn uint32, v T, raw []byte, again update) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return false, err
	}
	e := s.editFor(string(k))
	if s.baseRev != base || e.turn != turn {
		return false, nil
	}
	if err := s.outcome(callSet, string(k), s.fits(string(k), raw)); err != nil {
		return false, err
	}
	if !e.own {
		e.own, e.assigned = true, s.cleared // then it comes from nothing
	}
	e.raw = raw
	e.add(again)
	e.turn++
	s.weigh(e)
	hold(s, e, v)
	return true, nil
}

// Delete removes the value. Deleting a missing value is not a change.
func (k Key[T]) Delete(s *Session) error {
	if record.Reserved(string(k)) {
		return misused("session: %w", errReserved)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	_ = s.outcome(callSet, string(k), nil)
	e := s.editFor(string(k))
	e.assign(nil)
	s.weigh(e)
	e.letGo()
	return nil
}

// nameable returns an error if there can be no value under k.
func (k Key[T]) nameable() error {
	if record.Reserved(string(k)) {
		return misused("session: %w", errReserved)
	}
	if !utf8.ValidString(string(k)) {
		return errName // JSON would store the value under another name
	}
	return nil
}

func (k Key[T]) encode(v T) ([]byte, error) {
	raw, err := jsontext.Encode(v)
	if err != nil {
		return nil, misused("session: the value of %q can't be encoded: %w", string(k), err)
	}
	return raw, nil
}

// fault returns an ErrType without the text of encoding/json, which may quote the
// stored value.
func (k Key[T]) fault(error) error {
	return misused("session: %w: %q does not decode into %v", ErrType, string(k), reflect.TypeFor[T]())
}

// held is a value of type T that a handler may change in place.
type held[T any] struct{ v T }

func (h *held[T]) encode() ([]byte, error) { return jsontext.Encode(h.v) }

func (h *held[T]) again(raw []byte) ([]byte, error) {
	v, err := jsontext.Decode[T](raw)
	if err != nil {
		return nil, err
	}
	return jsontext.Encode(v)
}

// hold records that the handler has v, if it can change v in place.
func hold[T any](s *Session, e *edit, v T) {
	e.letGo()
	if !plain(&v) && jsontext.Changeable(v) && s.deadline.Load() != letGone {
		e.held, e.from, e.given = &held[T]{v}, e.raw, true
	}
}

// plain reports whether T is a common type that can't be changed in place. It
// avoids reflection and an allocation for them.
func plain[T any](v *T) bool {
	switch any(v).(type) {
	case *string, *bool, *int, *int64, *float64:
		return true
	}
	return false
}
