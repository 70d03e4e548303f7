package core_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

func TestK35ByID(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	id := core.ID(a.value())
	got, err := a.manager.GetByID(bg, id)
	if err != nil || string(got) != `{"visits":1}` {
		t.Errorf("Get: %s, %v", got, err)
	}
	must(t, a.manager.SetByID(bg, id, map[string]any{"visits": 5}, time.Hour))
	a.wantVisits(5)
	if a.manager.SetByID(bg, "short", map[string]any{}, 0) == nil {
		t.Error("an id that no generator may make is taken")
	}
	if a.manager.SetByID(bg, id, []int{1}, 0) == nil || a.manager.SetByID(bg, id, map[string]int{"cookie": 1}, 0) == nil {
		t.Error("values that are no session are taken")
	}
	must(t, a.manager.DestroyByID(bg, id))
	must(t, a.manager.DestroyByID(bg, id))
	wantIs(t, a.manager.DestroyByID(bg, "no id at all"), core.ErrNotFound)
	_, err = a.manager.GetByID(bg, id)
	wantIs(t, err, core.ErrNotFound)
	_, err = a.manager.GetByID(bg, "no id at all")
	wantIs(t, err, core.ErrNotFound)
	a.wantVisits(0)
	must(t, a.manager.SetByID(bg, "an-id-of-our-own-making", map[string]int{"visits": 3}, -time.Second))
	_, err = a.manager.GetByID(bg, "an-id-of-our-own-making")
	wantIs(t, err, core.ErrNotFound)
}

// A session that can't be stored is an error of SetByID, and the one that there is stays.
func TestSetByIDTooLarge(t *testing.T) {
	a := newApp(t, &core.Options{MaxSize: 200})
	a.ok(a.get("/", count(t)))
	wantIs(t, a.manager.SetByID(bg, core.ID(a.value()), map[string]string{"a": strings.Repeat("x", 300)}, 0), core.ErrTooLarge)
	a.wantVisits(1)
}
