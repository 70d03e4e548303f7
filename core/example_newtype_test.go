package core_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gensession/gensession/core"
)

// begin convert
// A basket was a list of items, and is how many there are of each.
const (
	basket    core.Key[map[string]int] = "basket"
	oldBasket core.Key[[]string]       = "basket"
)

func basketOf(s *core.Session) (map[string]int, error) {
	items, _, err := basket.Lookup(s)
	if !errors.Is(err, core.ErrType) {
		return items, err
	}
	items = map[string]int{}
	for _, item := range oldBasket.Get(s) {
		items[item]++
	}
	return items, basket.Set(s, items)
}

// end convert

// A value whose type was changed at a deployment is converted when it is first
// used.
func Example_newType() {
	site := newExampleSite(nil)
	defer site.Close()
	site.Visit(func(_ context.Context, s *core.Session) error { return oldBasket.Set(s, []string{"pen", "pen"}) })
	page := func(_ context.Context, s *core.Session) error {
		items, err := basketOf(s)
		fmt.Println(items)
		return err
	}
	site.Visit(page)
	site.Visit(page)
	// Output:
	// map[pen:2]
	// map[pen:2]
}
