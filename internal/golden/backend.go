package golden

import (
	"context"
	"fmt"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// A Backend is what an app keeps its sessions in. It starts empty.
type Backend interface {
	// Store is for the managers.
	Store() core.Store
	// Put stores r past the Store, with the ttl r.PTTL: a string, or a list if
	// the value is [List].
	Put(r Record)
	// Records returns all that is stored, sorted by key.
	Records() []Record
	// RefuseWrites makes every write fail, as on a Redis that has fewer
	// replicas than min-replicas-to-write, until it is told otherwise.
	RefuseWrites(refuse bool)
}

// List stands for the value of a Redis list, which GET refuses.
const List = "(a list)"

// memory is a ledger that fails as the recorded Redis did.
type memory struct {
	*Ledger
	store  *storetest.Faulty
	refuse bool
}

func newMemory(t *testing.T) Backend {
	m := &memory{Ledger: NewLedger()}
	t.Cleanup(func() { m.Close() })
	m.store = storetest.NewFaulty(m.Ledger)
	m.store.Before(m.before)
	return m
}

var (
	errList    = fmt.Errorf("%w: WRONGTYPE Operation against a key holding the wrong kind of value", core.ErrCorrupt)
	errRefused = fmt.Errorf("%w: NOREPLICAS Not enough good replicas to write.", core.ErrRefused)
)

func (m *memory) before(_ context.Context, op storetest.Op, key string) error {
	switch reads := op == storetest.OpGet || op == storetest.OpGetVersion; {
	case reads && m.Value(key) == List:
		return errList
	case !reads && m.refuse:
		return errRefused
	}
	return nil
}

func (m *memory) Store() core.Store { return m.store }

func (m *memory) Put(r Record) {
	if err := m.Set(context.Background(), r.Key, []byte(r.Value), max(0, millis(float64(r.PTTL)))); err != nil {
		panic(err)
	}
}

func (m *memory) RefuseWrites(refuse bool) { m.refuse = refuse }
