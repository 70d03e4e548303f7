// Package core implements server-side HTTP sessions for any HTTP library, after
// koa-generic-session. A [Manager] keeps sessions in a [Store]. An adapter
// passes each request to it as a [Jar]. A handler reads and writes its [Session]
// through typed keys:
//
//	const visits core.Key[int] = "visits"
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	mux.Handle("GET /", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
//		n, err := visits.Update(s, func(n int) int { return n + 1 })
//		if err != nil {
//			return err
//		}
//		_, err = fmt.Fprintf(w, "visit %d\n", n)
//		return err
//	}))
//	http.ListenAndServe(addr, httpsession.New(sessions, nil)(mux))
//
// The adapters are adapters/nethttp, which also serves chi, gorilla/mux and echo,
// adapters/gin, adapters/fiber, adapters/fiberv3 and adapters/fasthttp; the stores
// are stores/memory, redis, sql, sqlite and memcache. This package depends on none
// of them, and on no HTTP library. Comments in the source cite rules by number;
// RULES.md lists them.
//
// # The life of a session
//
// A request carries the cookie koa.sid and its signature koa.sid.sig. If the
// signature is valid and the store has the session, the handler gets it;
// otherwise it gets a new, empty session. An id that the store does not have is
// never adopted from a browser.
//
// After the handler, and before the first byte of the response, the session is
// compared with its stored form. It is stored only if it has changed, and the
// cookie is sent only after the session was stored. So an empty new session
// leaves no trace, and a request that only reads costs one read of the store. A
// change in place, such as to an element of a map that [Key.Get] returned,
// counts as a change.
//
// A session ends a day after its last save. [Options.IdleTimeout] counts from its
// last request instead, [Options.AbsoluteTimeout] from its login. The cookie and
// the store end it together. [Hardened] has values for applications with much to
// lose.
//
// [Options.Defer] loads a session only when the handler uses it. [Session.Save]
// stores the session during the request. [Session.SetSaveMode] forces or
// prevents storing at the end. What outlives its request, such as a WebSocket,
// visits the session by [Manager.VisitByID].
//
// # Logins
//
// At a login, call [Session.Login] and set who the user is, in any order:
//
//	err := errors.Join(s.Login(core.LoginOptions{}), user.Set(s, name))
//
// The next save, which is that of [Session.Save] or the one at the end of the
// request, gives the session a new id, so that an id planted before the login is
// worthless (session fixation). It succeeds whatever other requests do meanwhile;
// if the store fails, nothing of the request is saved, and the error becomes the
// answer. [LoginOptions] drop the values from before the login, or keep the
// session for Options.RememberFor ("remember me"). [Session.LoggedIn] returns the time of the
// login, from which [Options.AbsoluteTimeout] counts anew.
//
// At a logout, call [Session.Destroy]. It ends every session that the request
// carries, also if a login has given it a new id within the last minute.
//
// [Session.Renew] gives the session a new id at once, for a change of rights of a
// user who is logged in. [Session.Reset] destroys the session and begins an empty
// one. [Session.SetCookie] sets the cookie options of one session, which are
// stored with it.
//
// # Errors
//
// An error of the store is never treated as "no session": a server that is down
// logs nobody out and causes no new id. The request fails with the status of
// [Status], or goes on if [Hooks].Error decides so. An operation that fails
// returns an [*Error] with its name, and errors.Is tells the class of every
// error: [ErrUnavailable], [ErrTimeout], [ErrOutcomeUnknown], [ErrRefused],
// [ErrCorrupt], [ErrTooLarge], [ErrType], [ErrConflict], [ErrGone], [ErrCommitted],
// [ErrNoSession]. No error contains an id, a key of the store or a value.
//
// While a store reports that it is down ([Notifier]), requests wait for it, at
// most [Options.ReconnectTimeout] from the moment when it went down. Requests
// that were using the store at that moment wait too, if the call can be repeated
// without being applied twice. Why the store is down ([Causer]) is in their errors,
// and once in [Options].Logger, as is the end of the outage.
//
// # Events
//
// [Hooks].Event observes what happens to sessions, as an [Event] with the
// fingerprint of the id and no value, and [Options].Logger gets each as a message.
// It decides nothing; [Hooks].Error does. [Observe] puts a function around every
// call of a store.
//
// # Concurrency
//
// A browser sends several requests at the same time. With a store that has
// versions ([Swapper]), which all stores of this project have:
//
//   - If requests change different values, all changes are kept. [Key.Update] of
//     one value loses no update: its function runs again on the value that the
//     other request saved. If two requests [Key.Set] one value, the later save
//     wins. Values are merged as a whole, never inside. Of the requests that
//     [Key.Take] a value at most one gets it.
//   - A session that is destroyed, reset, given a new id or expires while a request
//     runs does not come back. That request saves nothing and sends no cookie;
//     its response is not changed. Its Login succeeds all the same, with a
//     session of its own.
//   - A request with an id from before a login does not take the new cookie away:
//     what it stores goes into another cookie, NAME.late, which counts only while
//     the others lead to no session. And a response from before the login, which
//     brings the old cookie back, does no harm: NAME.next has a copy of the new id.
//   - A request whose Login, Renew or Reset failed, or that set a value that can't
//     be encoded, saves nothing more until the same call succeeds, and its commit
//     returns the error.
//   - A save that conflicts too often fails with [ErrConflict] and writes nothing.
//
// [Options.OnConflict] selects another policy. With a store that has only the
// three methods of [Store], the last write wins, even over a removal.
// [Manager.Guarantees] reports which of these applies. The file
// docs/concurrency.md of this module tells the rest, and what to do about each
// error.
//
// Several goroutines of one request may use its session. After the commit every
// change fails with [ErrCommitted].
//
// # The sessions of a user
//
// With [Options.Owners] a login says whose session it is. [Manager.ListByOwner] lists
// the sessions of an owner, [Manager.DestroyByHandle] ends one of them and
// [Manager.DestroyByOwner] all. The file docs/owners.md of this module tells what
// that means and costs.
//
// # Testing handlers
//
// The package core/sessiontest makes sessions for tests of handlers, and looks at
// those that they leave behind. The file docs/testing.md of this module has examples.
//
// # Writing a store
//
// A [Store] has three methods on bytes. [Swapper], [Batcher], [Indexer],
// [Toucher], [Notifier] and [Causer] are optional capabilities. The package core/storetest tests all of them:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) core.Store { return mystore.New(dial(t)) })
//	}
//
// Its Faults tests a store with a server that is stopped, paused, full or
// disconnected.
//
// An adapter consists of a [Jar] and a few calls of [Visit]; core/jartest tests
// it. A [Carrier] transports the id in another way than the cookie.
package core
