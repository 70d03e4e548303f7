package core

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
	"github.com/gensession/gensession/core/internal/record"
)

// What a request changed, found by comparing and kept apart from the session,
// so that it can be done again to whatever the store has by then.

// A reason to save.
type reason uint8

const (
	nothing  reason = iota
	resend          // the store has it all, but the id came in an old form (K12)
	renewing        // likewise, but that it gets a new id of itself
	renewal         // rolling: nothing has changed
	change
	forced  // SaveAlways, or a new empty session with AllowEmpty
	signsIn // Login
	taking  // Take
)

// reason says why s is to be saved (K21, K22, K24, K26). mu is held.
func (s *Session) reason(last bool) (reason, error) {
	m := s.visit.manager
	if s.loadErr != nil || s.state == destroyed || s.save == SaveNever {
		return nothing, nil
	}
	changed, err := s.changed()
	switch {
	case err != nil:
		return nothing, err
	case s.login != nil:
		return signsIn, nil
	case s.save == SaveAlways:
		return forced, nil
	case changed:
		return change, nil
	case s.state == fresh:
		if m.o.AllowEmpty && last {
			return forced, nil
		}
	case last && s.rolls():
		return renewal, nil
	case last && s.visit.resend:
		return resend, nil
	}
	return nothing, nil
}

// changed compares s with what is stored. mu is held.
func (s *Session) changed() (bool, error) {
	if s.notLoaded {
		return true, nil
	}
	if s.ownSet && !record.SameCookie(s.own, s.storedOwn()) {
		return true, nil
	}
	kept := 0 // of the stored ones, if all were cleared
	for _, e := range s.edits {
		if err := e.settle(); err != nil {
			return false, err
		}
		if !e.own {
			continue
		}
		was, err := s.stored.Find(e.name)
		if err != nil {
			return false, err
		}
		if !jsontext.Same(e.raw, was) {
			return true, nil
		}
		if was != nil {
			kept++
		}
	}
	if !s.cleared {
		return false, nil
	}
	stored, err := s.stored.All()
	return kept < len(stored), err
}

// storedOwn are the cookie options before this request.
func (s *Session) storedOwn() *record.Cookie {
	if s.state == fresh {
		return s.visit.manager.blank
	}
	return s.stored.Cookie
}

// A changeSet is what a request did, so that it can be done to whatever the
// store has by then. It is a copy: the session can go on meanwhile.
type changeSet struct {
	values     []valueChange
	past       []valueChange // of a login: what this request has saved before, and left as it is
	own        *record.Cookie
	replaceRev uint32 // of the session, then
	cookieRev  uint32
	why        reason
	owned      []byte // of a login: whose the session becomes, as the record has it
	login      int64  // when, in Unix milliseconds; zero if it is no login
	cleared    bool
	ownSet     bool
	blind      bool          // the session was not loaded before
	began      time.Duration // the request, as an age of the manager
}

// alone are the changes without anything that was loaded: what the request would
// have done to an empty session. Updates are computed from nothing. Those values
// that were changed in place are not among them, since they hold what was loaded.
// own are the cookie options.
func (c changeSet) alone(own *record.Cookie) (changeSet, error) {
	c.cleared, c.own, c.ownSet = true, own, true
	c.values = slices.DeleteFunc(slices.Concat(c.past, c.values), func(v valueChange) bool { return v.loaded })
	for i := range c.values {
		v := &c.values[i]
		if v.same = false; v.assigned {
			continue
		}
		raw, err := v.past.alone(v.updates)
		if err != nil {
			return c, err
		}
		v.raw, v.updates, v.assigned = raw, nil, true
	}
	return c, nil
}

type valueChange struct {
	name     string
	raw      []byte   // nil: deleted
	updates  []update // by which raw came from the stored value; nil if it did not
	edit     *edit    // where it comes from, to be looked at under Session.mu only
	past     *past    // of edit, then
	turn     uint32   // of edit, then
	assigns  uint32
	steps    uint32 // how many updates of edit are in raw
	assigned bool   // raw does not come from what is stored
	loaded   bool   // raw is what was loaded, changed in place
	same     bool   // raw is what was loaded: no change, but for a login that goes without that
}

