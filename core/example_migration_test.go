package core_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// begin steps

// step1 is the first step of a move, and the way back: the former store. Sessions that
// a process of step 2 has taken over are taken back.
func step1(former, next core.Store, keys core.Keyring, date time.Time) (*core.Manager, error) {
	return core.New(former, &core.Options{Keys: keys, Migrate: core.Migration{From: next, Until: date}})
}

// step2 is the move itself.
func step2(former, next core.Store, keys core.Keyring, date time.Time) (*core.Manager, error) {
	return core.New(next, &core.Options{Keys: keys, Migrate: core.Migration{From: former, Until: date}})
}

// step3 is how it goes on after the date.
func step3(next core.Store, keys core.Keyring) (*core.Manager, error) {
	return core.New(next, &core.Options{Keys: keys})
}

// end steps

// A session goes on in another store, and back, while both kinds of processes serve.
func ExampleMigration() {
	former, next := memorystore.New(nil), memorystore.New(nil)
	defer former.Close()
	defer next.Close()
	keys, date := core.Keyring{testKey}, time.Now().Add(24*time.Hour)
	one, err1 := step1(former, next, keys, date)
	two, err2 := step2(former, next, keys, date)
	three, err3 := step3(next, keys)
	if err1 != nil || err2 != nil || err3 != nil {
		fmt.Println(err1, err2, err3)
		return
	}
	browser := new(jartest.Browser)
	for _, sessions := range []*core.Manager{one, two, one, two, three} {
		jar := browser.Jar("/")
		v, _ := sessions.NewVisit(jar, nil)
		ctx := core.NewContext(context.Background(), v)
		if err := v.Begin(ctx); err != nil {
			fmt.Println(err)
			return
		}
		s, _ := v.Session(ctx)
		n, _ := visits.Update(s, func(n int) int { return n + 1 })
		if err := v.Commit(ctx); err != nil {
			fmt.Println(err)
		}
		browser.Take("/", jar.SetCookies...)
		fmt.Print(n, " ")
		defer sessions.Close()
	}
	// Output: 1 2 3 4 5
}
