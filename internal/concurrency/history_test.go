package concurrency_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
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
	n       int  // what it saw, or made of it
	dead    bool // there is no session any more
	unknown bool // what became of it
}

// A histState is the session.
type histState struct {
	n    int
	dead bool
}

// history is the sequential specification. A step whose outcome is unknown may
// take effect at any time after its call, also late; one that never did counts
// as the last of all, after everything that was seen.
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
		case r.unknown:
		case op.kind == histRead && (s.dead != r.dead || !s.dead && s.n != r.n):
			return nil
		case op.kind != histRead && op.kind != histDestroy && s.dead != r.dead:
			return nil
		case op.kind == histMix && !s.dead && after.n != r.n:
			return nil
		}
		return []any{after}
	},
	DescribeOperation: func(op, r any) string { return fmt.Sprintf("%+v: %+v", op, r) },
}

// A recorder collects the steps of all clients.
type recorder struct {
	mu      sync.Mutex
	start   time.Time
	ops     []porcupine.Operation
	unknown int // steps whose outcome nobody was told
	failed  int // requests that were told that nothing has happened
}

// add notes a step.
func (r *recorder) add(client int, op histOp, call time.Duration, result histResult) {
	end := time.Since(r.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: op, Call: int64(call), Output: result, Return: int64(end)})
}

// A histPlan is a history of clients that do so many requests each.
type histPlan struct {
	clients, requests int
	policy            core.ConflictPolicy
	faults            func(random *rand.Rand, over <-chan struct{}) // nil: none
}

// histTimeout is how long a call may take: short, for some are never answered.
const histTimeout = 150 * time.Millisecond

// record plays one history on a session of its own.
func record(t testing.TB, store core.Store, plan histPlan, seed uint64) *recorder {
	m, err := core.New(store, &core.Options{Keys: [][]byte{firstKey}, OnConflict: plan.policy, OpTimeout: histTimeout})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	browser := visitor(t, m)

	r := &recorder{start: time.Now()}
	over, troubles := make(chan struct{}), sync.WaitGroup{}
	if plan.faults != nil {
		troubles.Go(func() { plan.faults(rand.New(rand.NewPCG(seed, 1)), over) })
	}
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
	close(over)
	troubles.Wait()
	return r
}

// visitor is a browser that has a session, in which n is 0.
func visitor(t testing.TB, m *core.Manager) *jartest.Browser {
	for deadline := time.Now().Add(30 * time.Second); ; {
		var browser jartest.Browser
		jar := browser.Jar("/")
		v, _ := m.NewVisit(jar, nil)
		s, err := v.Session(context.Background())
		if err == nil {
			err = errors.Join(n.Set(s, 0), v.Commit(context.Background()))
		}
		if err == nil {
			browser.Take("/", jar.SetCookies...)
			return &browser
		}
		if time.Now().After(deadline) { // a fault before may be over only now
			t.Fatal(err)
		}
	}
}

// request is one request of a client: its loading is a read, and what it then
// does another step.
func (r *recorder) request(t testing.TB, m *core.Manager, jar *jartest.Jar, client int, op histOp) {
	ctx := context.Background()
	call := time.Since(r.start)
	v, _ := m.NewVisit(jar, nil)
	s, err := v.Session(ctx)
	if err != nil {
		v.Abandon()
		r.miss()
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
	case err == nil:
		r.add(client, op, call, histResult{n: n.Get(s)})
	case errors.Is(err, core.ErrOutcomeUnknown):
		r.add(client, op, call, histResult{unknown: true})
	case errors.Is(err, core.ErrGone):
		r.add(client, op, call, histResult{dead: true})
	default:
		r.miss() // nothing has happened
	}
}

func (r *recorder) miss() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
}

