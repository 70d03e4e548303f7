// Package jartest is the whole test of a [core.Jar], so of an adapter's side
// of the contract, and the tools to test without a server: a [Jar] in memory
// and a [Browser] that keeps the cookies between two requests.
//
// The author of an adapter writes one function, an [Exchange], that sends a
// request through a real server and lets the suite use the Jar in the handler:
//
//	func TestJar(t *testing.T) {
//		jartest.Run(t, jartest.Options{Exchange: exchange})
//	}
package jartest
