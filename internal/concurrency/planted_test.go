package concurrency_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// A system has users, and sessions for them on two instances. The first value
// of a new session is its owner.
type system interface {
	begin(user, instance int) (handle, error)
}

// A handle is one request.
type handle interface {
	get(name string) int
	set(name string, v int) error
	commit() error
	abandon()
}

// suspicious runs a random sequence of overlapping requests and says what is
// wrong with the first one that sees what it must not see, "" if none does:
// values of another user (I3), a commit that is not visible to who comes next
// (I4), changes that were abandoned or came after the end (I5).
func suspicious(s system, steps int) string {
	const users = 4
	type open struct {
		handle
		user, seen, wrote int
	}
	random := rand.New(rand.NewPCG(1, 2))
	var stored [users]int
	var known [users]bool
	var requests, ended []*open
	for i := 1; i <= steps; i++ {
		if len(requests) < 3 {
			r := &open{user: random.IntN(users)}
			var err error
			if r.handle, err = s.begin(r.user, random.IntN(2)); err != nil {
				return fmt.Sprintf("step %d: %v", i, err)
			}
			r.seen = stored[r.user]
			if !known[r.user] { // alone, since its id is not known before the answer
				if r.get("owner") != 0 {
					return fmt.Sprintf("step %d: a new user has the session of user %d", i, r.get("owner")-1)
				}
				if err := errors.Join(r.set("owner", r.user+1), r.commit()); err != nil {
					return fmt.Sprintf("step %d: %v", i, err)
				}
				known[r.user] = true
				continue
			}
			requests = append(requests, r)
		}
		at := random.IntN(len(requests))
		r := requests[at]
		if owner := r.get("owner"); owner != r.user+1 {
			return fmt.Sprintf("step %d: user %d has values of user %d", i, r.user, owner-1)
		}
		want := r.seen
		if r.wrote != 0 {
			want = r.wrote
		}
		if v := r.get("v"); v != want {
			return fmt.Sprintf("step %d: v is %d, want %d", i, v, want)
		}
		switch random.IntN(4) {
		case 0:
			if err := r.set("v", i); err != nil {
				return fmt.Sprintf("step %d: %v", i, err)
			}
			r.wrote = i
			continue
		case 1:
			continue
		case 2:
			r.abandon()
		case 3:
			if err := r.commit(); err != nil {
				return fmt.Sprintf("step %d: %v", i, err)
			}
			if r.wrote != 0 {
				stored[r.user] = r.wrote
			}
		}
		requests = append(requests[:at], requests[at+1:]...)
		if ended = append(ended, r); len(ended) > 3 {
			_ = ended[0].set("v", -i) // a goroutine that outlives its handler
			ended = ended[1:]
		}
	}
	return ""
}

// coreSystem is core on a store, with jars.
type coreSystem struct {
	managers [2]*core.Manager
	browsers [4]jartest.Browser
	jar      func(*jartest.Jar) core.Jar
}

func newCoreSystem(t testing.TB, o *core.Options, stores ...core.Store) *coreSystem {
	s := &coreSystem{jar: func(j *jartest.Jar) core.Jar { return j }}
	o.Keys = [][]byte{firstKey}
	for i := range s.managers {
		m, err := core.New(stores[i%len(stores)], o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		s.managers[i] = m
	}
	return s
}

type coreHandle struct {
	system  *coreSystem
	user    int
	jar     *jartest.Jar
	visit   *core.Visit
	session *core.Session
}

func (s *coreSystem) begin(user, instance int) (handle, error) {
	h := &coreHandle{system: s, user: user, jar: s.browsers[user].Jar("/")}
	h.visit, _ = s.managers[instance].NewVisit(s.jar(h.jar), nil)
	var err error
	h.session, err = h.visit.Session(context.Background())
	return h, err
}

func (h *coreHandle) get(name string) int          { return core.Key[int](name).Get(h.session) }
func (h *coreHandle) set(name string, v int) error { return h.session.Set(name, v) }
func (h *coreHandle) abandon()                     { h.visit.Abandon() }
func (h *coreHandle) commit() error {
	err := h.visit.Commit(context.Background())
	h.system.browsers[h.user].Take("/", h.jar.SetCookies...)
	return err
}

// The tests are worth something: they find each of six bugs that have given
// users the sessions of others, planted here one by one, and nothing in a
// system without them.
func TestPlantedBugs(t *testing.T) {
	const steps = 20_000
	t.Run("none", func(t *testing.T) {
		for _, o := range []*core.Options{{}, core.KoaCompat()} {
			if wrong := suspicious(newCoreSystem(t, o, newMemory(t)), steps); wrong != "" {
				t.Error(wrong)
			}
		}
	})
	for name, plant := range map[string]func(t *testing.T) system{
		"an id that is not copied out of the request's buffer": func(t *testing.T) system {
			s := newCoreSystem(t, &core.Options{}, newMemory(t))
			buffer := make([]byte, 1<<10)
			s.jar = func(j *jartest.Jar) core.Jar { return bufferJar{j, buffer} }
			return s
		},
		"a payload in a buffer from a pool": func(t *testing.T) system {
			return newCoreSystem(t, &core.Options{}, &poolingStore{memory: newMemory(t), buffer: make([]byte, 1<<12)})
		},
		"a reply of another key, and nobody compares": func(t *testing.T) system {
			return newCoreSystem(t, core.KoaCompat(), &shiftedStore{memory: newMemory(t)})
		},
		"a cache in the client that hears of no change": func(t *testing.T) system {
			shared := newMemory(t)
			return newCoreSystem(t, &core.Options{}, &cachingStore{memory: shared}, &cachingStore{memory: shared})
		},
		"one map for all requests of a session": func(*testing.T) system { return &sharedMaps{} },
		"a handle that is used again":           func(*testing.T) system { return &reusedHandles{} },
	} {
		t.Run(name, func(t *testing.T) {
			wrong := suspicious(plant(t), steps)
			if wrong == "" {
				t.Fatal("not found")
			}
			t.Log(wrong)
		})
	}
	t.Run("a reply of another key is an error", func(t *testing.T) {
		s := newCoreSystem(t, &core.Options{}, &shiftedStore{memory: newMemory(t)})
		h := suspicious(s, steps)
		t.Log(h)
		if h == "" || !strings.Contains(h, core.ErrCorrupt.Error()) {
			t.Errorf("%q, want %v", h, core.ErrCorrupt)
		}
	})
}

// A bufferJar is a jar as a careless adapter of fasthttp makes it: its strings
// lie in a buffer that the next request of the connection is read into.
type bufferJar struct {
	*jartest.Jar
	buffer []byte
}

func (j bufferJar) Cookie() string {
	n := copy(j.buffer, j.Jar.Cookie())
	return unsafe.String(unsafe.SliceData(j.buffer), n)
}

type memory interface {
	core.Store
	core.Swapper
	core.Toucher
}

// A poolingStore reads every payload into the same buffer.
type poolingStore struct {
	memory
	buffer []byte
}

func (s *poolingStore) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	data, v, err := s.memory.GetVersion(ctx, key)
	return s.buffer[:copy(s.buffer, data)], v, err
}