// linear checks a history. With unknown outcomes it can be too hard to check,
// which says nothing. So it is tried first with what can be seen of them: a
// step whose number turns up has taken effect by then, another one not at all.
func (r *recorder) linear() porcupine.CheckResult {
	end := int64(time.Since(r.start))
	first := r.sightings()
	var seen, all []porcupine.Operation
	for i, o := range r.ops {
		if !o.Output.(histResult).unknown {
			seen, all = append(seen, o), append(all, o)
			continue
		}
		r.unknown++
		o.ClientId, o.Return = 1000+i, end // its client has gone on
		all = append(all, o)
		if at := first(o.Input.(histOp)); at > 0 {
			o.Return = max(at, o.Call)
			seen = append(seen, o)
		}
	}
	result := porcupine.CheckOperationsTimeout(history.ToModel(), seen, 20*time.Second)
	if result == porcupine.Ok || r.unknown == 0 {
		return result
	}
	return porcupine.CheckOperationsTimeout(history.ToModel(), all, 20*time.Second)
}

// sightings returns when the effect of a step was first seen for sure, 0 if it
// was not.
func (r *recorder) sightings() func(op histOp) int64 {
	reads := map[histResult]int64{}
	var written, mixed []int
	for _, o := range r.ops {
		op, saw := o.Input.(histOp), o.Output.(histResult)
		switch op.kind {
		case histRead:
			if at, ok := reads[saw]; !ok || o.Return < at {
				reads[saw] = o.Return
			}
			written = append(written, saw.n)
		case histSet:
			written = append(written, op.n)
		case histMix:
			mixed = append(mixed, op.n)
		}
	}
	sees := func(n int) int64 { return reads[histResult{n: n}] }
	later := func(n int) int64 { // by those who mixed something into it
		for _, k := range mixed {
			if at := sees(mixing(k)(n)); at > 0 {
				return at
			}
		}
		return sees(n)
	}
	return func(op histOp) int64 {
		switch op.kind {
		case histDestroy:
			return reads[histResult{dead: true}]
		case histSet:
			return later(op.n)
		}
		for _, n := range written {
			if at := later(mixing(op.n)(n)); at > 0 {
				return at
			}
		}
		return 0
	}
}

// A net is a store behind a network and a server that can be made to fail.
type net struct {
	store core.Store
	fault func(random *rand.Rand, long bool) // one of its faults, from begin to end
}

// doubts is about how many outcomes of a history get lost: each of them may
// have taken effect at any time, and a checker has to try them all.
const doubts = 8

// faults makes a few faults in the course of a history, at most one of which
// all clients meet.
func (n *net) faults(random *rand.Rand, over <-chan struct{}) {
	long := random.IntN(4)
	for i := range 4 {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(random.IntN(30)) * time.Millisecond):
			n.fault(random, i == long)
		}
	}
}

// A pausable is a server that SIGSTOP stops.
type pausable interface {
	Addr() string
	Pause()
	Resume()
}

// wire puts a proxy before a server.
func wire(t testing.TB, server pausable, open func(addr string) core.Store) *net {
	p := faultproxy.New(t, server.Addr())
	ends := []faultproxy.End{faultproxy.Close, faultproxy.Reset}
	return &net{open(p.Addr()), func(random *rand.Rand, long bool) {
		kind := random.IntN(4)
		if long {
			kind = 4 + random.IntN(2)
		}
		switch kind {
		case 0: // delay
			slow := faultproxy.Fault{Delay: time.Millisecond, Jitter: 3 * time.Millisecond}
			p.Requests(slow)
			p.Replies(slow)
			time.Sleep(20 * time.Millisecond)
		case 1: // cut
			p.CutAll(ends[random.IntN(2)])
		case 2: // cut within a reply: the server has done what it was asked
			p.Replies(faultproxy.Fault{Cut: ends[random.IntN(2)], CutAt: random.IntN(200), Once: true})
			time.Sleep(10 * time.Millisecond)
		case 3: // cut within a request
			p.Requests(faultproxy.Fault{Cut: ends[random.IntN(2)], CutAt: random.IntN(400), Once: true})
			time.Sleep(10 * time.Millisecond)
		case 4: // drop: everything comes late
			p.Hole()
			time.Sleep(histTimeout * 3 / 2)
		case 5: // pause
			server.Pause()
			time.Sleep(histTimeout * 3 / 2)
			server.Resume()
		}
		p.Clear()
	}}
}

