package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A plant is a store that is right but for one bug, which shows now and then.
type plant struct {
	*memorystore.Store
	bug string

	mu    sync.Mutex
	last  string            // the key that was read last
	older map[string][]byte // what each key had before
	buf   string            // stands for memory that calls share by mistake
	item  []byte            // as well
	cache map[string]cached // what this process has read, and when

	sessions map[string]*core.Session // by the path of their request
	left     *core.Session            // of a request that is over
}

type cached struct {
	data []byte
	v    core.Version
	at   time.Time
}

// handle is h with one of the bugs that are made around a session. The mutex keeps
// the race detector from finding it first.
func (p *plant) handle(h handler) handler {
	return func(x exchange) error {
		from := x.from
		x.from = func() (*core.Session, error) {
			s, err := from()
			if err != nil {
				return s, err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			switch p.bug {
			case "shared map":
				p.sessions[x.path] = s
				p.mu.Unlock()
				time.Sleep(time.Millisecond)
				p.mu.Lock()
				s = p.sessions[x.path]
			case "handle reuse":
				mine := s
				if p.left != nil && seldom() {
					s = p.left
				}
				p.left = mine
			}
			return s, nil
		}
		return h(x)
	}
}

// share writes mine into memory that all calls share, and reads it again when others
// may have written theirs.
func share[T any](p *plant, memory *T, mine T) T {
	p.mu.Lock()
	*memory = mine
	p.mu.Unlock()
	time.Sleep(time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	return *memory
}

func seldom() bool { return rand.N(20) == 0 }

func (p *plant) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	p.mu.Lock()
	other := p.last
	p.last = key
	p.mu.Unlock()
	switch p.bug {
	case "uncopied id": // the buffer that key lies in belongs to the next request already
		key = share(p, &p.buf, key)
	case "client-side cache":
		p.mu.Lock()
		c, ok := p.cache[key]
		p.mu.Unlock()
		if ok && time.Since(c.at) < 100*time.Millisecond {
			return bytes.Clone(c.data), c.v, nil
		}
	}
	data, v, err := p.Store.GetVersion(ctx, key)
	switch {
	case err != nil:
	case p.bug == "pooled item": // somebody else has got it from the pool, and fills it
		return bytes.Clone(share(p, &p.item, data)), v, nil
	case p.bug == "client-side cache":
		p.mu.Lock()
		p.cache[key] = cached{bytes.Clone(data), v, time.Now()}
		p.mu.Unlock()
	}
	switch {
	case err != nil || !seldom():
	case p.bug == "foreign":
		if theirs, err := p.Get(ctx, other); err == nil {
			return theirs, v, nil
		}
	case p.bug == "stale":
		p.mu.Lock()
		defer p.mu.Unlock()
		if was, ok := p.older[key]; ok {
			return bytes.Clone(was), v, nil
		}
	}
	return data, v, err
}

func (p *plant) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	was, now, readErr := p.Store.GetVersion(ctx, key)
	switch p.bug {
	case "lost write":
		if seldom() {
			return v + 1<<40, nil
		}
	case "no versions":
		time.Sleep(time.Millisecond) // the other tab is as far as that by then
		if v != 0 && readErr == nil {
			_, v, _ = p.Store.GetVersion(ctx, key)
		}
	case "resurrection":
		time.Sleep(time.Millisecond)
		if v != 0 {
			if _, _, err := p.Store.GetVersion(ctx, key); errors.Is(err, core.ErrNotFound) {
				v = 0
			}
		}
	}
	next, err := p.Store.SetVersion(ctx, key, data, ttl, v)
	if err != nil {
		return 0, err
	}
	if readErr == nil && now == v {
		p.mu.Lock()
		p.older[key] = was
		p.mu.Unlock()
	}
	if p.bug == "written twice" && v != 0 && seldom() {
		return 0, fmt.Errorf("%w, but it is written", core.ErrConflict)
	}
	return next, nil
}

