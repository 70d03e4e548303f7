package concurrency_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// Histories of parallel clients on one session are linearizable: there is one
// order of their requests that explains what each of them saw, in which none
// comes before one that had ended when it began. A request is not one step
// but two, since it sees what was there when it was loaded, and what it writes
// comes to be at its commit.

// A histOp is one of the steps.
type histOp struct {
	kind histKind
	n    int // what is set or mixed in, of this request alone
}

type histKind uint8

const (
	histRead    histKind = iota // sees n, or that the session is dead
	histSet                     // writes n
	histMix                     // makes another n of it
	histDestroy                 // ends the session
)

// mixing makes a number from which can be told what came in, and in which
// order: sums would leave the checker with all the ways to make them.
func mixing(k int) func(int) int {
	return func(n int) int { return (n*8191 + k) % (1<<31 - 1) }
}

// A histResult is what the client was told.
type histResult struct {
	n    int
	dead bool // there is no session any more
}

// An answer that got lost is known to the test: the store has done what it
// was asked, and the history must have it. Left open, such steps make a
// history too hard to check.
type lostAnswer struct{}

// A histState is the session.
type histState struct {
	n    int
	dead bool
}

// history is the sequential specification.
var history = porcupine.NondeterministicModel{
	Init: func() []any { return []any{histState{}} },
	Step: func(state, input, output any) []any {
		s, op, r := state.(histState), input.(histOp), output.(histResult)
		after := s
		switch {
		case op.kind == histDestroy:
			after = histState{dead: true}
		case op.kind == histRead:
		case !s.dead && op.kind == histSet:
			after.n = op.n
		case !s.dead && op.kind == histMix:
			after.n = mixing(op.n)(s.n)
		}
		switch {
		case op.kind == histRead && (s.dead != r.dead || !s.dead && s.n != r.n):
			return nil
		case op.kind != histRead && op.kind != histDestroy && s.dead != r.dead:
			return nil
		}
		return []any{after}
	},
	DescribeOperation: func(op, r any) string { return fmt.Sprintf("%+v: %+v", op, r) },
}

// A recorder collects the steps of all clients.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	ops   []porcupine.Operation
	lost  atomic.Int64 // answers
}

// add notes a step.
func (r *recorder) add(client int, op histOp, call time.Duration, result histResult) {
	end := time.Since(r.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: op, Call: int64(call), Output: result, Return: int64(end)})
}

// A history of clients that do so many requests each.
type histPlan struct {
	clients, requests int
	faults            bool
	policy            core.Conflict
}

// record plays one history on a store of its own session.
func record(t testing.TB, store core.Store, plan histPlan, seed uint64) *recorder {
	faulty := storetest.NewFaulty(store)
	m, err := core.New(faulty, &core.Options{Keys: [][]byte{firstKey}, OnConflict: plan.policy, OpTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var browser jartest.Browser
	jar := browser.Jar("/")
	v, _ := m.NewVisit(jar, nil)
	s, err := v.Session(context.Background())
	if err == nil {
		err = errors.Join(n.Set(s, 0), v.Commit(context.Background()))
	}
	if err != nil {
		t.Fatal(err)
	}
	browser.Take("/", jar.SetCookies...)

	if plan.faults {
		var mu sync.Mutex
		chance := rand.New(rand.NewPCG(seed, 1))
		roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return chance.IntN(n) }
		faulty.Before(func(_ context.Context, op storetest.Op, _ string) error {
			switch roll(20) {
			case 0:
				return core.ErrRefused
			case 1:
				if op == storetest.OpGet || op == storetest.OpGetVersion {
					return core.ErrTimeout
				}
				return core.ErrOutcomeUnknown // it gets lost
			case 2:
				time.Sleep(time.Duration(roll(200)) * time.Microsecond)
			}
			return nil
		})
		faulty.After(func(ctx context.Context, op storetest.Op, _ string) error {
			if op != storetest.OpGet && op != storetest.OpGetVersion && roll(12) == 0 {
				*ctx.Value(lostAnswer{}).(*bool) = true
				return core.ErrOutcomeUnknown // its answer gets lost
			}
			return nil
		})
	}

	r := &recorder{start: time.Now()}
	var clients sync.WaitGroup
	for c := range plan.clients {
		random := rand.New(rand.NewPCG(seed, uint64(c)+2))
		clients.Go(func() {
			for i := range plan.requests {
				op := histOp{kind: histMix, n: 1000*(c+1) + i}
				switch p := random.IntN(200); {
				case p < 40:
					op = histOp{kind: histRead}
				case p < 100:
					op.kind = histSet
				case p == 199:
					op = histOp{kind: histDestroy}
				}
				r.request(t, m, browser.Jar("/"), c, op)
			}
		})
	}
	clients.Wait()
	return r
}

// request is one request of a client: its loading is a read, and what it then
// does another step.
func (r *recorder) request(t testing.TB, m *core.Manager, jar *jartest.Jar, client int, op histOp) {
	lost := false
	ctx := context.WithValue(context.Background(), lostAnswer{}, &lost)
	call := time.Since(r.start)
	v, _ := m.NewVisit(jar, nil)
	s, err := v.Session(ctx)
	if err != nil {
		v.Abandon()
		return
	}
	saw := histResult{n: n.Get(s), dead: s.IsNew()}
	r.add(client, histOp{kind: histRead}, call, saw)
	if saw.dead || op.kind == histRead {
		v.Abandon()
		return
	}
	call = time.Since(r.start)
	switch op.kind {
	case histSet:
		err = n.Set(s, op.n)
	case histMix:
		_, err = n.Update(s, mixing(op.n))
	case histDestroy:
		err = s.Destroy(ctx)
	}
	if err == nil {
		err = s.Save(ctx) // unlike Commit, it tells what is gone
	}
	if op.kind == histDestroy || err != nil {
		v.Abandon()
	} else if err := v.Commit(ctx); err != nil {
		t.Errorf("a commit that has nothing to do: %v", err)
	}
	switch {
	case err == nil, errors.Is(err, core.ErrOutcomeUnknown) && lost:
		r.add(client, op, call, histResult{})
	case errors.Is(err, core.ErrGone):
		r.add(client, op, call, histResult{dead: true})
	}
	// Else nothing has happened.
	if lost {
		r.lost.Add(1)
	}
}

// linear checks a history.
func (r *recorder) linear(t testing.TB) bool {
	switch porcupine.CheckOperationsTimeout(history.ToModel(), r.ops, 10*time.Second) {
	case porcupine.Ok:
		return true
	case porcupine.Unknown:
		t.Error("a history that was too hard to check")
	}
	return false
}

func TestLinearizable(t *testing.T) {
	for _, kind := range stores {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			store := kind.open(t)
			histories, ops, lost := 60, 0, int64(0)
			if soak {
				histories = 1000
			}
			for i := range histories {
				plan := histPlan{clients: 5, requests: 30, faults: i%2 == 1}
				if soak {
					plan.clients, plan.requests = 8, 200
				}
				r := record(t, store, plan, uint64(i)+1)
				ops += len(r.ops)
				lost += r.lost.Load()
				if !r.linear(t) {
					t.Errorf("history %d (faults %v) is not linearizable: %d steps", i, plan.faults, len(r.ops))
				}
			}
			t.Logf("%d histories, %d steps, %d lost answers", histories, ops, lost)
		})
	}
}
