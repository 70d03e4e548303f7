// Package gorillasession is a store of gorilla/sessions on the sessions of this
// library, so that code written for gorilla runs on them: goth, gin-contrib/sessions,
// echo-contrib/session and the application's own.
//
//	store := gorillasession.New(sessions)
//	gothic.Store = store
//
//	http.ListenAndServe(addr, httpsession.New(sessions, nil)(mux))
//
// Each gorilla session is one value of the session of the request, which the
// middleware of this library has to provide: adapters/nethttp or adapters/gin. So
// there is one cookie for all, signed by this library, and no value in it. What the
// gorilla code saves is stored once, at the end of the request, with all that the
// session guarantees. Two requests that save the same gorilla session at the same
// time do not mix: the later one counts.
//
// The user logs in as always: call [core.Session.Login], or an id that somebody
// planted before stays in use. Gorilla code does not do that.
//
// Values keep their types, by encoding/gob, as in gorilla's own stores: register with
// gob.Register what is no basic type.
package gorillasession

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/sessions"

	"github.com/gensession/gensession/core"
)

// A Store is a sessions.Store. It is safe for concurrent use if nobody changes its
// Options meanwhile; a sessions.Session is not.
type Store struct {
	// Options are what each gorilla session begins with. Only MaxAge matters: how
	// many seconds it lives after it was saved, within the life of the session of
	// the request; zero for as long as that, negative to delete it. The
	// attributes of the cookie are those of the Manager. They must not be nil.
	Options *sessions.Options

	manager *core.Manager
}

// New returns a Store on the sessions of m, whose middleware must be mounted. A nil m
// stands for the middleware nearest to the handler.
func New(m *core.Manager) *Store {
	return &Store{Options: &sessions.Options{Path: "/"}, manager: m}
}

// MaxAge sets Options.MaxAge, as that of sessions.CookieStore does.
func (s *Store) MaxAge(seconds int) { s.Options.MaxAge = seconds }

// A stored session is the value of the session of the request.
type stored struct {
	Values []byte `json:"v"`           // in gob
	End    int64  `json:"e,omitempty"` // in Unix milliseconds; zero for none
}

// manyYears is a MaxAge that no session of a request reaches.
const manyYears = 1<<31 - 1

// key is the name of the value for the gorilla session of that name.
func key(name string) core.Key[stored] { return core.Key[stored]("gorilla:" + name) }

// session returns the session of the request.
func (s *Store) session(r *http.Request) (*core.Session, error) {
	if s.manager == nil {
		return core.From(r.Context())
	}
	return s.manager.From(r.Context())
}

// Get returns the gorilla session of that name, one for each request.
func (s *Store) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New returns the gorilla session of that name with what was saved, also earlier in
// this request. It is a new one, beside the error, if that can't be read. The error
// is [core.ErrNoSession] if the middleware is missing.
func (s *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	g := sessions.NewSession(s, name)
	o := *s.Options
	g.Options, g.IsNew = &o, true
	session, err := s.session(r)
	if err != nil {
		return g, err
	}
	v, ok, err := key(name).Lookup(session)
	if err != nil || !ok || v.End != 0 && time.Now().UnixMilli() >= v.End {
		return g, err
	}
	var values map[any]any
	if err := gob.NewDecoder(bytes.NewReader(v.Values)).Decode(&values); err != nil {
		return g, fmt.Errorf("gorillasession: %w: a value of the gorilla session: is its type registered with gob? %w", core.ErrType, err)
	}
	g.Values, g.IsNew = values, false
	return g, nil
}

// Save puts what g has into the session of the request, which is stored when the
// request ends. That is also when a store fails. A session without values, or with a
// negative MaxAge, is deleted. The error is [core.ErrCommitted] if the response has
// begun.
func (s *Store) Save(r *http.Request, _ http.ResponseWriter, g *sessions.Session) error {
	session, err := s.session(r)
	if err != nil {
		return err
	}
	o := g.Options
	if o == nil {
		o = s.Options
	}
	if o.MaxAge < 0 || len(g.Values) == 0 {
		return key(g.Name()).Delete(session)
	}
	v, err := encode(g.Values)
	if err != nil {
		return err
	}
	if o.MaxAge > 0 && o.MaxAge < manyYears { // beyond that a Duration would overflow
		v.End = time.Now().Add(time.Duration(o.MaxAge) * time.Second).UnixMilli()
	}
	return key(g.Name()).Set(session, v)
}

func encode(values map[any]any) (v stored, err error) {
	var text bytes.Buffer
	if err := gob.NewEncoder(&text).Encode(values); err != nil {
		return v, fmt.Errorf("gorillasession: the values can't be encoded: register their types with gob: %w", err)
	}
	v.Values = text.Bytes()
	return v, nil
}

// Values returns the values of a session in which a Store finds values as the gorilla
// session of that name: for the Values of a [core.Foreign], where another store of
// gorilla had them.
func Values(name string, values map[any]any) (any, error) {
	v, err := encode(values)
	if err != nil {
		return nil, err
	}
	return map[core.Key[stored]]stored{key(name): v}, nil
}
