package httpsession

import (
	"net/http"

	"github.com/gensession/gensession/core"
)

// NewJar makes the Jar of a request without a manager.
func NewJar(w http.ResponseWriter, r *http.Request) core.Jar {
	return &exchange{w: w, r: r, mw: &middleware{secure: func(r *http.Request) bool { return r.TLS != nil }}}
}