// takeChange collects what s changed since it was loaded or saved. A value set
// to what it was is no change, and does not win over another request. mu is
// held.
func (s *Session) takeChange() (changeSet, error) {
	c := changeSet{cleared: s.cleared, blind: s.notLoaded, began: s.visit.began, own: s.own, ownSet: s.ownSet, replaceRev: s.replaceRev, cookieRev: s.cookieRev}
	for _, e := range s.edits {
		if err := e.settle(); err != nil {
			return c, err
		}
		if !e.own {
			if s.login != nil && e.past != nil {
				c.past = append(c.past, valueChange{name: e.name, past: e.past})
			}
			continue
		}
		same := false
		if !s.cleared && !s.notLoaded && (e.assigned || e.updates == nil) {
			was, err := s.stored.Find(e.name)
			if err != nil {
				return c, err
			}
			same = jsontext.Same(e.raw, was)
		}
		if c.values == nil && e.change != nil {
			c.values, e.change = e.change[:0], nil
		}
		v := valueChange{e.name, e.raw, nil, e, e.past, e.turn, e.assigns, uint32(len(e.updates)), e.assigned, e.loaded, same} // #nosec G115 -- the calls of one request
		if !e.assigned {
			v.updates = e.updates[:len(e.updates):len(e.updates)]
		}
		c.values = append(c.values, v)
	}
	return c, nil
}

// applied lays the changes over base, which is not the one they were made on
// if again is set: then updates are computed anew. base is not changed. The
// result is about to be stored under key, or one as long.
func (c *changeSet) applied(base record.Record, key string, again bool) (record.Record, error) {
	r := base
	if c.ownSet {
		r.Cookie = c.own
	}
	if c.cleared {
		r.Fields = record.Empty()
	}
	if c.login != 0 {
		r.Login, r.Owned, r.Used = c.login, c.owned, c.login
	}
	if c.updates() {
		// #nosec G404 -- two that differ by chance; it keeps no secret
		r.Fence = rand.Uint32() | 1 // two that add one to the same write the same
	}
	var err error
	if len(c.values) <= record.Few {
		err = c.splice(&r.Fields, r.Front(key), again)
	} else {
		err = c.tabulate(&r.Fields, again)
	}
	return r, err
}

// splice makes few changes in f, each for itself.
func (c *changeSet) splice(f *record.Fields, front int, again bool) error {
	for i := range c.values {
		if c.values[i].same {
			continue
		}
		raw, err := c.values[i].over(f, again)
		if err != nil {
			return err
		}
		spliced, ok := f.Splice(c.values[i].name, raw, front)
		if !ok {
			rest := changeSet{values: c.values[i:]}
			return rest.tabulate(f, again)
		}
		*f = spliced
	}
	return nil
}

// tabulate makes many changes in f.
func (c *changeSet) tabulate(f *record.Fields, again bool) error {
	old, err := f.All()
	if err != nil {
		return err
	}
	members := make([]jsontext.Member, len(old), len(old)+len(c.values))
	copy(members, old)
	result := record.TableOf(members)
	for i := range c.values {
		if c.values[i].same {
			continue
		}
		raw, err := c.values[i].over(f, again)
		if err != nil {
			return err
		}
		result.Put(c.values[i].name, raw)
	}
	*f = record.Listed(result.Left())
	return nil
}

// over is what the value becomes over those in f.
func (v *valueChange) over(f *record.Fields, again bool) ([]byte, error) {
	if !again || v.updates == nil {
		return v.raw, nil
	}
	raw, err := f.Find(v.name)
	if err != nil {
		return nil, err
	}
	return updated(raw, v.updates)
}

// updates reports whether doing the changes twice is not as good as once.
func (c *changeSet) updates() bool {
	return slices.ContainsFunc(c.values, func(v valueChange) bool { return v.updates != nil })
}

// updated is raw after the updates.
func updated(raw []byte, updates []update) ([]byte, error) {
	for _, f := range updates {
		var err error
		if raw, err = f(raw); err != nil {
			return nil, err
		}
	}
	return raw, nil
}
