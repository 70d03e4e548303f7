package core_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/allocs"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A fast store hands out and takes strings.
type fast interface {
	View(ctx context.Context, key string) (string, core.Version, error)
	Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error)
	KeepBatch(ctx context.Context, writes []core.Write) ([]core.Version, error)
}

// Capabilities other than those of every store. A mask has those of its fields.
type (
	versionsOnly interface{ core.Swapper }
	batchesToo   interface{ core.Batcher }
	listsToo     interface{ core.Indexer }
	touches      interface{ core.Toucher }
	notifies     interface{ core.Notifier }
)

// A tally counts the calls of an observed store by their methods.
type tally struct {
	mu    sync.Mutex
	calls map[string]int
	open  int
	errs  []error
}

type tallyKey struct{}

func (c *tally) around(ctx context.Context, method string) (context.Context, func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[string]int{}
	}
	c.calls[method]++
	c.open++
	return context.WithValue(ctx, tallyKey{}, method), func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open--
		c.errs = append(c.errs, err)
	}
}

// W41: an observed store has the capabilities of the store, and no others.
func TestW41CapabilitiesAreKept(t *testing.T) {
	t.Parallel()
	all := newMemory(t)
	plain := plainStore{all}
	can := func(s core.Store) string {
		_, swapper := core.As[core.Swapper](s)
		_, batcher := core.As[core.Batcher](s)
		_, indexer := core.As[core.Indexer](s)
		_, toucher := core.As[core.Toucher](s)
		_, notifier := core.As[core.Notifier](s)
		return fmt.Sprintf("versions %v, batches %v, lists %v, touches %v, notifies %v", swapper, batcher, indexer, toucher, notifier)
	}
	for _, s := range []core.Store{
		plain,
		struct {
			plainStore
			versionsOnly
		}{plain, all},
		struct {
			plainStore
			batchesToo
		}{plain, all},
		struct {
			plainStore
			touches
		}{plain, all},
		struct {
			plainStore
			notifies
		}{plain, all},
		struct {
			plainStore
			versionsOnly
			touches
		}{plain, all, all},
		struct {
			plainStore
			batchesToo
			touches
			notifies
		}{plain, all, all, all},
		struct {
			plainStore
			listsToo
		}{plain, all},
		struct {
			plainStore
			listsToo
			touches
		}{plain, all, all},
		storetest.NewFaulty(all),
		core.Observe(plain, new(tally).around),
	} {
		if got, want := can(core.Observe(s, new(tally).around)), can(s); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	observed := core.Observe(all, new(tally).around)
	if can(observed) != can(all) || can(observed) == can(plain) {
		t.Errorf("%s", can(observed))
	}
	if _, ok := observed.(fast); !ok {
		t.Error("the fast path is lost")
	}
	if m, ok := core.As[*memorystore.Store](observed); !ok || m != all {
		t.Error("the store itself is not found")
	}
	if core.Observe(nil, new(tally).around) != nil || core.Observe((*memorystore.Store)(nil), new(tally).around) != nil {
		t.Error("no store is observed")
	}
}

// W41: every call is seen, once, with its context and its error.
func TestW41EveryCallIsSeen(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func(core.Store) core.Store{
		"all":           func(s core.Store) core.Store { return s },
		"step by step":  stepwise,
		"three methods": func(s core.Store) core.Store { return plainStore{s} },
	} {
		t.Run(name, func(t *testing.T) {
			inner := storetest.NewFaulty(store(newMemory(t)))
			inner.Before(func(ctx context.Context, op storetest.Op, _ string) error {
				if method, _ := ctx.Value(tallyKey{}).(string); method != methods[op] {
					t.Errorf("%s has the context of %q", op, method)
				}
				return nil
			})
			seen := new(tally)
			m, err := core.New(core.Observe(inner, seen.around), &core.Options{Keys: [][]byte{testKey}, IdleTimeout: time.Hour, TouchEvery: 1})
			must(t, err)
			defer m.Close()
			a := &app{t: t, manager: m, store: inner, browser: &jartest.Browser{}}
			a.ok(a.get("/", count(t)))
			a.ok(a.meanwhile(count(t), count(t)))
			a.ok(a.get("/", func(*core.Visit, *core.Session) {}))
			a.ok(a.get("/", logIn(t)))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
			a.ok(a.meanwhile(func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) }, count(t)))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
			must(t, m.SetByID(bg, "0123456789abcdef", map[string]int{"a": 1}, 0))
			must(t, m.DestroyByID(bg, "0123456789abcdef"))
			total := 0
			for op, method := range methods {
				total += inner.Calls(op)
				if inner.Calls(op) != seen.calls[method] {
					t.Errorf("%d calls of %s, %d seen", inner.Calls(op), method, seen.calls[method])
				}
			}
			if total < 15 || seen.open != 0 || len(seen.errs) != total {
				t.Errorf("%d calls, %d open, %d ended", total, seen.open, len(seen.errs))
			}
			inner.Before(failing(storetest.OpDestroy, core.ErrRefused))
			seen.errs = nil
			wantIs(t, core.Observe(inner, seen.around).Destroy(bg, "k"), core.ErrRefused)
			if len(seen.errs) != 1 || !errors.Is(seen.errs[0], core.ErrRefused) {
				t.Errorf("the errors seen are %v", seen.errs)
			}
		})
	}
}

