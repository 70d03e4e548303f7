package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// W39: nobody is told what is stored.
func TestDecodeFault(t *testing.T) {
	var ops []core.Op
	a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { ops = append(ops, e.Op); return e }}})
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("visits", "secret words")) }))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if visits.Get(s) != 0 {
			t.Error("not zero")
		}
		if _, ok, err := visits.Lookup(s); !errors.Is(err, core.ErrType) || ok || strings.Contains(err.Error(), "secret") {
			t.Errorf("Lookup: %v, %v", ok, err)
		}
		if _, err := visits.Update(s, func(int) int { t.Error("f runs"); return 1 }); !errors.Is(err, core.ErrType) {
			t.Errorf("Update: %v", err)
		}
	})).wantCookies(t, "") // and the value is left alone
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if s.Get("visits") != "secret words" {
			t.Error("the value is lost")
		}
		must(t, visits.Set(s, 3))
	}))
	a.wantVisits(3)
	if len(ops) != 1 || ops[0] != core.OpDecode {
		t.Errorf("reported %v", ops)
	}
}

// W37: Get has the same type in the request that has set the value and in the next.
func TestW37TheSameType(t *testing.T) {
	t.Parallel()
	type point struct {
		X    int
		More any
	}
	for name, c := range map[string]struct {
		set any
		get func(s *core.Session) any
	}{
		"a pointer":           {&profile{Name: "ada", Tags: []string{"a"}}, func(s *core.Session) any { return s.Get("v") }},
		"a slice":             {[]int{1, 2}, func(s *core.Session) any { return s.Get("v") }},
		"a map":               {map[string]int{"a": 1}, func(s *core.Session) any { return s.Get("v") }},
		"an int":              {7, func(s *core.Session) any { return s.Get("v") }},
		"a map of any":        {map[string]any{"n": 1}, func(s *core.Session) any { return core.Key[map[string]any]("v").Get(s)["n"] }},
		"a field":             {point{1, []int{1}}, func(s *core.Session) any { return core.Key[point]("v").Get(s).More }},
		"a field by pointers": {[]*point{{1, []int{1}}}, func(s *core.Session) any { return core.Key[[]*point]("v").Get(s)[0].More }},
		"a type of its own":   {profile{Name: "ada"}, func(s *core.Session) any { return core.Key[profile]("v").Get(s) }},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, nil)
			var here, saved, next any
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				must(t, s.Set("v", c.set))
				here = c.get(s)
				must(t, s.Save(bg))
				saved = c.get(s)
			}))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { next = c.get(s) })).wantCookies(t, "")
			for when, v := range map[string]any{"at once": here, "after Save": saved} {
				if fmt.Sprintf("%T %v", v, v) != fmt.Sprintf("%T %v", next, next) {
					t.Errorf("%s %T %v, in the next request %T %v", when, v, v, next, next)
				}
			}
		})
	}
	t.Run("a typed key keeps the value itself, and in both cases a change in place counts", func(t *testing.T) {
		a := newApp(t, nil)
		mine := core.Key[*profile]("p")
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			p := &profile{Name: "ada"}
			must(t, mine.Set(s, p))
			if mine.Get(s) != p {
				t.Error("another pointer")
			}
			p.Name = "eve"
			must(t, s.Set("any", map[string]any{"n": 1}))
			s.Get("any").(map[string]any)["n"] = "changed"
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if got := s.Get("any").(map[string]any)["n"]; mine.Get(s).Name != "eve" || got != "changed" {
				t.Errorf("%v, %v", mine.Get(s).Name, got)
			}
		}))
	})
	t.Run("what Set was given, changed in place after Get has returned another", func(t *testing.T) {
		for changes, want := range map[string]string{"nothing": "1", "given": "given", "got": "got", "given, then got anew": "anew"} {
			a := newApp(t, nil)
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				given := map[string]any{"n": 1}
				must(t, s.Set("any", given))
				got := s.Get("any").(map[string]any)
				switch changes {
				case "given":
					given["n"] = "given"
				case "got":
					got["n"] = "got"
				case "given, then got anew":
					given["n"] = "given"
					must(t, s.Save(bg))
					if n := s.Get("any").(map[string]any)["n"]; n != "given" {
						t.Errorf("%s: %v after Save", changes, n)
					}
					s.Get("any").(map[string]any)["n"] = "anew"
				}
			}))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				if got := fmt.Sprint(s.Get("any").(map[string]any)["n"]); got != want {
					t.Errorf("changed is %s: %s", changes, got)
				}
			}))
		}
	})
	t.Run("what JSON does not bring back", func(t *testing.T) {
		one := 1
		same(t, "nil and empty slices", [][]int{nil, {}})
		same(t, "nil and empty maps", []map[string]int{nil, {}})
		same(t, "times", []time.Time{time.Now(), time.Now().In(time.FixedZone("X", 19800)), {}})
		same(t, "a time", time.Now())
		same(t, "omitted", struct {
			A []int          `json:",omitempty"`
			M map[string]int `json:",omitzero"`
			P *int
		}{A: []int{}, M: map[string]int{}, P: &one})
		same(t, "unexported", struct {
			A []int
			b int
			C int `json:"-"`
		}{[]int{1}, 2, 3})
		same(t, "not UTF-8", map[string]string{"a\xff": "b\xff"})
		same(t, "numbers", []any{json.Number("12345678901234567890"), int64(1) << 62, float32(0.1), json.RawMessage(`{"a":  1}`)})
		same(t, "ints", []int64{1<<63 - 1, -1 << 63})
		same(t, "embedded", struct {
			profile
			N *big.Int
		}{profile{Name: "ada", Tags: []string{}}, big.NewInt(7)})
	})
	t.Run("what Set was given, changed in place", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			m := map[string]any{"n": 1}
			must(t, s.Set("any", m))
			m["n"] = "changed"
			if got := s.Get("any").(map[string]any)["n"]; got != "changed" {
				t.Errorf("Get returned %v", got)
			}
		}))
	})
}

