package oteltest_test

import (
	"fmt"

	"github.com/gensession/gensession/core"
	sessionotel "github.com/gensession/gensession/otel"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// begin manager
func observed(store core.Store, system string, key []byte) (*core.Manager, error) {
	store, err := sessionotel.Store(store, system, nil)
	if err != nil {
		return nil, err
	}
	events, err := sessionotel.Events(nil)
	if err != nil {
		return nil, err
	}
	return core.New(store, &core.Options{Keys: [][]byte{key}, Hooks: core.Hooks{Event: events}})
}

// end manager

func Example() {
	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := observed(store, "memory", []byte("a-key-of-these-tests-4f9c02b71de8"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sessions.Close()
	fmt.Println(sessions.Guarantees())
	// Output: no update is lost; a destroyed session stays destroyed; writers can't hinder a login
}
