package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// A state is what a remote's server does at the moment.
type state int

const (
	running state = iota
	stopped
	paused
	full
	readOnly
)

const remoteLimit = 100 << 10

// A remote is a model behind a server that the tests of Faults ill-treat. It
// is right, but for what a bug replaces.
type remote struct {
	*model

	mu      sync.Mutex
	state   state
	changed chan struct{} // closed with the next state
	late    []func()      // what a paused server will carry out
	spoiled map[string]bool
	stale   int  // connections from before the last restart or cut
	loses   bool // what it holds, with Stop

	// What bugs replace. They may call the right ones.
	unreachable func(write bool, apply func() error) error                      // stopped
	silent      func(ctx context.Context, write bool, apply func() error) error // paused
	refuses     func(op, key string, apply func() error) error                  // full, or read-only
	tooLarge    func(key string, data []byte) error                             //
	corrupt     func() ([]byte, error)                                          // spoiled
	reconnect   func(write bool, apply func() error) error                      // on a stale connection
	answers     func(ctx context.Context, write bool, apply func() error) error // running
	resume      func(late []func())                                             // what came late
	carryOut    func(writes []core.Write) ([]core.Version, error)               // a Batch
	own         func(data []byte) []byte                                        // the payload of a write
}

func newRemote() *remote {
	r := &remote{model: newModel(), changed: make(chan struct{}), spoiled: map[string]bool{}, loses: true}
	r.unreachable = func(bool, func() error) error { return fmt.Errorf("remote: %w: refused", core.ErrUnavailable) }
	r.silent = func(ctx context.Context, write bool, apply func() error) error { return r.wait(ctx, write, apply) }
	r.refuses = func(op, _ string, apply func() error) error {
		if r.is(full) && (op == "destroy" || op == "touch") {
			return apply()
		}
		return fmt.Errorf("remote: %w: out of memory", core.ErrRefused)
	}
	r.tooLarge = func(string, []byte) error { return fmt.Errorf("remote: %w", core.ErrTooLarge) }
	r.corrupt = func() ([]byte, error) { return nil, fmt.Errorf("remote: %w: a list", core.ErrCorrupt) }
	r.own = bytes.Clone
	r.reconnect = func(_ bool, apply func() error) error { return apply() }
	r.answers = func(_ context.Context, _ bool, apply func() error) error {
		time.Sleep(time.Millisecond) // else no time would pass in a bubble
		return apply()
	}
	r.resume = func(late []func()) {
		for _, f := range late {
			f()
		}
	}
	r.carryOut = func(writes []core.Write) ([]core.Version, error) {
		return r.model.Batch(context.Background(), writes...)
	}
	return r
}

func (r *remote) is(s state) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == s
}

// wait is a call to a paused server.
func (r *remote) wait(ctx context.Context, write bool, apply func() error) error {
	r.mu.Lock()
	changed := r.changed
	if write {
		r.late = append(r.late, func() { _ = apply() })
	}
	r.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-changed:
	}
	switch {
	case write:
		return fmt.Errorf("remote: %w: %w", core.ErrOutcomeUnknown, context.Cause(ctx))
	case ctx.Err() == context.Canceled:
		return ctx.Err()
	}
	return fmt.Errorf("remote: %w", core.ErrTimeout)
}

func (r *remote) become(s state) {
	r.mu.Lock()
	if s == stopped && r.loses {
		r.model.mu.Lock()
		clear(r.model.records)
		r.model.mu.Unlock()
	}
	if s == stopped {
		r.stale = 20
	}
	was, late := r.state, r.late
	r.state, r.late = s, nil
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	if was == paused {
		r.resume(late)
	}
	r.model.set(s != stopped && s != paused)
}

func (r *remote) server() storetest.Server {
	to := func(s state) func() { return func() { r.become(s) } }
	return storetest.Server{
		Stop: to(stopped), Start: to(running), Pause: to(paused), Resume: to(running),
		Cut: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.stale = 20
		},
		Fill:     func() func() { r.become(full); return to(running) },
		ReadOnly: func() func() { r.become(readOnly); return to(running) },
		Spoil: func(key string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.spoiled[key] = true
		},
		TooLarge: remoteLimit,
	}
}

