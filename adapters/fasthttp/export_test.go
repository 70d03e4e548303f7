package fasthttpsession

import "github.com/valyala/fasthttp"

// NewJar makes the Jar of a request without a manager.
func NewJar(ctx *fasthttp.RequestCtx, secure bool) *Jar {
	j := new(Jar)
	j.Open(ctx, secure)
	return j
}
