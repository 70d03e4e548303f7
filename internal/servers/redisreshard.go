package servers

import (
	"fmt"
	"strconv"
)

// SlotMove is a slot on its way from one master to another. Until it is
// finished, the old one answers for the keys that it still has and sends
// clients to the new one, by ASK, for the others.
type SlotMove struct {
	c        *Cluster
	slot     string
	from, to *RedisServer
}

// StartMove begins to move a slot to another master and leaves its keys where
// they are. Call it from the goroutine of the test.
func (c *Cluster) StartMove(slot int, to *RedisServer) *SlotMove {
	c.tb.Helper()
	m := &SlotMove{c: c, slot: strconv.Itoa(slot), from: c.Master(slot), to: to}
	if m.from == nil || m.from == to {
		c.tb.Fatalf("servers: slot %d cannot move to %s", slot, to.Addr())
	}
	to.Do("CLUSTER", "SETSLOT", m.slot, "IMPORTING", c.id(m.from))
	m.from.Do("CLUSTER", "SETSLOT", m.slot, "MIGRATING", c.id(to))
	return m
}

// Keys moves at most n keys of the slot and returns how many it moved.
func (m *SlotMove) Keys(n int) int {
	m.c.tb.Helper()
	moved, err := m.keys(n)
	m.from.check(err)
	return moved
}

func (m *SlotMove) keys(n int) (int, error) {
	reply, err := m.from.Try("CLUSTER", "GETKEYSINSLOT", m.slot, strconv.Itoa(n))
	if err != nil {
		return 0, fmt.Errorf("the keys of slot %s: %w", m.slot, err)
	}
	keys, _ := reply.([]any)
	if len(keys) == 0 {
		return 0, nil
	}
	move := []string{
		"MIGRATE", "127.0.0.1", strconv.Itoa(m.to.port), "", "0",
		strconv.FormatInt(kitTimeout.Milliseconds(), 10),
		"AUTH2", kitUser, kitPassword, "KEYS",
	}
	for _, k := range keys {
		move = append(move, fmt.Sprint(k))
	}
	if _, err := m.from.Try(move...); err != nil {
		return 0, fmt.Errorf("moving keys of slot %s: %w", m.slot, err)
	}
	return len(keys), nil
}

// Finish moves the keys that are left, gives the slot to the new master and
// waits until all nodes agree. If the keys can't be moved it says why, once,
// and leaves the slot between both masters, which still answer for it; that
// the test has failed for another reason does not keep it from finishing.
func (m *SlotMove) Finish() {
	m.c.tb.Helper()
	for {
		n, err := m.keys(100)
		if err != nil {
			m.from.check(err)
			return
		}
		if n == 0 {
			break
		}
	}
	id := m.c.id(m.to)
	m.to.Do("CLUSTER", "SETSLOT", m.slot, "NODE", id)
	m.from.Do("CLUSTER", "SETSLOT", m.slot, "NODE", id)
	m.c.WaitOK()
}

// MoveSlot moves a slot with its keys to another master.
func (c *Cluster) MoveSlot(slot int, to *RedisServer) {
	c.tb.Helper()
	c.StartMove(slot, to).Finish()
}