// call is the way of every call.
func (r *remote) call(ctx context.Context, op, key string, apply func() error) error {
	write := op != "get"
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	now, stale := r.state, r.stale > 0 && r.state == running
	if stale {
		r.stale--
	}
	r.mu.Unlock()
	switch {
	case now == stopped:
		return r.unreachable(write, apply)
	case now == paused:
		return r.silent(ctx, write, apply)
	case write && (now == full || now == readOnly):
		return r.refuses(op, key, apply)
	case stale:
		return r.reconnect(write, apply)
	}
	return r.answers(ctx, write, apply)
}

func (r *remote) Get(ctx context.Context, key string) ([]byte, error) {
	data, _, err := r.GetVersion(ctx, key)
	return data, err
}

func (r *remote) GetVersion(ctx context.Context, key string) (data []byte, v core.Version, err error) {
	err = r.call(ctx, "get", key, func() (err error) {
		r.mu.Lock()
		spoiled := r.spoiled[key]
		r.mu.Unlock()
		if spoiled {
			data, err = r.corrupt()
			return err
		}
		data, v, err = r.model.GetVersion(context.Background(), key)
		return err
	})
	return data, v, err
}

func (r *remote) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	data = r.own(data)
	return r.write(ctx, key, data, func() error { return r.model.Set(context.Background(), key, data, ttl) })
}

func (r *remote) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (now core.Version, err error) {
	data = r.own(data)
	err = r.write(ctx, key, data, func() error {
		r.mu.Lock()
		spoiled := r.spoiled[key]
		r.mu.Unlock()
		if spoiled {
			return core.ErrConflict
		}
		_, err := r.model.SetVersion(context.Background(), key, data, ttl, v)
		return err
	})
	return 0, err
}

func (r *remote) Batch(ctx context.Context, writes ...core.Write) (versions []core.Version, err error) {
	op := "destroy" // as long as nothing is written
	for _, w := range writes {
		if w.Data != nil {
			op = "set"
		}
		if len(w.Data) >= remoteLimit {
			return nil, r.tooLarge(w.Key, w.Data)
		}
	}
	err = r.call(ctx, op, writes[0].Key, func() (err error) {
		r.mu.Lock()
		for _, w := range writes {
			if r.spoiled[w.Key] {
				err = core.ErrCorrupt
			}
		}
		r.mu.Unlock()
		if err == nil {
			versions, err = r.carryOut(writes)
		}
		return err
	})
	return versions, err
}

