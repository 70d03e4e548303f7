package jartest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"

	"github.com/gensession/gensession/core"
)

// An Adapter is what [RunAdapter] needs of a session middleware for an HTTP library
// or a framework.
type Adapter struct {
	// Serve starts a server on l: the managers' middleware with its default options,
	// the first outermost, and below it h, for every method and path. A panic ends
	// only its request. Request headers of 16 KiB are accepted. t.Cleanup stops the
	// server. For requests over TLS l is a TLS listener.
	Serve func(t *testing.T, l net.Listener, h Handler, managers ...*core.Manager)
	// CtxEnds says that Request.Ctx ends when the client has gone.
	CtxEnds bool
	// HandlerErrors says that the framework knows errors of handlers. Without it
	// they are responses like all others.
	HandlerErrors bool
}

// A Handler answers a request. If it returns an error, the adapter's server answers
// core.Status of it and the text of the status; if it returns [ErrHandler], 500 with
// its text.
type Handler func(x *Request) error

// ErrHandler is the error of a handler that fails by itself.
var ErrHandler = errors.New("handler failed")

// A Request is a request and its response in a handler below the middleware, in the
// terms of no framework. Its functions are those of the adapter and of the framework.
type Request struct {
	// Ctx is the context that handlers pass on. core.From finds the session in it.
	Ctx context.Context
	// URL is the request's.
	URL *url.URL

	// From, FromManager and Visit are the adapter's.
	From        func() (*core.Session, error)
	FromManager func(*core.Manager) (*core.Session, error)
	Visit       func() (*core.Visit, error)
	// Guard calls h as the adapter's guard calls a handler: with a Request for what
	// the guard passes on. It returns the error of h.
	Guard func(h Handler) error

	// SetHeader sets a field of the response, and Status its status.
	SetHeader func(name, value string)
	Status    func(code int)
	// Reset throws away the header of the response as it is so far, by the means of
	// the framework.
	Reset func()
	// Write adds to the body.
	Write func(body string)
	// Stream answers with what f writes piece by piece, each sent at once. When f
	// runs, the session is committed. The handler returns after it.
	Stream func(f func(write func(string)))
	// Hijack takes the connection over: f gets it, if the session is committed.
	Hijack func(f func(io.ReadWriter))
}

// RunAdapter tests the middleware of an adapter, as browsers and handlers see it,
// with one subtest for each rule. [Run] tests its Jar.
//
//	func TestAdapter(t *testing.T) {
//		jartest.RunAdapter(t, jartest.Adapter{Serve: serve})
//	}
//
// Run it under the race detector, too.
func RunAdapter(t *testing.T, a Adapter) {
	for _, r := range adapterRules {
		t.Run(r.name, func(t *testing.T) {
			if err := runAdapter(t, a, r); err != nil {
				t.Errorf("%s\n%v", r.rule, err)
			}
		})
	}
}

// An adapterRule is one subtest. Its test returns an error if the adapter breaks the
// rule, so that the tests of the suite can check that a broken one is detected.
type adapterRule struct {
	name string // of the subtest
	rule string // in words
	test func(s *site) error
}

func runAdapter(t *testing.T, a Adapter, r adapterRule) error {
	return r.test(&site{t: t, a: a})
}
