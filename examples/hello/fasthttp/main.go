package main

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	user   core.Key[string] = "user"
	visits core.Key[int]    = "visits"
)

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(fasthttp.ListenAndServe("127.0.0.1:3000", hello(sessions)))
}

// begin app
func hello(sessions *core.Manager) fasthttp.RequestHandler {
	return fasthttpsession.New(sessions, nil)(fasthttpsession.Handler(app))
}

func app(ctx *fasthttp.RequestCtx, s *core.Session) error {
	switch string(ctx.Method()) + " " + string(ctx.Path()) {
	case "GET /":
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(ctx, "visit %d of %q\n", n, user.Get(s))
		return err
	case "POST /login":
		// Check the password here.
		name := string(ctx.FormValue("user")) // a copy: fasthttp uses its buffers again
		if err := errors.Join(s.Login(core.LoginOptions{}), user.Set(s, name)); err != nil {
			return err
		}
	case "POST /logout":
		if err := s.Destroy(ctx); err != nil {
			return err
		}
	default:
		ctx.Error("not found", fasthttp.StatusNotFound)
		return nil
	}
	ctx.Redirect("/", fasthttp.StatusSeeOther)
	return nil
}

// end app
