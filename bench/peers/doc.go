// Package peers runs the requests of bench through other session libraries
// and, in the same run, through this repository's:
//
//	go test -bench=. .        in this folder
//
// It is a module of its own, so that what it requires never reaches users.
//
// All have the same session of six values and a cookie with HttpOnly,
// SameSite=Lax, path / and a life of one day, and are used the fastest way that
// their documentation shows: reading does not save where the library leaves
// that to the handler, and clients of Redis have a connection for each caller.
// The other libraries lose something with it that this one keeps: none of them
// has versions, and only gorilla/sessions signs its cookie.
package peers
