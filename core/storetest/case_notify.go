package storetest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

var notifyCases = []Case{{
	Name: "Notify while up",
	Rule: "while a store is up, it calls no listener, whether calls succeed or fail",
	test: func(c *check) {
		n := c.notifier()
		var told news
		stop := n.Notify(told.add)
		c.use()
		if all := told.all(); len(all) > 0 {
			c.broken("the listener was called with %v", all)
		}
		stop()
	},
}, {
	Name: "Notify until stop",
	Rule: "no call of a listener begins after stop has returned; stop may be called more than once, and does not stop other listeners",
	test: func(c *check) {
		n := c.notifier()
		var first, second news
		stop := n.Notify(first.add)
		stopSecond := n.Notify(second.add)
		for range 3 {
			func() {
				defer func() {
					if p := recover(); p != nil {
						c.broken("stop panicked: %v", p)
					}
				}()
				stop()
			}()
		}
		c.use()
		if all := first.all(); len(all) > 0 {
			c.broken("the listener was called with %v", all)
		}
		stopSecond()
	},
}, {
	Name: "concurrent Notify",
	Rule: "Notify and stop are safe for concurrent use",
	test: func(c *check) {
		n := c.notifier()
		c.together(8, func(int) error {
			for range 20 {
				stop := n.Notify(func(bool) {})
				stop()
			}
			return nil
		})
		c.use()
	},
}}

// Outage tests the notifications of a store that is a [core.Notifier] when its
// server goes down and comes up again, and the causes that it tells if it is also a
// [core.Causer]. It calls down and up, and waits up to
// thirty seconds for each notification. A nil up means that the store never comes up
// again. Outage leaves the server in the state after its last call of down or up.
func Outage(t testing.TB, s core.Store, down, up func()) {
	t.Helper()
	c, secrets := newCheck(t, "", context.Background(), s)
	c.rule = "Notify calls f(false) when the store goes down and f(true) when it is up again, in order and never twice in a row with the same value"
	n := c.notifier()
	var early, late, stopped news
	defer n.Notify(early.add)()
	n.Notify(stopped.add)()

	down()
	early.become(c, false)

	causer, tells := core.As[core.Causer](s)
	if tells {
		c.rule = "Cause returns why the store is down, or was when it was down last, without a key of a call"
		if _, err := c.store.Get(c.ctx, c.key("down")); err == nil {
			c.broken("Get worked during the outage")
		}
		if err := causer.Cause(); err == nil {
			c.broken("Cause returned nil during the outage")
		} else if strings.Contains(err.Error(), c.key("down")) {
			c.broken("Cause contains a key")
		}
	}

	c.rule = "if the store is already down, it calls f(false) before Notify returns"
	defer n.Notify(late.add)()
	if told := late.all(); !slices.Equal(told, []bool{false}) {
		c.broken("a listener that was added during the outage was called with %v", told)
	}

	c.rule = "Notify calls f(false) when the store goes down and f(true) when it is up again, in order and never twice in a row with the same value"
	if up != nil {
		up()
		early.become(c, false, true)
		late.become(c, false, true)
		down()
		early.become(c, false, true, false)
		late.become(c, false, true, false)
		up()
		early.become(c, false, true, false, true)
		late.become(c, false, true, false, true)
	}

	if tells && causer.Cause() == nil {
		c.rule = "Cause returns why the store is down, or was when it was down last, without a key of a call"
		c.broken("Cause returned nil after the outage")
	}

	c.rule = "no call of a listener begins after stop has returned"
	if told := stopped.all(); len(told) > 0 {
		c.broken("the listener was called with %v", told)
	}
	secrets.kept(c)
}

// use makes successful and failing calls of all kinds, and then waits a moment for
// what the store does in the background.
func (c *check) use() {
	for _, call := range c.calls("used", "x") {
		c.set("used", "y", time.Hour)
		_ = call.do(c.ctx, time.Hour)
		_ = call.do(cancelled(), time.Hour)
		_ = call.do(overdue(), time.Hour)
	}
	c.destroy("used")
	time.Sleep(5 * step)
}

// news records the calls of a listener.
type news struct {
	mu   sync.Mutex
	told []bool
}

func (n *news) add(up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, up)
}

func (n *news) all() []bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]bool(nil), n.told...)
}

// become waits until the listener was called with all of want, and a moment
// longer, and fails the run if the calls differ.
func (n *news) become(c *check, want ...bool) {
	c.Helper()
	for end := time.Now().Add(backLimit); len(n.all()) < len(want) && time.Now().Before(end); {
		time.Sleep(step)
	}
	time.Sleep(5 * step)
	if told := n.all(); !slices.Equal(told, want) {
		c.broken("the listener was called with %v, not %v", told, want)
	}
}