func (r *remote) Append(ctx context.Context, key string, suffix []byte) (data []byte, v core.Version, err error) {
	err = r.write(ctx, key, suffix, func() error {
		r.mu.Lock()
		spoiled := r.spoiled[key]
		r.mu.Unlock()
		if spoiled {
			return core.ErrCorrupt
		}
		_, _, err := r.model.Append(context.Background(), key, suffix)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return r.model.GetVersion(ctx, key)
}

func (r *remote) write(ctx context.Context, key string, data []byte, apply func() error) error {
	if len(data) >= remoteLimit {
		return r.tooLarge(key, data)
	}
	return r.call(ctx, "set", key, apply)
}

func (r *remote) Touch(ctx context.Context, key string, ttl time.Duration) error {
	return r.call(ctx, "touch", key, func() error { return r.model.Touch(context.Background(), key, ttl) })
}

func (r *remote) Destroy(ctx context.Context, key string) error {
	return r.call(ctx, "destroy", key, func() error {
		r.mu.Lock()
		delete(r.spoiled, key)
		r.mu.Unlock()
		return r.model.Destroy(context.Background(), key)
	})
}

// meet runs a case of Faults on a remote.
func meet(t *testing.T, c storetest.FaultCase, plant func(r *remote), server func(r *remote) storetest.Server) (failure, skipped string) {
	return observe(t, func(t testing.TB) {
		r := newRemote()
		plant(r)
		c.Run(t, server(r), func(testing.TB) (core.Store, func()) { return r, func() {} })
	})
}

func TestFaultsPassesARightStore(t *testing.T) {
	for _, c := range storetest.FaultCases() {
		t.Run(c.Name, func(t *testing.T) {
			for kind, plant := range map[string]func(r *remote){
				"":                             func(*remote) {},
				"keeps its data":               func(r *remote) { r.loses = false },
				"drops what came late":         func(r *remote) { r.resume = func([]func()) {} },
				"a lost write is not repeated": func(r *remote) { r.reconnect = unknownWrites },
			} {
				if failure, skipped := meet(t, c, plant, (*remote).server); failure != "" || skipped != "" {
					t.Errorf("%s: %s%s", kind, failure, skipped)
				}
			}
			_, skipped := meet(t, c, func(*remote) {}, func(*remote) storetest.Server { return storetest.Server{} })
			if !strings.Contains(skipped, "Server.") {
				t.Errorf("skipped without a server's function: %q", skipped)
			}
		})
	}
	storetest.Faults(t, storetest.Server{}, nil) // all are skipped
}

// unknownWrites is what a client does that finds out by a write.
func unknownWrites(write bool, apply func() error) error {
	if write {
		return fmt.Errorf("remote: %w: EOF", core.ErrOutcomeUnknown)
	}
	return apply()
}

var faultBugs = []struct {
	bug, caught string
	plant       func(r *remote)
}{
	{"a server that is gone has no keys", "stopped", func(r *remote) {
		r.unreachable = func(bool, func() error) error { return core.ErrNotFound }
	}},
	{"a write to nowhere is a success", "stopped", func(r *remote) {
		r.unreachable = func(write bool, _ func() error) error {
			if write {
				return nil
			}
			return core.ErrUnavailable
		}
	}},
	{"an error without a class", "stopped", func(r *remote) {
		r.unreachable = func(bool, func() error) error { return errors.New("connection refused") }
	}},
	{"no write is known to have failed", "stopped", func(r *remote) {
		r.unreachable = func(write bool, _ func() error) error {
			if write {
				return core.ErrOutcomeUnknown
			}
			return core.ErrUnavailable
		}
	}},
	{"a read of unknown outcome", "stopped", func(r *remote) {
		r.unreachable = func(bool, func() error) error { return core.ErrOutcomeUnknown }
	}},
	{"writes are kept for later", "stopped", func(r *remote) {
		right := r.unreachable
		r.loses = false
		r.unreachable = func(write bool, apply func() error) error {
			if write {
				_ = apply()
			}
			return right(write, apply)
		}
	}},
	{"an outage is for ever", "stopped", func(r *remote) {
		met := false
		right := r.unreachable
		r.unreachable = func(write bool, apply func() error) error {
			met = true
			return right(write, apply)
		}
		r.answers = func(_ context.Context, write bool, apply func() error) error {
			if met {
				return right(write, apply)
			}
			return apply()
		}
		r.reconnect = func(write bool, apply func() error) error { return r.answers(nil, write, apply) }
	}},
	{"reads fail on old connections", "restarted", func(r *remote) {
		r.reconnect = func(bool, func() error) error { return fmt.Errorf("%w: EOF", core.ErrUnavailable) }
	}},
	{"a call waits for the server", "paused", func(r *remote) {
		r.silent = func(_ context.Context, write bool, apply func() error) error {
			return r.wait(context.Background(), write, apply)
		}
	}},
	{"a write that was sent is a timeout", "paused", func(r *remote) {
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			if err := r.wait(ctx, write, apply); errors.Is(err, context.Canceled) {
				return err
			}
			return core.ErrTimeout
		}
	}},
	{"both unknown and unavailable", "paused", func(r *remote) {
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			err := r.wait(ctx, write, apply)
			if write {
				err = fmt.Errorf("%w: %w", core.ErrTimeout, err)
			}
			return err
		}
	}},
	{"half of a late write", "paused", func(r *remote) {
		r.resume = func(late []func()) {
			for _, f := range late {
				f()
			}
			r.model.mu.Lock()
			defer r.model.mu.Unlock()
			for key, rec := range r.model.records {
				rec.data = rec.data[:len(rec.data)/2]
				r.model.records[key] = rec
			}
		}
	}},
	{"half of a late Batch", "paused", func(r *remote) {
		r.carryOut = func(writes []core.Write) ([]core.Version, error) {
			if r.is(paused) || len(writes) == 1 {
				return r.model.Batch(bg, writes...)
			}
			v, err := r.model.Batch(bg, writes[0])
			return append(v, 0), err
		}
	}},
	{"a Batch whose answer was cut is half carried out", "connections closed", func(r *remote) {
		right := r.reconnect
		var inCut atomic.Bool
		r.reconnect = func(write bool, apply func() error) error {
			inCut.Store(true)
			defer inCut.Store(false)
			err := right(write, apply)
			if write {
				return core.ErrOutcomeUnknown
			}
			return err
		}
		r.carryOut = func(writes []core.Write) ([]core.Version, error) {
			if inCut.Load() {
				writes = writes[:1]
			}
			return r.model.Batch(bg, writes...)
		}
	}},
	{"an Append is sent twice", "connections closed", func(r *remote) {
		r.reconnect = func(write bool, apply func() error) error {
			if write {
				_ = apply()
			}
			return apply()
		}
	}},
	{"a Batch that removes needs memory", "full", func(r *remote) {
		right := r.refuses
		r.refuses = func(op, key string, apply func() error) error {
			if r.is(full) && op == "destroy" && strings.HasSuffix(key, "Batch-that-removes") {
				return core.ErrRefused
			}
			return right(op, key, apply)
		}
	}},
	{"goroutines of calls that were given up stay", "paused", func(r *remote) {
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			go time.Sleep(time.Minute)
			return r.wait(ctx, write, apply)
		}
	}},
	{"the payload is in the error", "paused", func(r *remote) {
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			err := r.wait(ctx, write, apply)
			return fmt.Errorf("set new:%s: %w", strings.Repeat("n", 50), err)
		}
	}},
	{"only deadlines count", "cancelled while paused", func(r *remote) {
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			return r.wait(context.WithoutCancel(ctx), write, apply)
		}
	}},
	{"a cancelled write is as if it had not been sent", "cancelled while paused", func(r *remote) {
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			if r.wait(ctx, write, apply); write {
				return ctx.Err()
			}
			return core.ErrTimeout
		}
	}},
	{"one after the other", "thousands of calls while paused", func(r *remote) {
		one := make(chan struct{}, 1)
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			select {
			case one <- struct{}{}:
			case <-r.never():
			}
			defer func() { <-one }()
			time.Sleep(50 * time.Millisecond)
			return r.wait(ctx, write, apply)
		}
	}},
	{"a full queue is an answer", "thousands of calls while paused", func(r *remote) {
		places := make(chan struct{}, 100)
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
				return r.wait(ctx, write, apply)
			default:
				return core.ErrRefused
			}
		}
	}},
	{"the caller's bytes are sent late", "late write", func(r *remote) {
		r.own = func(data []byte) []byte { return data }
	}},
	{"a late swap brings a destroyed key back", "late write", func(r *remote) {
		right := r.resume
		r.resume = func(late []func()) {
			right(late)
			r.model.mu.Lock()
			records := maps.Clone(r.model.records)
			r.model.mu.Unlock()
			time.AfterFunc(50*time.Millisecond, func() {
				r.model.mu.Lock()
				defer r.model.mu.Unlock()
				maps.Copy(r.model.records, records)
			})
		}
	}},
	{"a late swap leaves the version", "late write", func(r *remote) {
		right := r.resume
		r.resume = func(late []func()) {
			r.model.mu.Lock()
			before := maps.Clone(r.model.records)
			r.model.mu.Unlock()
			right(late)
			r.model.mu.Lock()
			defer r.model.mu.Unlock()
			for key, rec := range r.model.records {
				rec.version = before[key].version
				r.model.records[key] = rec
			}
		}
	}},
	{"a late swap that was surely not sent", "late write", func(r *remote) {
		r.silent = func(ctx context.Context, write bool, apply func() error) error {
			if err := r.wait(ctx, write, apply); !write {
				return err
			}
			return core.ErrTimeout
		}
	}},
	{"the first reads fail", "connections closed", func(r *remote) {
		r.reconnect = func(write bool, apply func() error) error {
			if !write {
				return core.ErrUnavailable
			}
			return apply()
		}
	}},
	{"a write whose answer was cut is an ErrUnavailable", "connections closed", func(r *remote) {
		r.reconnect = func(write bool, apply func() error) error {
			if err := apply(); !write {
				return err
			}
			return core.ErrUnavailable
		}
	}},
	{"a cut call is refused", "connections closed during calls", func(r *remote) {
		r.reconnect = func(bool, func() error) error { return core.ErrRefused }
	}},
	{"a cut write is applied unsaid", "connections closed during calls", func(r *remote) {
		r.reconnect = func(write bool, apply func() error) error {
			if err := apply(); !write {
				return err
			}
			return core.ErrUnavailable
		}
	}},
	{"a refused write removes what was there", "full", func(r *remote) {
		right := r.refuses
		r.refuses = func(op, key string, apply func() error) error {
			err := right(op, key, apply)
			if err != nil {
				_ = r.model.Destroy(bg, key)
			}
			return err
		}
	}},
	{"a refused write is another version", "full", func(r *remote) {
		right := r.refuses
		r.refuses = func(op, key string, apply func() error) error {
			err := right(op, key, apply)
			if err != nil {
				r.model.mu.Lock()
				defer r.model.mu.Unlock()
				if rec, ok := r.model.records[key]; ok {
					r.model.version++
					rec.version = r.model.version
					r.model.records[key] = rec
				}
			}
			return err
		}
	}},
	{"full is taken for down", "full", func(r *remote) {
		r.refuses = func(string, string, func() error) error { return core.ErrUnavailable }
	}},
	{"nobody can log out of a full server", "full", func(r *remote) {
		r.refuses = func(string, string, func() error) error { return core.ErrRefused }
	}},
	{"a full server is not noticed", "full", func(r *remote) {
		r.refuses = func(string, string, func() error) error { return nil }
	}},
	{"a removal that was refused is a success", "read-only", func(r *remote) {
		right := r.refuses
		r.refuses = func(op, key string, apply func() error) error {
			if op == "destroy" {
				return nil
			}
			return right(op, key, apply)
		}
	}},
	{"a refused write comes later", "read-only", func(r *remote) {
		right := r.refuses
		r.refuses = func(op, key string, apply func() error) error {
			if r.is(readOnly) {
				_ = apply()
			}
			return right(op, key, apply)
		}
	}},
	{"what is too large is cut off", "too large", func(r *remote) {
		r.tooLarge = func(key string, data []byte) error { return r.model.Set(bg, key, data[:remoteLimit-1], 0) }
	}},
	{"what is too large goes with the old payload", "too large", func(r *remote) {
		r.tooLarge = func(key string, _ []byte) error {
			_ = r.model.Destroy(bg, key)
			return core.ErrTooLarge
		}
	}},
	{"what is too large is refused", "too large", func(r *remote) {
		r.tooLarge = func(string, []byte) error { return core.ErrRefused }
	}},
	{"what is corrupt is a miss", "invalid data", func(r *remote) {
		r.corrupt = func() ([]byte, error) { return nil, core.ErrNotFound }
	}},
	{"what is corrupt is a payload", "invalid data", func(r *remote) {
		r.corrupt = func() ([]byte, error) { return []byte("a list"), nil }
	}},
}

