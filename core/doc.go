// Package core runs server-side sessions: the system of koa-generic-session,
// made for any HTTP library.
package core
