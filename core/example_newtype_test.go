package core_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gensession/gensession/core"
)

// begin convert
// A cart was a list of items, and is how many there are of each.
const (
	cart    core.Key[map[string]int] = "cart"
	oldCart core.Key[[]string]       = "cart"
)

func cartOf(s *core.Session) (map[string]int, error) {
	items, _, err := cart.Lookup(s)
	if !errors.Is(err, core.ErrType) {
		return items, err
	}
	items = map[string]int{}
	for _, item := range oldCart.Get(s) {
		items[item]++
	}
	return items, cart.Set(s, items)
}

// end convert

// A value whose type was changed at a deployment is converted when it is first
// used.
func Example_newType() {
	site := newExampleSite(nil)
	defer site.Close()
	site.Visit(func(_ context.Context, s *core.Session) error { return oldCart.Set(s, []string{"pen", "pen"}) })
	page := func(_ context.Context, s *core.Session) error {
		items, err := cartOf(s)
		fmt.Println(items)
		return err
	}
	site.Visit(page)
	site.Visit(page)
	// Output:
	// map[pen:2]
	// map[pen:2]
}
