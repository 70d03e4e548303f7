package caught_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/gensession/gensession/stores/internal/caught"
)

// R22: a panic goes on where somebody waits, and is an error where nobody does: both
// without its text, unless it is the runtime's. So does the end of a goroutine.
func TestHowAFunctionEnds(t *testing.T) {
	planted := errors.New("a-key-of-the-store")
	for name, c := range map[string]struct {
		f      func()
		panics bool
		exits  bool
		errors string
	}{
		"returns":         {f: func() {}},
		"panics":          {f: func() { panic(planted) }, panics: true, errors: "panic: *errors.errorString"},
		"again":           {f: func() { caught.Again(planted) }, panics: true, errors: "panic: *errors.errorString"},
		"again and again": {f: func() { defer func() { caught.Again(recover()) }(); caught.Again(planted) }, panics: true, errors: "panic: *errors.errorString"},
		"of nil":          {f: func() { caught.Again(nil) }},
		"a runtime error": {f: func() { _ = []int{}[len(planted.Error())] }, panics: true, errors: "panic: runtime error: index out of range [18] with length 0"},
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
				if (p != nil) != c.panics || returned != (!c.panics && !c.exits) {
					t.Errorf("%s: returned %v, panic %v", way, returned, p)
				}
				if _, runtimes := p.(runtime.Error); runtimes != strings.Contains(c.errors, "runtime") {
					t.Errorf("%s: panic of type %T", way, p)
				}
				if strings.Contains(fmt.Sprintf("%+v %#v", p, p), planted.Error()) {
					t.Errorf("%s: the panic quotes: %v", way, p)
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
