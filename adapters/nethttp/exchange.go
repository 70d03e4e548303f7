package httpsession

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gensession/gensession/adapters/internal/fields"
	"github.com/gensession/gensession/adapters/internal/target"
	"github.com/gensession/gensession/core"
)

// An exchange is one request and its response. It is the Jar of the core and the
// ResponseWriter of the handler, which commits the session before the first byte.
// It has all methods of a server's writer; those that the original writer lacks
// return http.ErrNotSupported.
type exchange struct {
	w     http.ResponseWriter
	r     *http.Request
	mw    *middleware
	visit *core.Visit

	// encoding is the Content-Encoding that was set before the handler. It
	// belongs to a middleware that also encodes an error response.
	encoding string

	state   atomic.Uint32 // open, answering, committed or failed
	failing sync.Mutex    // held while the error of a commit is sent

	jar   sync.Mutex // held by the Jar's methods that use the response's header
	begun bool       // guarded by jar; the server then owns the header

	early atomic.Bool // an informational response was sent
}

const (
	open      = iota
	answering // the error of a HandlerFunc is being answered
	committed
	failed // an error has been answered, and nothing else may be sent
)

var (
	_ core.Jar        = (*exchange)(nil)
	_ http.Flusher    = (*exchange)(nil)
	_ http.Hijacker   = (*exchange)(nil)
	_ http.Pusher     = (*exchange)(nil)
	_ io.ReaderFrom   = (*exchange)(nil)
	_ io.StringWriter = (*exchange)(nil)
)

// commit saves the session if it is not yet saved, and sends an error response if
// that fails. Every method that sends something calls it.
func (x *exchange) commit() error {
	if x.state.Load() == committed {
		return nil
	}
	// The state stays the same while the core uses the Jar, and if a hook panics:
	// then no normal response may be sent.
	err := x.visit.Commit(x.r.Context()) // a second call waits for the result of the first
	if err == nil || x.state.Load() == answering {
		x.begin()
		if x.state.CompareAndSwap(open, committed) || x.state.CompareAndSwap(answering, committed) || x.state.Load() == committed {
			return nil
		}
		return errAnswered
	}
	x.failing.Lock()
	defer x.failing.Unlock()
	if x.state.CompareAndSwap(open, failed) {
		x.fail(err)
	}
	return err
}

// errAnswered is what a writer gets after failWith.
var errAnswered = errors.New("httpsession: the error of the handler has been answered")

// failWith answers the error of a handler through its writer w, unless the
// response has begun. The answer commits the session like any other (K27). If that
// fails, too, the answer is sent all the same, and the core has reported the other
// error. encoding is the Content-Encoding that w had before the handler.
func (x *exchange) failWith(w http.ResponseWriter, encoding string, err error) {
	if !x.state.CompareAndSwap(open, answering) {
		if x.state.Load() == committed && errors.Is(err, core.ErrCommitted) {
			x.visit.Tell(x.r.Context(), err) // a change is lost, and the response can't say so
		}
		return
	}
	x.visit.HandlerFailed()
	if x.mw.tells {
		x.visit.Tell(x.r.Context(), err)
	}
	clean(w.Header(), encoding)
	x.mw.answer(w, x.r, err)
	if w == http.ResponseWriter(x) {
		// No middleware has wrapped x, so what follows does not belong to the
		// answer. Otherwise it may, such as the end of a compressed stream.
		x.state.Store(failed)
	}
}

// begin disables the Jar's methods on the response. A goroutine that outlives its
// handler and still holds the session must not write to a header that the server
// reads.
func (x *exchange) begin() {
	x.jar.Lock()
	defer x.jar.Unlock()
	x.begun = true
}

// end calls begin, unless the commit has called it.
func (x *exchange) end() {
	if x.state.Load() != committed {
		x.begin()
	}
}

// fail sends an error response in place of the handler's response, unless that is
// under way, past x.
func (x *exchange) fail(err error) {
	x.begin()
	if x.passed() {
		return
	}
	clean(x.w.Header(), x.encoding)
	x.mw.answer(x.w, x.r, err)
}

// clean prepares the header for an error response. It keeps the encoding of a
// middleware, which also encodes that.
func clean(header http.Header, encoding string) {
	for _, name := range fields.OfBody() {
		delete(header, name)
	}
	dropCacheFields(header)
	if encoding != "" {
		header["Content-Encoding"] = []string{encoding}
	}
	header.Set("Cache-Control", "no-store")
}

// The ResponseWriter.

// Unwrap returns the original writer, for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

func (x *exchange) Header() http.Header { return x.w.Header() }

func (x *exchange) WriteHeader(status int) {
	// Informational responses do not count, except 101, which is final.
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if x.commit() != nil {
			return
		}
	} else {
		x.early.Store(true)
	}
	x.w.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if err := x.commit(); err != nil {
		return 0, err
	}
	return x.w.Write(b)
}

func (x *exchange) WriteString(s string) (int, error) {
	if err := x.commit(); err != nil {
		return 0, err
	}
	return io.WriteString(x.w, s)
}

// ReadFrom lets the original writer read from src, so that a server can send a file
// without copying it through the program.
func (x *exchange) ReadFrom(src io.Reader) (int64, error) {
	if err := x.commit(); err != nil {
		return 0, err
	}
	// io.Copy uses ReadFrom of the original writer if it has one.
	return io.Copy(x.w, src)
}

