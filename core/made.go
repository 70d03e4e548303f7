package core

import "github.com/gensession/gensession/core/internal/made"

// A session that core/sessiontest makes or looks at is one like all others, with
// these exceptions.

// isMade reports whether v is no request's. It is asked where something is about to
// be written, or to be refused.
func (v *Visit) isMade() bool {
	_, is := v.jar.(made.Jar)
	return is
}

// backdate makes a session that is about to be stored for the first time, or to log
// in, as old as the jar says. Session.mu is held.
func (v *Visit) backdate(p *plan) {
	j, is := v.jar.(made.Jar)
	if !is {
		return
	}
	age := j.Made().Age.Milliseconds()
	if s := v.session; s.state == fresh {
		s.stored.Created -= age
	}
	if p.changes.login != 0 {
		p.changes.login -= age
	}
}
