package core

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// A Key is the name of a session value and its type:
//
//	const visits core.Key[int] = "visits"
//
// Declare keys once, where the values are used. T is anything that
// encoding/json can encode and decode; a custom Marshaler must not use the
// session.
type Key[T any] string

// Get returns the value, the zero T if there is none. A stored value of
// another type is left as it is, reads as zero, and is reported through
// Hooks.Error; [Key.Lookup] tells them apart.
func (k Key[T]) Get(s *Session) T {
	v, _, err := k.Lookup(s)
	if err != nil {
		_ = s.visit.manager.mention(s.ctx, OpDecode, err)
	}
	return v
}

// Lookup returns the value and whether there is one. It is an error if what is
// stored is no T, or T can't hold it.
func (k Key[T]) Lookup(s *Session) (v T, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.edit(string(k))
	if e != nil && e.held != nil {
		if h, ok := e.held.(*held[T]); ok {
			return h.v, true, nil // the same value at every Get
		}
	}
	raw, err := s.raw(string(k), e)
	if err != nil || raw == nil {
		return v, false, err
	}
	if v, err = decode[T](raw); err != nil {
		return v, true, k.fault(err)
	}
	if !plain(&v) && changeable(v) {
		e = s.editFor(string(k))
		e.held, e.from = &held[T]{v}, raw
	}
	return v, true, nil
}

// Set keeps v. It is an error, and changes nothing, if v can't be encoded, the
// name is reserved or no UTF-8, or the session is committed or destroyed. A
// value that can't be encoded also fails the commit, which saves nothing, until
// a Set or Delete of the name succeeds. A value equal to the one that is stored
// is no change.
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
	if s.outcome(callSet, string(k), err) != nil {
		return err
	}
	e := s.editFor(string(k))
	e.assign(raw)
	hold(e, v)
	return nil
}

// Update replaces the value with f of it; f gets the zero T if there is none.
// It returns the new value.
//
// f may run more than once, each time with the value as it is then: when
// another goroutine of this request changed it meanwhile, and at the commit
// when another request did. So no update is lost: a hundred requests that add
// one add a hundred. f must depend on its argument alone, must not use the
// session, and may change its argument. Update fails as Set does, and if what
// is stored is no T; then nothing is changed.
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
		base := s.bases
		s.mu.Unlock()
		if err != nil {
			var zero T
			return zero, err
		}

		v, raw, err := k.update(raw, f)
		if err != nil {
			if !errors.Is(err, errType) {
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
		if done, err := k.updated(s, base, turn, v, raw, again); done || err != nil {
			return v, err
		}
	}
}

// update is f on encoded values.
func (k Key[T]) update(raw []byte, f func(T) T) (T, []byte, error) {
	v, err := decode[T](raw)
	if err != nil {
		return v, nil, k.fault(err)
	}
	v = f(v)
	raw, err = k.encode(v)
	return v, raw, err
}

// updated takes the result of an Update over, unless the value has changed
// since that base and turn.
func (k Key[T]) updated(s *Session, base, turn uint32, v T, raw []byte, again update) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return false, err
	}
	e := s.editFor(string(k))
	if s.bases != base || e.turn != turn {
		return false, nil
	}
	_ = s.outcome(callSet, string(k), nil)
	if !e.own {
		e.own, e.assigned = true, s.cleared // then it comes from nothing
	}
	e.raw = raw
	e.add(again)
	e.turn++
	hold(e, v)
	return true, nil
}

// Delete removes the value. Deleting what is not there is no change.
func (k Key[T]) Delete(s *Session) error {
	if reserved(string(k)) {
		return fmt.Errorf("session: %w", errReserved)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	_ = s.outcome(callSet, string(k), nil)
	e := s.editFor(string(k))
	e.assign(nil)
	e.held = nil
	return nil
}

// nameable says why there can be no value under k.
func (k Key[T]) nameable() error {
	if reserved(string(k)) {
		return fmt.Errorf("session: %w", errReserved)
	}
	if !utf8.ValidString(string(k)) {
		return errName // JSON would keep the value under another one
	}
	return nil
}

func (k Key[T]) encode(v T) ([]byte, error) {
	raw, err := encode(v)
	if err != nil {
		return nil, fmt.Errorf("session: the value of %q can't be encoded: %w", string(k), err)
	}
	return raw, nil
}

// fault does not quote what is stored, which encoding/json might.
func (k Key[T]) fault(error) error {
	return fmt.Errorf("session: the stored value of %q is no %T%w", string(k), *new(T), errType)
}

// errType marks the errors of fault, without a word of its own.
var errType = errors.New("")

// held is a value of type T in the hands of a handler.
type held[T any] struct{ v T }

func (h *held[T]) encode() ([]byte, error) { return encode(h.v) }

func (h *held[T]) again(raw []byte) ([]byte, error) {
	v, err := decode[T](raw)
	if err != nil {
		return nil, err
	}
	return encode(v)
}

// hold notes that the handler has v in its hands, if it can change it.
func hold[T any](e *edit, v T) {
	e.held = nil
	if !plain(&v) && changeable(v) {
		e.held, e.from = &held[T]{v}, e.raw
	}
}

// plain reports whether a T is of the usual kinds that nobody can change in
// place. It spares them the way through reflection, and an allocation.
func plain[T any](v *T) bool {
	switch any(v).(type) {
	case *string, *bool, *int, *int64, *float64:
		return true
	}
	return false
}