// Batch is how a logout removes a session.
func (p *plant) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if p.bug == "lost destroy" && len(writes) == 1 && writes[0].Data == nil && rand.N(3) == 0 {
		return []core.Version{0}, nil
	}
	return p.Store.Batch(ctx, writes...)
}

func (p *plant) Destroy(ctx context.Context, key string) error {
	if p.bug == "lost destroy" && rand.N(3) == 0 {
		return nil
	}
	return p.Store.Destroy(ctx, key)
}

// Findings are a judge that keeps what it is told, and ends the checker when
// that is what is looked for.
type findings struct {
	words string // one of them, apart by "|"; empty: any
	end   func()

	mu   sync.Mutex
	told []string
	met  bool
}

func (f *findings) Logf(string, ...any) {}

func (f *findings) Errorf(format string, args ...any) {
	told := fmt.Sprintf(format, args...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, told)
	for word := range strings.SplitSeq(f.words, "|") {
		if strings.Contains(told, word) {
			f.met = true
			f.end()
		}
	}
}

// T6: the checker of T5 finds what it is there to find: with each of these bugs in
// the store it has to say so, in the words that are for this bug, and without
// one it must be silent.
func TestTheCheckerFindsPlantedBugs(t *testing.T) {
	for _, planted := range []struct {
		name, bug string
		koa       bool // its records do not name their key, so that the core can't find out
		finds     string
	}{
		{"none", "", false, ""},
		{"none, KoaCompat", "", true, ""},
		{"two users get each other's payload", "foreign", true, "was given the session of"},
		{"two users get each other's payload, and the core finds out", "foreign", false, "was answered 500"},
		{"a stale payload", "stale", false, "were confirmed"},
		{"a write that is lost", "lost write", false, "has lost his session|were confirmed"},
		{"a write that overwrites another", "no versions", false, "were confirmed"},
		{"a write that is called a conflict", "written twice", false, "attempts"},
		{"a destruction that is lost", "lost destroy", false, "after the logout"},
		{"a write that brings back what is gone", "resurrection", false, "after the logout"},

		// The six of T6; the first two also where the core can find out.
		{"an id that was not copied", "uncopied id", true, "was given the session of"},
		{"an id that was not copied, and the core finds out", "uncopied id", false, "was answered 500"},
		{"an item of a pool", "pooled item", true, "was given the session of"},
		{"an item of a pool, and the core finds out", "pooled item", false, "was answered 500"},
		{"the key of an answer is not compared", "foreign", true, "was given the session of"},
		{"a cache in the client", "client-side cache", false, "after the logout|were confirmed"},
		{"requests share a map", "shared map", false, "was given the session of"},
		{"a handle is used again", "handle reuse", false, "was given the session of"},
	} {
		t.Run(planted.name, func(t *testing.T) {
			p := &plant{Store: memorystore.New(nil), bug: planted.bug, older: map[string][]byte{}, cache: map[string]cached{}, sessions: map[string]*core.Session{}}
			t.Cleanup(func() { _ = p.Close() })
			var o core.Options
			if planted.koa {
				o = *core.KoaCompat()
			}
			enough := make(chan struct{})
			f := &findings{words: planted.finds, end: sync.OnceFunc(func() { close(enough) })}
			c := &checker{t: f, enough: enough}
			c.app = start(t, "nethttp", p, o, p.handle(c.handle))
			lasts := 500 * time.Millisecond
			if planted.bug != "" {
				lasts = time.Minute // at most
			}
			begun := time.Now()
			c.users(20, lasts, false, func(stop <-chan struct{}) { <-stop })

			t.Logf("%d logins, %d reads, %d writes in %v", c.logins.Load(), c.reads.Load(), c.writes.Load(), time.Since(begun).Round(time.Millisecond))
			if planted.bug == "" && f.met {
				t.Errorf("there is no bug, and it found: %s", f.told[0])
			}
			if planted.bug != "" && !f.met {
				t.Errorf("it did not find %q, but %d other things: %q", planted.finds, len(f.told), f.told[:min(len(f.told), 10)])
			}
		})
	}
}
