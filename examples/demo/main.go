// Command demo is the application of the README, and a tool to try a session
// by hand:
//
//	go run ./examples/demo
//	curl -c jar -b jar http://127.0.0.1:8080/get
//
// See -h for its flags and the page that it serves for its routes.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/internal/openstore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// grace is how long requests may take to end after the signal.
const grace = 5 * time.Second

// run serves until ctx is done. It returns the exit code: 2 for flags that
// make no sense, 1 for what fails later.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // parse has said why
	}
	complain := func(code int, err error) int {
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return code
	}
	if len(c.options.Keys) == 0 {
		c.options.Keys = [][]byte{make([]byte, 32)}
		rand.Read(c.options.Keys[0])
		fmt.Fprintln(stderr, "no -keys: signing with a random key, so no cookie outlives this process")
	}
	if c.options.Cookie.Secure == core.On {
		fmt.Fprintln(stderr, "-secure: over plain HTTP, which this server speaks, a request that saves its session fails and says so")
	}

	store, err := openstore.Open(c.store)
	if err != nil {
		return complain(2, err)
	}
	defer store.Close()
	m, err := core.New(store, c.options)
	if err != nil {
		return complain(2, err)
	}
	defer m.Close()
	l, err := net.Listen("tcp", c.addr)
	if err != nil {
		return complain(1, err)
	}
	fmt.Fprintf(stdout, "listening on http://%s\n", l.Addr())
	kind, _, _ := strings.Cut(c.store, ":") // the rest may hold a password
	info := fmt.Sprintf("Served by %s, kept in the %s store: %s.", c.adapter, kind, m.Guarantees())
	newServer, _ := adapter(c.adapter) // parse knows that it is there
	if err := serve(ctx, l, newServer(m, newApp(info))); err != nil {
		return complain(1, err)
	}
	return 0
}

// A server is what the three HTTP libraries have in common.
type server interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
}

// adapter returns what makes a server with the library of that name.
func adapter(name string) (newServer func(*core.Manager, *app) server, ok bool) {
	switch name {
	case "fiber":
		return newFiber, true
	case "fasthttp":
		return newFastHTTP, true
	case "nethttp":
		return newNetHTTP, true
	}
	return nil, false
}

// serve returns when ctx is done and the requests that ran then have ended.
func serve(ctx context.Context, l net.Listener, s server) error {
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := s.Shutdown(last)
	_ = l.Close() // if Shutdown came before Serve had begun
	if end := <-served; err == nil && !errors.Is(end, http.ErrServerClosed) && !errors.Is(end, net.ErrClosed) {
		err = end
	}
	return err
}

// A config is what the flags say.
type config struct {
	addr    string
	adapter string
	store   string
	options *core.Options
}

// parse reads the flags. It has told stderr about its error.
func parse(args []string, stderr io.Writer) (config, error) {
	c := config{options: &core.Options{}}
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&c.addr, "addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 takes a free one")
	fs.StringVar(&c.adapter, "adapter", "fiber", "the HTTP library: fiber, fasthttp or nethttp")
	fs.StringVar(&c.store, "store", "memory", openstore.Help)
	var keys [][]byte
	fs.Func("keys", "comma-separated `keys` that sign the cookie: the first signs, all verify (default one random key)", func(s string) error {
		for key := range strings.SplitSeq(s, ",") {
			keys = append(keys, []byte(key))
		}
		return nil
	})
	koa := fs.Bool("koa", false, "share sessions with a koa-generic-session app (core.KoaCompat)")
	lazy := fs.Bool("defer", false, "load a session only when a route asks for it")
	rolling := fs.Bool("rolling", false, "prolong the session with every request")
	ttl := fs.Duration("ttl", 0, "how long a session lives from a save, or with -rolling from a request (default 24h)")
	secure := fs.Bool("secure", false, "set the cookie's Secure attribute")
	if err := fs.Parse(args); err != nil {
		return config{}, err
	}
	if *koa {
		c.options = core.KoaCompat()
	}
	c.options.Keys = keys
	c.options.Defer = *lazy
	switch o := c.options; {
	case *koa:
		o.Rolling, o.TTL = *rolling, *ttl
	case *rolling:
		o.IdleTimeout, o.TouchEvery = cmp.Or(*ttl, core.DefaultMaxAge), 1 // so that it can be seen
	default:
		o.Cookie.MaxAge = *ttl
	}
	if *secure {
		c.options.Cookie.Secure = core.On
	}
	err := c.check(fs.Args())
	if err != nil {
		fmt.Fprintf(stderr, "demo: %v\n", err)
	}
	return c, err
}

// check names no address of a store, which may have a password in it.
func (c *config) check(rest []string) error {
	_, known := adapter(c.adapter)
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q: see -h", rest[0])
	case !known:
		return fmt.Errorf("-adapter %q: there are fiber, fasthttp and nethttp", c.adapter)
	}
	if err := openstore.Check(c.store); err != nil {
		return fmt.Errorf("-store: %w", err)
	}
	return nil
}
