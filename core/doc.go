// Package core runs server-side HTTP sessions: the system of
// koa-generic-session, made for any HTTP library. A [Manager] keeps sessions in
// a [Store]; an adapter gives it each request as a [Jar]; a handler holds a
// [Session] and reads and writes it through typed keys:
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
// The adapters are adapters/nethttp, adapters/fasthttp and adapters/fiber, the
// stores are in stores. This package knows none of them, and no HTTP library.
// The K numbers in its comments are the rules of generic-session that they
// keep.
//
// # The life of a session
//
// A request comes with the cookie koa.sid and its signature koa.sid.sig. If the
// signature is good and the store knows the session, the handler gets it; else
// it gets a new, empty one. The id that a browser sends is never adopted.
//
// When the handler has finished, before the first byte of the response, the
// session is compared with what is stored. Only if something has changed is it
// stored, and only after the store has it is the cookie sent. So a new session
// that nobody put anything into leaves no trace, and a request that only reads
// costs one read of the store. What the handler changed in place, such as an
// element of a map that [Key.Get] returned, counts as well.
//
// [Options.Rolling] renews the session's life while it is used. [Options.Defer]
// loads it only when the handler asks. [Session.Save] stores it in
// mid-request, [Session.SetSaveMode] forces or forbids storing at the end.
//
// At a login call [Session.Renew]: the session gets a new id and keeps its
// values, and an id that somebody had planted before is worthless. At a logout
// call [Session.Destroy]. [Session.Reset] destroys the session and begins
// an empty one.
//
// [Session.SetCookie] gives one session cookie options of its own, such as a
// longer life for "remember me"; they are stored with it.
//
// # Errors
//
// An error of the store is never "no session": nobody is logged out and no new
// id is made because a server is down. The request fails with the status of
// [Status], or goes on as [Hooks].Error says. An operation that fails returns
// an [*Error] that names it, and errors.Is tells the class of every error:
// [ErrUnavailable], [ErrTimeout], [ErrOutcomeUnknown], [ErrRefused],
// [ErrCorrupt], [ErrTooLarge], [ErrConflict], [ErrGone], [ErrCommitted],
// [ErrNoSession]. None contains an id, a key of the store or a value.
//
// When a store tells that it is down ([Notifier]), requests wait for its
// return, at most [Options.ReconnectTimeout] from when it went down. So do
// those that were using it at that moment, where a call can be made again
// without doing anything twice.
//
// # Concurrency
//
// A browser sends several requests at the same time. With a store that has
// versions ([Swapper]), which all stores of this project have:
//
//   - Requests that change different values both keep their changes; a
//     deleted value stays deleted.
//   - [Key.Update] of one value loses no update: its function runs again on
//     what the other request saved.
//   - Of two that [Key.Set] one value, the later save wins, whole: merging is
//     by value, never inside one. Cookie options count as one value.
//   - A session that was destroyed, renewed, regenerated or has expired while
//     a request runs is not brought back. That request saves nothing, sends no
//     cookie, and Hooks.Error is told [ErrGone]; its response stands.
//   - Renew leaves one id that works, or with an error the old one, and loses
//     no change of another request. So does Reset, which drops the values;
//     of two beside each other the second is told [ErrGone]. For a minute a
//     late request with the old id can begin no session, so that the browser
//     keeps the new cookie; Destroy ends the session under its new id, too.
//   - A save that meets others too often is [ErrConflict], and has written
//     nothing.
//
// [Options.OnConflict] chooses another way. With a store that has the three
// methods of [Store] only, the last write wins, also over a removal;
// [Manager.Guarantees] tells which holds.
//
// Within one request the session may be used by several goroutines. After the
// commit every change is [ErrCommitted].
//
// # Writing a store
//
// A [Store] has three methods on bytes. [Swapper], [Toucher] and [Notifier] are
// optional capabilities. The package core/storetest tests all of them:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) core.Store { return mystore.New(dial(t)) })
//	}
//
// Its Faults tests a store against a server that is stopped, paused, full or
// cut off.
//
// An adapter is a [Jar] and a few calls of [Visit], tested by core/jartest. A
// way of the id other than the cookie is a [Carrier].
package core