// never is a channel that the bubble does not wait for in vain: it is closed
// long after the test.
func (r *remote) never() <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(30*time.Minute, func() { close(c) })
	return c
}

func TestFaultsCatchesABrokenStoreByTheNamedCase(t *testing.T) {
	cases, unproved := map[string]storetest.FaultCase{}, map[string]bool{}
	for _, c := range storetest.FaultCases() {
		if c.Rule == "" || unproved[c.Name] {
			t.Errorf("%q has no rule or is there twice", c.Name)
		}
		cases[c.Name], unproved[c.Name] = c, true
	}
	for _, bug := range faultBugs {
		t.Run(bug.bug, func(t *testing.T) {
			c, ok := cases[bug.caught]
			if !ok {
				t.Fatalf("no case %q", bug.caught)
			}
			delete(unproved, bug.caught)
			failure, skipped := meet(t, c, bug.plant, (*remote).server)
			switch {
			case failure == "":
				t.Errorf("%q let it pass %s", c.Name, skipped)
			case strings.HasPrefix(failure, "panic"), !strings.Contains(failure, "rule: "):
				t.Errorf("%q did not say the rule but %s", c.Name, failure)
			default:
				t.Log(failure)
			}
		})
	}
	for name := range unproved {
		t.Errorf("case %q has caught no bug: is it worth anything?", name)
	}
}
