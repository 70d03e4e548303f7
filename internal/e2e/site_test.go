package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/crypto/bcrypt"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/login/app"
	"github.com/gensession/gensession/examples/login/fiberweb"
	"github.com/gensession/gensession/examples/login/web"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	password = "correct horse"
	secret   = "Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"
)

// A conf is how a story is played.
type conf struct {
	fiber   bool
	tls     bool
	host    string              // default: localhost, over TLS site.test
	options func(*core.Options) // changes those of the example
	plant   plant

	patience time.Duration // with what should come; zero for much
}

// A plant is a fault that a story has to find. It stands between the browser and the
// site.
type plant struct {
	request  func(r *http.Request)
	response func(h http.Header)
}

// A site is the login example on a port of its own, with the users ada, bob and
// admin.
type site struct {
	app   *app.App
	store *memorystore.Store
	conf  conf
	port  int

	mu       sync.Mutex
	site     http.Handler            // the one in use
	fast     fasthttp.RequestHandler // or this one
	requests []request
	hold     chan struct{} // if not nil, logins wait until it is closed
	drops    string        // requests whose answer is dropped
}

// A request is one that the site has got.
type request struct {
	what   string // method and path
	cookie string
	from   string // Sec-Fetch-Site
}

func (s *site) url(path string) string {
	scheme, host := "http", s.conf.host
	if s.conf.tls {
		scheme = "https"
	}
	switch {
	case host != "":
	case s.conf.tls:
		host = "site.test"
	default:
		host = "localhost"
	}
	return fmt.Sprintf("%s://%s:%d%s", scheme, host, s.port, path)
}

// newSite starts the example.
func newSite(t *testing.T, c conf) (*site, error) {
	users, err := app.NewUsers(bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"ada", "bob", "admin"} {
		if _, err := users.Add(name, password, name == "admin"); err != nil {
			return nil, err
		}
	}
	a := app.New(users)
	a.Names.Burst, a.Addresses.Burst = 1000, 1000
	store := memorystore.New(nil)
	t.Cleanup(func() { store.Close() })
	return startSite(t, a, store, c)
}

// startSite starts the example with users and a store that there are.
func startSite(t *testing.T, a *app.App, store *memorystore.Store, c conf) (*site, error) {
	s := &site{app: a, store: store, conf: c}
	if err := s.deploy(t, c.options); err != nil {
		return nil, err
	}
	return s, s.listen(t)
}

// deploy replaces the program: the users and the store stay.
func (s *site) deploy(t *testing.T, change func(*core.Options)) error {
	o := s.app.Options([]byte(secret), s.conf.tls)
	if change != nil {
		change(o)
	}
	sessions, err := core.New(s.store, o)
	if err != nil {
		return err
	}
	t.Cleanup(func() { sessions.Close() })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conf.fiber {
		s.fast = fiberweb.New(s.app, sessions).Handler()
	} else {
		s.site = web.New(s.app, sessions)
	}
	return nil
}

// serve replaces the example by h.
func (s *site) serve(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.site = h
}

// listen starts a server, which ends with the test.
func (s *site) listen(t *testing.T) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if s.conf.fiber {
		if s.conf.tls {
			l = tls.NewListener(l, certificate().config())
		}
		server := &fasthttp.Server{Handler: s.serveFast, CloseOnShutdown: true}
		ended := make(chan struct{})
		go func() { defer close(ended); _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Shutdown(); <-ended })
		return nil
	}
	server := &http.Server{Handler: s, TLSConfig: certificate().config()}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if s.conf.tls {
			err = server.ServeTLS(l, "", "") // HTTP/2
		} else {
			err = server.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return nil
}

// came notes a request. It reports whether the answer is to be dropped, and what to
// wait for.
func (s *site) came(r request) (drop bool, hold <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if hold = s.hold; hold == nil || r.what != "POST /login" {
		hold = nothing
	}
	return s.drops != "" && s.drops == r.what, hold
}

// nothing is to be waited for.
var nothing = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// count is how many requests of that kind have come.
func (s *site) count(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.what == what {
			n++
		}
	}
	return n
}

// last is the last request of that kind.
func (s *site) last(what string) (last request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.what == what {
			last = r
		}
	}
	return last
}

// holdLogins makes logins wait until the result is called.
func (s *site) holdLogins() (release func()) {
	hold := make(chan struct{})
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.hold = nil
		s.mu.Unlock()
		close(hold)
	}
}

// drop loses the answers to such requests from now on; "" none.
func (s *site) drop(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops = what
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	drop, hold := s.came(request{r.Method + " " + r.URL.Path, strings.Join(r.Header["Cookie"], "; "), r.Header.Get("Sec-Fetch-Site")})
	s.mu.Lock()
	h := s.site
	s.mu.Unlock()
	if f := s.conf.plant.request; f != nil {
		f(r)
	}
	<-hold
	if drop {
		h.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	if f := s.conf.plant.response; f != nil {
		w = &planted{ResponseWriter: w, change: f}
	}
	h.ServeHTTP(w, r)
}

// planted changes the header of a response just before it is sent.
type planted struct {
	http.ResponseWriter
	change func(http.Header)
	begun  bool
}

func (w *planted) WriteHeader(status int) {
	if !w.begun {
		w.begun = true
		w.change(w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *planted) Write(b []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

func (s *site) serveFast(ctx *fasthttp.RequestCtx) {
	drop, hold := s.came(request{string(ctx.Method()) + " " + string(ctx.Path()), string(ctx.Request.Header.Peek("Cookie")), string(ctx.Request.Header.Peek("Sec-Fetch-Site"))})
	s.mu.Lock()
	h := s.fast
	s.mu.Unlock()
	<-hold
	h(ctx)
	if drop {
		ctx.HijackSetNoResponse(true)
		ctx.Hijack(func(c net.Conn) { _ = c.Close() })
	}
}

// A cert is the certificate of the tests. Nobody has signed it: the browser is told
// its print.
type cert struct {
	pair  tls.Certificate
	print string
}

func (c cert) config() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c.pair}} }

var certificate = sync.OnceValue(func() cert {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost", "site.test", "*.site.test", "evil.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(public)
	return cert{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.StdEncoding.EncodeToString(sum[:])}
})
