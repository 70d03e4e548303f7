package notify_test

import (
	"slices"
	"testing"

	"github.com/gensession/gensession/stores/internal/notify"
)

func TestListeners(t *testing.T) {
	var l notify.Listeners
	var early, late []bool
	l.Notify(func(up bool) { early = append(early, up) })
	stop := l.Notify(func(bool) { t.Error("a listener was told that had stopped") })
	stop()
	l.Tell(true) // no news
	l.Tell(false)
	l.Tell(false)
	l.Notify(func(up bool) { late = append(late, up) })
	l.Tell(true)
	l.Close()
	l.Close()
	l.Tell(true)
	if want := []bool{false, true, false}; !slices.Equal(early, want) || !slices.Equal(late, want) {
		t.Errorf("told %v and %v, want %v", early, late, want)
	}
	if l.Up() {
		t.Error("up after Close")
	}
	told := false
	l.Notify(func(up bool) { told = !up })()
	if !told {
		t.Error("a listener after Close was not told")
	}
}

// R22: one that panics keeps the others from nothing.
func TestAListenerThatPanics(t *testing.T) {
	var l notify.Listeners
	told := 0
	for range 8 { // they are told in any order
		l.Notify(func(bool) { panic("a listener") })
		l.Notify(func(bool) { told++ })
	}
	if l.Tell(false); told != 8 {
		t.Errorf("%d of 8 were told", told)
	}
	l.Close()
}