// W39: the type of a value was changed at a deployment.
func TestW39AnotherType(t *testing.T) {
	t.Parallel()
	t.Run("R10: no value comes with the error", func(t *testing.T) {
		t.Parallel()
		const secret, digits = "a-secret-of-ada", 481516234
		a := newApp(t, nil)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Set("text", secret))
			must(t, s.Set("number", digits))
			must(t, s.Set("some", []any{1, secret}))
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			at, ok1, err1 := core.Key[time.Time]("text").Lookup(s)
			n, ok2, err2 := core.Key[int8]("number").Lookup(s)
			some, ok3, err3 := core.Key[[]int]("some").Lookup(s) // of which a part can be decoded
			if !at.IsZero() || n != 0 || some != nil || ok1 || ok2 || ok3 {
				t.Errorf("%v, %v, %v", at, n, some)
			}
			for _, err := range []error{err1, err2, err3} {
				if wantIs(t, err, core.ErrType); strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), fmt.Sprint(digits)) {
					t.Errorf("the error quotes the value: %v", err)
				}
			}
		}))
	})
	const (
		old core.Key[[]string]       = "cart"
		now core.Key[map[string]int] = "cart"
	)
	a := newApp(t, nil)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, old.Set(s, []string{"pen", "pen", "ink"})) }))
	cart := func(s *core.Session) (map[string]int, error) {
		c, _, err := now.Lookup(s)
		if !errors.Is(err, core.ErrType) {
			return c, err
		}
		c = map[string]int{}
		for _, item := range old.Get(s) {
			c[item]++
		}
		return c, now.Set(s, c)
	}
	for range 2 { // converted, and then as if it had always been so
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			c, err := cart(s)
			if want := map[string]int{"pen": 2, "ink": 1}; err != nil || !maps.Equal(c, want) {
				t.Errorf("%v, %v", c, err)
			}
		}))
	}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if _, _, err := now.Lookup(s); err != nil {
			t.Error(err)
		}
	}))
}