// A lateStore is a memory whose writes come late, now and then.
type lateStore struct {
	memory
	late func() bool
	done sync.WaitGroup
}

func (s *lateStore) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	if !s.late() {
		return s.memory.SetVersion(ctx, key, data, ttl, v)
	}
	data = bytes.Clone(data)
	s.done.Go(func() {
		time.Sleep(time.Millisecond)
		_, _ = s.memory.SetVersion(context.WithoutCancel(ctx), key, data, ttl, v)
	})
	return 0, core.ErrOutcomeUnknown
}

// trouble is the same for a store in memory.
func trouble(t testing.TB, m memory, seed uint64) core.Store {
	var mu sync.Mutex
	chance := rand.New(rand.NewPCG(seed, 3))
	roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return chance.IntN(n) }
	left := doubts
	doubt := func(one int) bool { // of so many
		mu.Lock()
		defer mu.Unlock()
		yes := left > 0 && chance.IntN(one) == 0
		if yes {
			left--
		}
		return yes
	}
	late := &lateStore{memory: m, late: func() bool { return doubt(60) }}
	t.Cleanup(late.done.Wait)
	faulty := storetest.NewFaulty(late)
	reading := func(op storetest.Op) bool { return op == storetest.OpGet || op == storetest.OpGetVersion }
	unanswered := func(op storetest.Op) error {
		if reading(op) {
			return core.ErrTimeout
		}
		return core.ErrOutcomeUnknown
	}
	faulty.Before(func(ctx context.Context, op storetest.Op, _ string) error {
		switch {
		case roll(50) == 0:
			return core.ErrRefused
		case roll(50) == 0 && reading(op):
			return core.ErrTimeout
		case roll(25) == 0:
			time.Sleep(time.Duration(roll(200)) * time.Microsecond)
		case doubt(60): // cut or dropped on the way there
			return unanswered(op)
		case doubt(300): // paused for longer than a call may take
			<-ctx.Done()
			return unanswered(op)
		}
		return nil
	})
	faulty.After(func(_ context.Context, op storetest.Op, _ string) error {
		if !reading(op) && doubt(60) {
			return core.ErrOutcomeUnknown // cut on the way back
		}
		return nil
	})
	return faulty
}

// Half of the histories are under faults: calls are slow, are cut off on their
// way there or back, get lost, come late, and the server stands still.
func TestLinearizable(t *testing.T) {
	plan := histPlan{clients: 5, requests: 30}
	if soak.On {
		plan = histPlan{clients: 8, requests: 200}
	}
	for _, kind := range stores {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			plain := kind.open(t)
			var n *net
			switch kind.name {
			case "redis":
				n = wire(t, servers.Redis(t), openRedis(t))
			case "memcached":
				n = wire(t, servers.Memcached(t), openMemcached(t))
			}
			sum := map[string]int{}
			for i := range soak.Rounds(len(stores), 24, 1000) {
				plan, store, how := plan, plain, "quiet"
				if i%2 == 1 {
					if how = "under faults"; n != nil {
						store, plan.faults = n.store, n.faults
					} else {
						store = trouble(t, plain.(memory), uint64(i))
					}
				}
				r := record(t, store, plan, uint64(i)+1)
				switch r.linear() {
				case porcupine.Illegal:
					t.Errorf("history %d, %s, is not linearizable: %d steps", i, how, len(r.ops))
				case porcupine.Unknown:
					sum["too hard"]++
				}
				sum["histories "+how]++
				sum["steps "+how] += len(r.ops)
				sum["unknown outcomes"] += r.unknown
				sum["failed requests"] += r.failed
			}
			t.Log(sum)
			if sum["unknown outcomes"] == 0 || sum["too hard"] > sum["histories under faults"]/10 {
				t.Error("the faults missed, or nothing could be checked")
			}
		})
	}
}
