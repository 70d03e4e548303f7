package caught_test

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/gensession/gensession/stores/internal/caught"
)

// R22: a panic goes on where somebody waits, with its value, and is an error without
// its text where nobody does. So does the end of a goroutine.
func TestHowAFunctionEnds(t *testing.T) {
	planted := errors.New("a-key-of-the-store")
	for name, c := range map[string]struct {
		f      func()
		value  any
		exits  bool
		errors string
	}{
		"returns":         {f: func() {}},
		"panics":          {f: func() { panic(planted) }, value: planted, errors: "panic: *errors.errorString"},
		"a runtime error": {f: func() { _ = []int{}[len(planted.Error())] }, value: "runtime", errors: "panic: runtime error: index out of range [18] with length 0"},
		"exits":           {f: runtime.Goexit, exits: true, errors: "panic: <nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			ways := map[string]func(){
				"Go": func() {
					ended := make(chan caught.End, 1)
					caught.Go(c.f, func(e caught.End) { ended <- e })
					e := <-ended
					if err := e.Err(); (err != nil) != (c.errors != "") || err != nil && err.Error() != c.errors {
						t.Errorf("the error is %v", err)
					}
					e.Raise()
				},
				"All": func() {
					var mu sync.Mutex
					called := 0
					defer func() {
						if called != 3 {
							t.Errorf("%d were called", called)
						}
					}()
					caught.All(3, func(i int) {
						mu.Lock()
						called++
						mu.Unlock()
						if i == 1 {
							c.f()
						}
					})
				},
				"All of one": func() { caught.All(1, func(int) { c.f() }) },
			}
			for way, call := range ways {
				returned, p := false, any(nil)
				over := make(chan struct{})
				go func() {
					defer close(over)
					defer func() { p = recover() }()
					call()
					returned = true
				}()
				<-over
				if _, ok := p.(runtime.Error); ok {
					p = "runtime"
				}
				if p != c.value || returned != (c.value == nil && !c.exits) {
					t.Errorf("%s: returned %v, panic %v", way, returned, p)
				}
			}
			if c.exits {
				return
			}
			if err := caught.Do(c.f); (err != nil) != (c.errors != "") || err != nil && (err.Error() != c.errors || strings.Contains(err.Error(), planted.Error())) {
				t.Errorf("Do: %v", err)
			}
		})
	}
}