func (x *exchange) Flush() { _ = x.FlushError() }

func (x *exchange) FlushError() error {
	if err := x.commit(); err != nil {
		return err
	}
	return http.NewResponseController(x.w).Flush()
}

func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := x.commit(); err != nil {
		return nil, nil, err
	}
	return http.NewResponseController(x.w).Hijack()
}

func (x *exchange) Push(path string, o *http.PushOptions) error {
	if p, ok := x.w.(http.Pusher); ok {
		return p.Push(path, o)
	}
	return http.ErrNotSupported
}

// CloseNotify is deprecated, but gin's Stream panics without it.
func (x *exchange) CloseNotify() <-chan bool {
	if n, ok := x.w.(interface{ CloseNotify() <-chan bool }); ok {
		return n.CloseNotify()
	}
	return make(chan bool) // never
}

// The Jar. net/http's strings are never overwritten, so none is copied.

func (x *exchange) Cookie() string {
	values := x.r.Header["Cookie"]
	for i, n := 0, 0; i < len(values); i++ {
		if n += len(values[i]) + len("; "); n > fields.MaxCookie {
			values = values[:i+1]
		}
	}
	return joined(values, "; ")
}

// Path reads the request line, which http.StripPrefix and similar handlers do not
// change. A request that was not read from a connection has none.
func (x *exchange) Path() string {
	if x.r.RequestURI == "" {
		return x.r.URL.EscapedPath()
	}
	return target.Path(x.r.RequestURI)
}

func (x *exchange) Secure() bool { return x.mw.secure(x.r) }

// UntrustedTLS returns the name of a field that says https although Secure is false.
func (x *exchange) UntrustedTLS() string {
	if x.mw.proxies == nil {
		return ""
	}
	return x.mw.proxies.Untrusted(x.r.Header.Get)
}

func (x *exchange) RequestHeader(name string) string {
	if strings.EqualFold(name, "Host") { // net/http keeps it elsewhere
		return x.r.Host
	}
	return x.r.Header.Get(name)
}

func (x *exchange) SetCookie(name, line string, replace bool) {
	x.jar.Lock()
	defer x.jar.Unlock()
	if x.begun {
		return
	}
	header := x.w.Header()
	lines := header["Set-Cookie"]
	if replace {
		lines = without(lines, name)
	}
	if lines == nil {
		lines = make([]string, 0, 2) // the cookie and its signature
	}
	header["Set-Cookie"] = append(lines, line)
}

func (x *exchange) ResponseCookies() []string {
	x.jar.Lock()
	defer x.jar.Unlock()
	if x.begun {
		return nil
	}
	return x.w.Header()["Set-Cookie"]
}

func (x *exchange) DropCookies(name string) {
	x.jar.Lock()
	defer x.jar.Unlock()
	if x.begun {
		return
	}
	header := x.w.Header()
	if left := without(header["Set-Cookie"], name); len(left) > 0 {
		header["Set-Cookie"] = left
	} else {
		delete(header, "Set-Cookie")
	}
}

// without returns lines without those of that name. It does not change lines,
// which other code may hold.
func without(lines []string, name string) []string {
	named := func(l string) bool {
		rest, ok := strings.CutPrefix(l, name)
		return ok && strings.HasPrefix(rest, "=")
	}
	if !slices.ContainsFunc(lines, named) {
		return lines
	}
	return slices.DeleteFunc(slices.Clone(lines), named)
}

func (x *exchange) ResponseHeader(name string) string {
	x.jar.Lock()
	defer x.jar.Unlock()
	if x.begun {
		return ""
	}
	return joined(x.w.Header().Values(name), ", ")
}

func (x *exchange) SetResponseHeader(name, value string) {
	x.jar.Lock()
	defer x.jar.Unlock()
	if x.begun {
		return
	}
	if value == "" {
		x.w.Header().Del(name)
		return
	}
	x.w.Header().Set(name, value)
}

func (x *exchange) DefaultResponseHeader(name, value string) bool {
	x.jar.Lock()
	defer x.jar.Unlock()
	if x.begun {
		return false
	}
	header := x.w.Header()
	name = http.CanonicalHeaderKey(name)
	if joined(header[name], "") != "" {
		return false
	}
	header[name] = []string{value}
	return true
}

// DropCacheFields removes the fields for shared caches.
func (x *exchange) DropCacheFields() {
	x.jar.Lock()
	defer x.jar.Unlock()
	if !x.begun {
		dropCacheFields(x.w.Header())
	}
}

func dropCacheFields(header http.Header) {
	for name := range header {
		if fields.ForSharedCaches(name) {
			delete(header, name)
		}
	}
}

// Begun also asks a writer that can tell, such as gin's: a handler may have written
// to it past x.
func (x *exchange) Begun() bool {
	x.jar.Lock()
	defer x.jar.Unlock()
	return x.begun || x.passed()
}

// passed reports whether the response has begun without x.
func (x *exchange) passed() bool {
	w, ok := x.w.(interface{ Written() bool })
	return ok && !x.early.Load() && w.Written()
}

func joined(values []string, by string) string {
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values, by)
}
