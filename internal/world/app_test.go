//go:build !386 && !arm

package world_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/gensession/gensession/core"
)

// The shop is what every program does. A program adds the framework.
const (
	user   core.Key[string]   = "user"
	cart   core.Key[[]string] = "cart"
	visits core.Key[int]      = "visits"
	flash  core.Key[string]   = "flash"
)

// routes are the requests of the shop, in every framework's way to write a path.
var routes = []struct{ method, path string }{
	{"GET", "/"}, {"GET", "/read"}, {"POST", "/login"}, {"POST", "/change"}, {"POST", "/slow"}, {"POST", "/logout"},
}

// act is the handler of path: it returns where to go, or what to show.
func act(ctx context.Context, s *core.Session, path string, query func(string) string) (to, body string, err error) {
	switch path {
	case "/":
		message := flash.Get(s)
		if _, err := visits.Update(s, func(n int) int { return n + 1 }); err != nil {
			return "", "", err
		}
		return "", fmt.Sprintf("%s, %q", show(s), message), flash.Delete(s)
	case "/read":
		return "", show(s), nil
	case "/login":
		return "/", "", errors.Join(s.Login(core.LoginOptions{}), user.Set(s, strings.Clone(query("user"))), flash.Set(s, "welcome"))
	case "/change":
		return "/read", "", put(s, query("item"))
	case "/slow": // waits for somebody who opens the gate
		res, err := http.Get(strings.Clone(query("gate")))
		if err != nil {
			return "", "", err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return "/read", "", errors.Join(err, res.Body.Close(), put(s, query("item")))
	case "/logout":
		return "/", "", s.Destroy(ctx)
	}
	return "", "", fmt.Errorf("no page %s", path)
}

func put(s *core.Session, item string) error {
	item = strings.Clone(item)
	_, err := cart.Update(s, func(items []string) []string {
		if slices.Contains(items, item) { // the user has tried again
			return items
		}
		return append(slices.Clone(items), item)
	})
	return err
}

func show(s *core.Session) string {
	items := slices.Sorted(slices.Values(cart.Get(s)))
	return fmt.Sprintf("visit %d of %q, cart %v", visits.Get(s), user.Get(s), items)
}