var methods = map[storetest.Op]string{
	storetest.OpGet: "Get", storetest.OpSet: "Set", storetest.OpDestroy: "Destroy", storetest.OpGetVersion: "GetVersion",
	storetest.OpSetVersion: "SetVersion", storetest.OpTouch: "Touch", storetest.OpBatch: "Batch", storetest.OpAppend: "Append",
	storetest.OpOwned: "Owned", storetest.OpOwn: "Own", storetest.OpDisown: "Disown", storetest.OpGetMany: "GetMany", storetest.OpKeys: "Keys",
}

// A call that panics has ended, too: its span must not stay open.
func TestW41ACallThatPanics(t *testing.T) {
	t.Parallel()
	inner := storetest.NewFaulty(newMemory(t))
	inner.Before(func(context.Context, storetest.Op, string) error { panic("the store's") })
	seen := new(tally)
	s := core.Observe(inner, seen.around)
	versions, _ := core.As[core.Swapper](s)
	batches, _ := core.As[core.Batcher](s)
	lists, _ := core.As[core.Indexer](s)
	touches, _ := core.As[core.Toucher](s)
	calls := []func(){
		func() { _, _ = s.Get(bg, "k") },
		func() { _ = s.Set(bg, "k", nil, time.Hour) },
		func() { _ = s.Destroy(bg, "k") },
		func() { _, _, _ = versions.GetVersion(bg, "k") },
		func() { _, _ = versions.SetVersion(bg, "k", nil, time.Hour, 1) },
		func() { _, _ = batches.Batch(bg, core.Write{Key: "k"}) },
		func() { _, _, _ = batches.Append(bg, "k", nil) },
		func() { _, _ = lists.Owned(bg, "o") },
		func() { _ = lists.Own(bg, "o", "k", time.Hour) },
		func() { _ = lists.Disown(bg, "o", "k") },
		func() { _, _ = lists.GetMany(bg, "k") },
		func() { _ = lists.Keys(bg, "", nil) },
		func() { _ = touches.Touch(bg, "k", time.Hour) },
	}
	for i, call := range calls {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("call %d has not panicked", i)
				}
			}()
			call()
		}()
	}
	if len(calls) != len(methods) || len(seen.calls) != len(methods) || seen.open != 0 || slices.Contains(seen.errs, nil) || len(seen.errs) != len(calls) {
		t.Errorf("%d calls of %d methods, %d are open, with the errors %v", len(calls), len(seen.calls), seen.open, seen.errs)
	}
}

