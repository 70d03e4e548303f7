// Command login is a small site with logins: sign up, log in, "stay logged in", log
// out, change the password, look at one's devices and end them, and a page for an
// admin. The same for net/http (package web) and Fiber (package fiberweb).
//
//	go run ./examples/login
//	go run ./examples/login -fiber -store redis://127.0.0.1:6379/0
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v2"
	"golang.org/x/crypto/bcrypt"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/internal/openstore"
	"github.com/gensession/gensession/examples/login/app"
	"github.com/gensession/gensession/examples/login/fiberweb"
	"github.com/gensession/gensession/examples/login/web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("login", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:3000", "`HOST:PORT` to listen on")
	url := flags.String("store", "memory", "where sessions are kept: "+openstore.Help)
	onFiber := flags.Bool("fiber", false, "serve with Fiber in place of net/http")
	cert := flags.String("cert", "", "`FILE` with a certificate: serve over TLS")
	key := flags.String("key", "", "`FILE` with its key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	store, err := openstore.Open(*url)
	if err != nil {
		return err
	}
	defer store.Close()
	users, err := app.NewUsers(bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	password := os.Getenv("ADMIN_PASSWORD")
	if password == "" {
		password = rand.Text()
		log.Printf("the password of admin is %s (set ADMIN_PASSWORD to choose it)", password)
	}
	if _, err := users.Add("admin", password, true); err != nil {
		return fmt.Errorf("ADMIN_PASSWORD: %w", err)
	}
	secret := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	if len(secret) == 0 {
		secret = []byte(rand.Text() + rand.Text())
		log.Print("no SESSION_KEY: all are logged out when the program ends")
	}
	site := app.New(users)
	o := site.Options(secret, *cert != "")
	o.Logger = slog.Default()
	sessions, err := core.New(store, o)
	if err != nil {
		return err
	}
	defer sessions.Close()

	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	scheme := "http"
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		scheme = "https"
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
	}
	log.Printf("listening on %s://%s", scheme, l.Addr())
	if *onFiber {
		return serve(ctx, l, fiberServer{fiberweb.New(site, sessions)})
	}
	return serve(ctx, l, &http.Server{Handler: web.New(site, sessions), ReadHeaderTimeout: 10 * time.Second})
}

// A server is what net/http and Fiber have in common.
type server interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
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
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.Shutdown(last)
	_ = l.Close() // if Shutdown came before Serve had begun
	<-served
	return err
}

// fiberServer has the methods of a server.
type fiberServer struct{ *fiber.App }

func (s fiberServer) Serve(l net.Listener) error         { return s.App.Listener(l) }
func (s fiberServer) Shutdown(ctx context.Context) error { return s.App.ShutdownWithContext(ctx) }
