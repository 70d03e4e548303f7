// Package made is how core/sessiontest tells the core that no request has made an
// exchange. Nobody else can: the method has a type of this package.
package made

import "time"

// An Exchange is what is told.
type Exchange struct {
	Age time.Duration // of the session that is made; it lives at every path
}

// A Jar is the core.Jar of such an exchange.
type Jar interface {
	Made() Exchange
}
