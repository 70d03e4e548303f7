package core

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// W40: many changes are found by their name and weighed one by one, never looked
// through, and the weight is that of all of them.
func TestW40Index(t *testing.T) {
	s := &Session{visit: &Visit{manager: &Manager{o: Options{MaxSize: 4000}}}}
	look := func(when string) {
		t.Helper()
		if (s.index() != nil) != (len(s.edits) > fewEdits) {
			t.Fatalf("%s: %d changes, and the index is %v", when, len(s.edits), s.many)
		}
		if s.many == nil {
			return
		}
		weight := 0
		for _, e := range s.edits {
			weight += e.weight()
			if s.many.byName[e.name].edit != e || s.edit(e.name) != e {
				t.Fatalf("%s: %s is not found", when, e.name)
			}
		}
		if len(s.many.byName) != len(s.edits) || s.many.weight != weight {
			t.Fatalf("%s: %d of %d changes, their weight is %d and counted as %d", when, len(s.many.byName), len(s.edits), weight, s.many.weight)
		}
	}
	key := func(i int) Key[string] { return Key[string]("name-" + strconv.Itoa(i)) }
	for i := range 50 {
		if err := key(i).Set(s, strings.Repeat("x", i)); err != nil {
			t.Fatal(err)
		}
		look("Set")
	}
	for i := range 50 {
		if _, err := key(i).Update(s, func(string) string { return "updated" }); err != nil {
			t.Fatal(err)
		}
		look("Update")
		if i%2 == 0 {
			_ = key(i).Delete(s)
			look("Delete")
		}
	}
	same := s.many
	if err := key(1).Set(s, strings.Repeat("x", 4000)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if look("a Set that is refused"); s.many != same {
		t.Error("the index was made anew")
	}
	if err := s.Replace(map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	look("Replace")
}
