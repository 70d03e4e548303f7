package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"maps"
	"sync"
	"time"
)

// An account stands for a row of your users. A password is a hash there.
type account struct {
	password   string
	generation int // one more with each change of the password
	disabled   bool
	attempts   int       // to log in, since the last one that succeeded
	waits      time.Time // until then nobody may try
	endedSIDs  map[string]bool
}

func passwordIsRight(a account, password string) bool {
	return subtle.ConstantTimeCompare([]byte(a.password), []byte(password)) == 1
}

// accounts stand for your database.
type accounts struct {
	mu  sync.Mutex
	all map[string]account
}

func newAccounts() *accounts {
	return &accounts{all: map[string]account{"ada": {password: "engine"}}}
}

func (a *accounts) find(_ context.Context, name string) (account, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.all[name]
	return found, ok, nil
}

func (a *accounts) change(name string, f func(*account)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.all[name]
	if !ok {
		return errors.New("no such account")
	}
	f(&found)
	a.all[name] = found
	return nil
}

func (a *accounts) setPassword(_ context.Context, name, password string) (generation int, err error) {
	err = a.change(name, func(x *account) {
		x.password = password
		x.generation++
		generation = x.generation
	})
	return generation, err
}

// attempt counts an attempt in one step, as one UPDATE … WHERE waits <= now does,
// and reports whether it may be made.
func (a *accounts) attempt(_ context.Context, name string, now time.Time) (found account, may bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.all[name]
	if !ok || found.disabled || now.Before(found.waits) {
		return account{}, false, nil
	}
	found.attempts++
	found.waits = now.Add(wait(found.attempts))
	a.all[name] = found
	return found, true, nil
}

func (a *accounts) forgive(_ context.Context, name string) error {
	return a.change(name, func(x *account) { x.attempts, x.waits = 0, time.Time{} })
}

// endSID is what a back-channel logout of an identity provider calls.
func (a *accounts) endSID(name, sid string) error {
	return a.change(name, func(x *account) {
		ended := maps.Clone(x.endedSIDs)
		if ended == nil {
			ended = make(map[string]bool)
		}
		ended[sid] = true
		x.endedSIDs = ended
	})
}