// A shiftedStore answers, now and then, with the reply to the call before.
type shiftedStore struct {
	memory
	calls   int
	data    []byte
	version core.Version
}

func (s *shiftedStore) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	data, v, err := s.memory.GetVersion(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	was, wasV := s.data, s.version
	s.data, s.version = data, v
	if s.calls++; s.calls%20 == 0 && was != nil {
		return was, wasV, nil
	}
	return data, v, nil
}

// A cachingStore keeps what it has read or written, and believes it.
type cachingStore struct {
	memory
	mu    sync.Mutex
	cache map[string]cached
}

type cached struct {
	data    []byte
	version core.Version
}

func (s *cachingStore) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.cache[key]; ok {
		return c.data, c.version, nil
	}
	data, v, err := s.memory.GetVersion(ctx, key)
	if err == nil {
		s.keep(key, data, v)
	}
	return data, v, err
}

func (s *cachingStore) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.memory.SetVersion(ctx, key, data, ttl, v)
	if err == nil {
		s.keep(key, append([]byte(nil), data...), now)
	}
	return now, err
}

func (s *cachingStore) keep(key string, data []byte, v core.Version) {
	if s.cache == nil {
		s.cache = map[string]cached{}
	}
	s.cache[key] = cached{data, v}
}

// sharedMaps hands every request of a user the same map.
type sharedMaps struct{ users [4]values }

type mapHandle struct {
	values
	done func(values)
}

func (s *sharedMaps) begin(user, _ int) (handle, error) {
	if s.users[user] == nil {
		s.users[user] = values{}
	}
	return &mapHandle{s.users[user], func(values) {}}, nil
}

func (h *mapHandle) get(name string) int          { return h.values[name] }
func (h *mapHandle) set(name string, v int) error { h.values[name] = v; return nil }
func (h *mapHandle) commit() error                { h.done(h.values); return nil }
func (h *mapHandle) abandon()                     {}

// reusedHandles is right in all but this: a handle serves another request when
// its own has ended, even if somebody holds it still.
type reusedHandles struct {
	users [4]values
	free  []*reusedHandle
}

type reusedHandle struct {
	mapHandle
	system *reusedHandles
}

func (s *reusedHandles) begin(user, _ int) (handle, error) {
	h := &reusedHandle{system: s}
	if last := len(s.free) - 1; last >= 0 {
		h, s.free = s.free[last], s.free[:last]
	}
	own := maps.Clone(s.users[user])
	if own == nil {
		own = values{}
	}
	changed := values{}
	h.mapHandle = mapHandle{own, func(values) { s.users[user] = merge(s.users[user], changed) }}
	h.values = own
	return recording{h, changed}, nil
}

// recording notes what a request changes, so that commits merge.
type recording struct {
	*reusedHandle
	changed values
}

func (h recording) set(name string, v int) error {
	h.changed[name] = v
	return h.reusedHandle.set(name, v)
}

func (h recording) commit() error {
	_ = h.reusedHandle.commit()
	h.abandon()
	return nil
}

func (h recording) abandon() { h.system.free = append(h.system.free, h.reusedHandle) }

func merge(v, over values) values {
	now := maps.Clone(v)
	if now == nil {
		now = values{}
	}
	maps.Copy(now, over)
	return now
}
