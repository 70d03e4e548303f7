// Package foreignstore lets the drivers of other libraries keep sessions of this
// one, and stores of this one keep what Fiber's middleware has to keep.
//
// [FromFiber] makes a [core.Store] of any storage of Fiber v2 or v3, such as those
// of gofiber/storage, and [FromSCS] of any store of alexedwards/scs. [ToFiber] makes
// a storage of Fiber of any core.Store, for Fiber's csrf, limiter and others. They
// know each other by their methods: this package imports no other library.
//
// These drivers compare no versions. With them the last write wins, also over a
// logout, and what needs versions is not to be had, such as Options.RenewAfter and
// [core.Key.Take]. Where this library has a store for the same server, take that
// one; [core.Manager.Guarantees] names it. To leave a driver without logging anybody
// out, see [core.Migration].
package foreignstore
