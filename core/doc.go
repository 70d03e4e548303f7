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
// The adapters are adapters/nethttp, adapters/fasthttp and adapters/fiber; the
// stores are in stores. This package depends on none of them, and on no HTTP
// library. K numbers in comments of the source are the rules of generic-session,
// which RULES.md lists.
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
// [Options.Rolling] extends the lifetime of a session while it is used.
// [Options.Defer] loads a session only when the handler uses it. [Session.Save]
// stores the session during the request. [Session.SetSaveMode] forces or
// prevents storing at the end.
//
// At login, call [Session.Renew]: the session gets a new id and keeps its values,
// so that an id planted before the login is worthless (session fixation). At
// logout, call [Session.Destroy]. [Session.Reset] destroys the session and
// begins an empty one.
//
// [Session.SetCookie] sets the cookie options of one session, such as a longer
// lifetime for "remember me". They are stored with the session.
//
// # Errors
//
// An error of the store is never treated as "no session": a server that is down
// logs nobody out and causes no new id. The request fails with the status of
// [Status], or goes on if [Hooks].Error decides so. An operation that fails
// returns an [*Error] with its name, and errors.Is tells the class of every
// error: [ErrUnavailable], [ErrTimeout], [ErrOutcomeUnknown], [ErrRefused],
// [ErrCorrupt], [ErrTooLarge], [ErrConflict], [ErrGone], [ErrCommitted],
// [ErrNoSession]. No error contains an id, a key of the store or a value.
//
// While a store reports that it is down ([Notifier]), requests wait for it, at
// most [Options.ReconnectTimeout] from the moment when it went down. Requests
// that were using the store at that moment wait too, if the call can be repeated
// without being applied twice.
//
// # Concurrency
//
// A browser sends several requests at the same time. With a store that has
// versions ([Swapper]), which all stores of this project have, changes of
// different values are merged, [Key.Update] loses no update, and a session that
// was destroyed, renewed, reset or has expired does not come back.
// docs/concurrency.md has the complete list of guarantees. A handler has these
// duties:
//
//   - Compute a value from its old one with [Key.Update]. Its function may run
//     more than once and must depend only on its argument. If two requests
//     [Key.Set] one value, the later save wins.
//   - Change the session before the first byte of the response. After the commit
//     every change fails with [ErrCommitted].
//   - Return the error of every call. A request in which Renew or Reset failed,
//     or that set a value that can't be encoded, saves nothing more until the
//     same call succeeds, and its commit returns the error.
//   - Several goroutines of one request may use its session. But a map, slice or
//     pointer that [Key.Get] returned must not be changed in place from another
//     goroutine.
//
// The author of a store makes its methods safe for concurrent use, and the
// comparison and the write of a Swapper one atomic step. With a store that has
// only the three methods of [Store], the last write wins, even over a removal.
// [Options.OnConflict] selects another policy, and [Manager.Guarantees] reports
// which guarantees apply.
//
// # Writing a store
//
// A [Store] has three methods on bytes. [Swapper], [Batcher], [Toucher] and
// [Notifier] are optional capabilities. The package core/storetest tests all of them:
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