// W41: a store in this process keeps its fast path, and its calls are seen.
func TestW41TheFastPath(t *testing.T) {
	seen := new(tally)
	m, err := core.New(core.Observe(newMemory(t), seen.around), &core.Options{Keys: [][]byte{testKey}})
	must(t, err)
	defer m.Close()
	a := &app{t: t, manager: m, browser: &jartest.Browser{}}
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", logIn(t)))
	want := map[string]int{"SetVersion": 2, "GetVersion": 2, "Batch": 1}
	for method, n := range want {
		if seen.calls[method] != n {
			t.Errorf("%d calls of %s, want %d", seen.calls[method], method, n)
		}
	}
	if len(seen.calls) != len(want) {
		t.Errorf("calls %v", seen.calls)
	}
	// What observing costs is its own: neither a copy nor a context.
	cost := func(s core.Store) float64 {
		m, err := core.New(s, &core.Options{Keys: [][]byte{testKey}})
		must(t, err)
		defer m.Close()
		a := &app{t: t, manager: m, browser: &jartest.Browser{}}
		a.ok(a.get("/", count(t)))
		jar := a.browser.Jar("/")
		return allocs.Fewest(100, func() {
			v, _ := m.NewVisit(jar, nil)
			if v.Begin(bg) != nil || v.Commit(bg) != nil {
				t.Error("the request failed")
			}
		})
	}
	nothing := func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, nil }
	if bare, observed := cost(newMemory(t)), cost(core.Observe(newMemory(t), nothing)); observed > bare {
		t.Errorf("%v allocations, %v without", observed, bare)
	}
}

// A new capability needs a thought about Observe: those that don't reach the server
// are found through Unwrap, all others would be calls that nobody sees.
func TestW41AllCapabilitiesAreKnown(t *testing.T) {
	t.Parallel()
	f, err := parser.ParseFile(token.NewFileSet(), "store.go", nil, 0)
	must(t, err)
	known := []string{"Store", "Swapper", "Batcher", "Toucher", "Notifier", "Causer", "Indexer", "evicter", "keeper", "viewKeeper", "batchKeeper", "bettered"}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.TypeSpec); ok {
			if _, ok := s.Type.(*ast.InterfaceType); ok && !slices.Contains(known, s.Name.Name) {
				t.Errorf("core.Observe does not know %s", s.Name.Name)
			}
		}
		return true
	})
}

// W41: the whole suite passes through an observed store.
func TestW41ObservedStore(t *testing.T) {
	seen := new(tally)
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Run(t, core.Observe(newMemory(t), seen.around)) })
		})
	}
	if len(seen.calls) != len(methods) {
		t.Errorf("calls %v", seen.calls)
	}
}

// W41, R10: what observes a store sees no key, also where the store quotes it. The
// caller of the store gets its error as it is.
func TestW41AStoreThatQuotesItsKeys(t *testing.T) {
	const key, other = "koa:sess:the-end-of-a-key", "the-end-of-another"
	faulty := storetest.NewFaulty(newMemory(t))
	var said []error
	s := core.Observe(faulty, func(ctx context.Context, _ string) (context.Context, func(error)) {
		return ctx, func(err error) { said = append(said, err) }
	})
	quoting := fmt.Errorf("%w: %s (the-end-of-a-key) of %q", core.ErrRefused, key, other)
	faulty.Before(func(context.Context, storetest.Op, string) error { return quoting })
	indexer, _ := core.As[core.Indexer](s)
	toucher, _ := core.As[core.Toucher](s)
	ctx := t.Context()
	for method, err := range map[string]error{
		"Get":        second(s.Get(ctx, key)),
		"Set":        s.Set(ctx, key, nil, time.Hour),
		"Destroy":    s.Destroy(ctx, key),
		"GetVersion": second2(indexer.GetVersion(ctx, key)),
		"SetVersion": second(indexer.SetVersion(ctx, key, nil, time.Hour, 0)),
		"Batch":      second(indexer.Batch(ctx, core.Write{Key: other}, core.Write{Key: key})),
		"Append":     second2(indexer.Append(ctx, key, nil)),
		"Owned":      second(indexer.Owned(ctx, key)),
		"Own":        indexer.Own(ctx, other, key, time.Hour),
		"Disown":     indexer.Disown(ctx, other, key),
		"GetMany":    second(indexer.GetMany(ctx, other, key)),
		"Touch":      toucher.Touch(ctx, key, time.Hour),
	} {
		if err != quoting {
			t.Errorf("%s returns %v", method, err)
		}
	}
	if len(said) != 12 {
		t.Errorf("%d calls", len(said))
	}
	for _, err := range said {
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "the-end-of-a-key") || !errors.Is(err, core.ErrRefused) {
			t.Errorf("said: %s", text)
		}
	}
}

func second[A any](_ A, err error) error          { return err }
func second2[A, B any](_ A, _ B, err error) error { return err }
