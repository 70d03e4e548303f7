//go:build !386 && !arm

package world_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	fiberv2 "github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v3"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// What a child of this test is told.
const (
	preforkApp   = "WORLD_PREFORK_APP"
	preforkAddr  = "WORLD_PREFORK_ADDR"
	preforkRedis = "WORLD_PREFORK_REDIS"
)

// TestPrefork lets Fiber serve with several processes, which share a Redis: no
// other store of ours can be shared without a server.
func TestPrefork(t *testing.T) {
	for _, app := range []string{"Fiber v2", "Fiber v3"} {
		t.Run(app, func(t *testing.T) {
			redis := servers.Redis(t)
			addr := freeAddr(t)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), preforkApp+"="+app, preforkAddr+"="+addr, preforkRedis+"="+redis.Addr(), "GOMAXPROCS=2")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			stdin, err := cmd.StdinPipe() // the processes end with this one
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = stdin.Close()
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			base := "http://" + addr
			waitFor(t, base)
			drive(t, program{}, base)
		})
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := servers.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitFor(t *testing.T, base string) {
	t.Helper()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for range 500 {
		if res, err := client.Get(base + "/public"); err == nil {
			_ = res.Body.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the processes do not serve")
}

// preforked is the main function of a child of TestPrefork, and of its children.
func preforked() {
	app := os.Getenv(preforkApp)
	if app == "" {
		return
	}
	if err := preforkMain(app, os.Getenv(preforkAddr), os.Getenv(preforkRedis)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func preforkMain(app, addr, redis string) error {
	store, err := redisstore.Open("redis://"+redis, nil)
	if err != nil {
		return err
	}
	m, err := core.New(store, &core.Options{Keys: [][]byte{key}})
	if err != nil {
		return err
	}
	if app == "Fiber v2" {
		app := fiberv2.New(fiberv2.Config{Prefork: true, DisableStartupMessage: true})
		app.Use(fibersession.New(m, nil))
		return fiberRoutes(app).Listen(addr)
	}
	v3 := fiber.New()
	v3.Use(fiberv3session.New(m, nil))
	return fiberv3Routes(v3).Listen(addr, fiber.ListenConfig{EnablePrefork: true, DisableStartupMessage: true})
}