// W40: a request that sets many values. That it costs no more than their number is
// TestW40Index.
func TestW40ManyNames(t *testing.T) {
	t.Parallel()
	const n = 20_000
	a := newApp(t, &core.Options{MaxSize: 16 << 20})
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		for i := range n {
			must(t, core.Key[int](strconv.Itoa(i)).Set(s, i))
		}
		for i := range n {
			if core.Key[int](strconv.Itoa(i)).Get(s) != i {
				t.Fatal("another value")
			}
		}
		if _, err := visits.Update(s, func(n int) int { return n + 1 }); err != nil {
			t.Error(err)
		}
	}))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		names := s.Names()
		if len(names) != n+1 || !slices.Contains(names, "19999") {
			t.Fatalf("%d names", len(names))
		}
		for i := range n {
			if s.Get(strconv.Itoa(i)) != float64(i) {
				t.Fatal("another value")
			}
			must(t, s.Delete(strconv.Itoa(i)))
		}
	}))
	a.wantVisits(1)
}

// W40: what is too large is refused when it is set, and costs no more than what is
// not; the rest of the request is not saved without it.
func TestW40TooLargeAtOnce(t *testing.T) {
	t.Parallel()
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	const n = 20_000
	refused := 0
	e := a.get("/", func(_ *core.Visit, s *core.Session) {
		for i := range n {
			err := s.Set("name-"+strconv.Itoa(i), "value")
			if err != nil {
				wantIs(t, err, core.ErrTooLarge)
				refused++
			}
		}
		if refused < n-256<<10/18 || refused == n {
			t.Errorf("%d of %d were refused", refused, n)
		}
	})
	a.fails(core.ErrTooLarge, e)
	e.wantCookies(t, "")
	a.wantVisits(1)

	t.Run("made good", func(t *testing.T) {
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			big := strings.Repeat("x", 200<<10)
			must(t, s.Set("a", big))
			wantIs(t, s.Set("b", big), core.ErrTooLarge)
			if _, err := core.Key[string]("b").Update(s, func(string) string { return big }); !errors.Is(err, core.ErrTooLarge) {
				t.Errorf("Update: %v", err)
			}
			if s.Get("b") != nil {
				t.Error("it was set")
			}
			must(t, s.Set("a", "small")) // there is room again
			must(t, s.Set("b", big))
			for i := range 20 {
				must(t, s.Set(strconv.Itoa(i), i))
			}
			wantIs(t, s.Set("a", big), core.ErrTooLarge)
			must(t, s.Delete("b"))
			must(t, s.Set("a", big))
			wantIs(t, s.Set("b", big), core.ErrTooLarge)
			must(t, s.Delete("b"))
		}))
	})
	t.Run("Replace", func(t *testing.T) {
		a.fails(core.ErrTooLarge, a.get("/", func(_ *core.Visit, s *core.Session) {
			wantIs(t, s.Replace(map[string]string{"a": strings.Repeat("x", 300<<10)}), core.ErrTooLarge)
		}))
	})
}

// same fails the test unless Get returns equal values in the request that has set v, there
// after Save, and in the next request.
func same[T any](t *testing.T, name string, v T) {
	t.Helper()
	k := core.Key[T]("v")
	var here, again, saved, next T
	a := newApp(t, nil)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		must(t, k.Set(s, v))
		here, again = k.Get(s), k.Get(s)
		must(t, s.Save(bg))
		saved = k.Get(s)
	}))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { next = k.Get(s) })).wantCookies(t, "")
	for when, got := range map[string]T{"at once": here, "again": again, "after Save": saved} {
		if !reflect.DeepEqual(got, next) {
			t.Errorf("%s, %s: %#v, in the next request %#v", name, when, got, next)
		}
	}
}
