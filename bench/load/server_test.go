package load

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/gofiber/fiber/v2"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// serve runs a server in this process until its standard input ends. It prints
// where it listens.
func serve(name string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m, err := ours.Manager(memorystore.New(nil), false)
	if err != nil {
		return err
	}
	runs := ours.Runs(drive.Values())
	ops := []string{drive.Fill, drive.Read, drive.Write}
	var run func() error
	switch name {
	case "fiber/none", "fiber/memory":
		app := fiber.New(fiber.Config{DisableStartupMessage: true})
		if name == "fiber/none" {
			app.Mount("/bare", ours.Fiber(nil, nil))
		} else {
			for _, op := range ops {
				app.Mount("/"+op, ours.Fiber(m, runs[op]))
			}
		}
		run = func() error { return app.Listener(l) }
	case "nethttp/none", "nethttp/memory":
		mux := http.NewServeMux()
		if name == "nethttp/none" {
			mux.Handle("/bare", ours.HTTP(nil, nil))
		} else {
			for _, op := range ops {
				mux.Handle("/"+op, ours.HTTP(m, runs[op]))
			}
		}
		run = func() error { return http.Serve(l, mux) }
	default:
		return fmt.Errorf("no server %s", name)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println("listening on " + l.Addr().String())
	return run()
}
