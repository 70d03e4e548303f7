package memcachestore_test

import (
	"fmt"

	"github.com/gensession/gensession/core"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

func ExampleOpen() {
	store, err := memcachestore.Open([]string{"127.0.0.1:11211"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("32 random bytes or more, kept secret")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sessions.Close()
	fmt.Println("ready, whether the server is there or not")
	// Output: ready, whether the server is there or not
}
