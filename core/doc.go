// Package core implements server-side HTTP sessions for any HTTP library, after
// koa-generic-session. A [Manager] keeps sessions in a [Store]. An adapter
// passes each request to it as a [Jar]. A handler reads and writes its [Session]
// through typed keys:
//
//	const visits core.Key[int] = "visits"
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
//		s, err := httpsession.From(r)
//		if err != nil { … }
//		n, err := visits.Update(s, func(n int) int { return n + 1 })
//		if err != nil { … }
//		fmt.Fprintf(w, "visit %d\n", n)
//	})
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
// versions ([Swapper]), which all stores of this project have:
//
//   - If requests change different values, all changes are kept. A deleted
//     value stays deleted.
//   - [Key.Update] of one value loses no update: its function runs again on
//     the value that the other request saved.
//   - If two requests [Key.Set] one value, the later save wins. Values are
//     merged as a whole, never inside. The cookie options count as one value.
//   - A session that is destroyed, renewed, reset or expires while a request
//     runs does not come back. That request saves nothing and sends no cookie,
//     and Hooks.Error gets [ErrGone]; its response is not changed.
//   - A request whose Renew or Reset failed, or that set a value that can't be
//     encoded, saves nothing more until the same call succeeds, and its commit
//     returns the error: a refused login is not stored by half.
//   - Renew leaves exactly one valid id: the new one, or with an error the old
//     one. It loses no change of another request. The same holds for Reset,
//     which removes the values. If two of them run at the same time, the
//     second gets [ErrGone]. For a minute, a late request with the old id can't
//     begin a session, so that the browser keeps the new cookie; Destroy in
//     such a request also destroys the session under its new id.
//   - A save that conflicts too often fails with [ErrConflict] and writes
//     nothing.
//
// [Options.OnConflict] selects another policy. With a store that has only the
// three methods of [Store], the last write wins, even over a removal.
// [Manager.Guarantees] reports which of these applies.
//
// Several goroutines of one request may use its session. After the commit every
// change fails with [ErrCommitted].
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
