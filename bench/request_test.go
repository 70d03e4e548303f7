package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	fibersession "github.com/gensession/gensession/adapters/fiber"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/core"
)

// Requests through the real adapters, without a network to the browser: a
// session of six values, about 250 bytes; signed cookie, versions and hashed
// ids on.

const visits core.Key[int] = "visits"

// handlers are what the handler does in each operation; nil does not ask for
// the session.
func handlers(values map[string]any) map[string]func(s *core.Session) (int, error) {
	return map[string]func(s *core.Session) (int, error){
		drive.Fill: func(s *core.Session) (int, error) { return 0, s.Replace(values) },
		drive.Read: func(s *core.Session) (int, error) { return visits.Get(s), nil },
		drive.Write: func(s *core.Session) (int, error) {
			return visits.Update(s, func(n int) int { return n + 1 })
		},
		drive.Login: func(s *core.Session) (int, error) { return visits.Get(s), s.Renew(context.Background()) },
	}
}

// An adapter runs a handler under the sessions of m, or without any.
type adapter struct {
	name string
	open func(b *testing.B, m *core.Manager, run func(s *core.Session) (int, error)) func() drive.Client
}

func adapters() []adapter {
	return []adapter{{"nethttp", openHTTP}, {"fasthttp", openFast}, {"fiber", openFiber}}
}

// site is an application with sessions in store.
func site(a adapter, store core.Store, values map[string]any) drive.Site {
	return func(b *testing.B, op string) func() drive.Client {
		if op == drive.Bare {
			return a.open(b, nil, nil)
		}
		m, err := core.New(store, &core.Options{
			Keys:  [][]byte{bytes.Repeat([]byte("k"), 32)},
			Defer: op == drive.Visitor || op == drive.Untouched,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { m.Close() })
		return a.open(b, m, handlers(values)[op])
	}
}

// BenchmarkRequest measures requests: adapter=fiber/store=redis/op=read/callers=64.
func BenchmarkRequest(b *testing.B) {
	for _, a := range adapters() {
		b.Run("adapter="+a.name+"/store=none/op=bare/callers=1", func(b *testing.B) {
			drive.Bench(b, site(a, nil, nil), drive.Bare, 1)
		})
		for _, s := range stores() {
			ops := []string{drive.Visitor, drive.Untouched, drive.Read, drive.Write, drive.Login}
			for _, callers := range []int{1, 64} {
				if callers > 1 {
					ops = ops[2:] // the others never wait
				}
				for _, op := range ops {
					b.Run(fmt.Sprintf("adapter=%s/store=%s/op=%s/callers=%d", a.name, s.name, op, callers), func(b *testing.B) {
						drive.Bench(b, site(a, open(b, s.open), drive.Values()), op, callers)
					})
				}
			}
		}
	}
}

// BenchmarkSize measures requests that use one value of a session with many:
// op=read/values=200/size=16384.
func BenchmarkSize(b *testing.B) {
	for _, op := range []string{drive.Read, drive.Write} {
		for _, n := range drive.Sizes {
			b.Run(fmt.Sprintf("op=%s/values=%d/size=%d", op, n, sizeOf(n)), func(b *testing.B) {
				store := open(b, stores()[0].open)
				drive.Bench(b, site(adapters()[0], store, drive.SizedValues(n)), op, 1)
			})
		}
	}
}

// sizeOf is the size that n values are meant to have.
func sizeOf(n int) int {
	size := 256
	for size < n*80 {
		size *= 2
	}
	return size
}

func openHTTP(b *testing.B, m *core.Manager, run func(s *core.Session) (int, error)) func() drive.Client {
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		if run != nil {
			s, err := httpsession.From(r)
			if err == nil {
				n, err = run(s)
			}
			if err != nil {
				b.Error(err)
			}
		}
		io.WriteString(w, strconv.Itoa(n))
	})
	if m != nil {
		h = httpsession.New(m, nil)(h)
	}
	return func() drive.Client { return drive.HTTP(h) }
}

func openFast(b *testing.B, m *core.Manager, run func(s *core.Session) (int, error)) func() drive.Client {
	h := func(ctx *fasthttp.RequestCtx) {
		n := 0
		if run != nil {
			s, err := fasthttpsession.From(ctx)
			if err == nil {
				n, err = run(s)
			}
			if err != nil {
				b.Error(err)
			}
		}
		ctx.SetBodyString(strconv.Itoa(n))
	}
	if m != nil {
		h = fasthttpsession.New(m, nil)(h)
	}
	return func() drive.Client { return drive.Fast(h) }
}

func openFiber(b *testing.B, m *core.Manager, run func(s *core.Session) (int, error)) func() drive.Client {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	if m != nil {
		app.Use(fibersession.New(m, nil))
	}
	app.Get("/", func(c *fiber.Ctx) error {
		n := 0
		if run != nil {
			s, err := fibersession.From(c)
			if err == nil {
				n, err = run(s)
			}
			if err != nil {
				b.Error(err)
				return err
			}
		}
		return c.SendString(strconv.Itoa(n))
	})
	h := app.Handler()
	return func() drive.Client { return drive.Fast(h) }
}
