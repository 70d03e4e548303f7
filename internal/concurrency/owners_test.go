package concurrency_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Requests beside each other about the sessions of one owner, in every order of their
// store calls: the lists and the sessions agree afterwards, and what was to end has.

// listsApart is a store whose lists are a step of their own, as in a Cluster of Redis.
type listsApart struct {
	core.Store
	core.Indexer
}

func (s listsApart) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if len(writes) > 1 || len(writes) == 1 && writes[0].Owner != "" {
		return nil, errors.ErrUnsupported
	}
	return s.Indexer.Batch(ctx, writes...)
}

// An ownerStage is a manager whose store calls wait until they are let through.
type ownerStage struct {
	t      *testing.T
	memory *memorystore.Store
	m      *core.Manager

	mu      sync.Mutex
	open    bool // calls don't wait
	waiting []*ownerCall
	ids     map[any]int
	lists   map[string]bool
}

type ownerCall struct {
	actor int
	what  string
	next  chan struct{}
}

type actorKey struct{}

func newOwnerStage(t *testing.T, apart bool, o core.Options) *ownerStage {
	s := &ownerStage{t: t, memory: memorystore.New(nil), open: true, ids: map[any]int{}, lists: map[string]bool{}}
	t.Cleanup(func() { s.memory.Close() })
	var store core.Store = s.memory
	if apart {
		store = listsApart{s.memory, s.memory}
	}
	faulty := storetest.NewFaulty(store)
	faulty.Before(s.wait)
	o.Keys, o.Owners = core.Keyring{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, true
	o.NewID = func(ctx context.Context) (string, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		actor, _ := ctx.Value(actorKey{}).(int)
		s.ids[actor]++
		return fmt.Sprintf("id-of-actor-%d-number-%d-%032d", actor, s.ids[actor], s.ids[actor]), nil
	}
	var err error
	if s.m, err = core.New(faulty, &o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.m.Close() })
	return s
}

// wait holds a call back until its turn has come.
func (s *ownerStage) wait(ctx context.Context, op storetest.Op, key string) error {
	actor, _ := ctx.Value(actorKey{}).(int)
	c := &ownerCall{actor, string(op) + " " + key, make(chan struct{})}
	s.mu.Lock()
	if op == storetest.OpOwned || op == storetest.OpOwn {
		s.lists[key] = true
	}
	if s.open {
		s.mu.Unlock()
		return nil
	}
	s.waiting = append(s.waiting, c)
	s.mu.Unlock()
	<-c.next
	return nil
}

// visit runs a request of a browser.
func (s *ownerStage) visit(actor int, b *jartest.Browser, h func(ctx context.Context, session *core.Session) error) error {
	jar := b.Jar("/")
	v, _ := s.m.NewVisit(jar, nil)
	ctx := core.NewContext(context.WithValue(context.Background(), actorKey{}, actor), v)
	err := v.Begin(ctx)
	if err == nil {
		var session *core.Session
		if session, err = v.Session(ctx); err == nil {
			err = h(ctx, session)
		}
		err = errors.Join(err, v.Commit(ctx))
	}
	b.Take("/", jar.SetCookies...)
	return err
}

// living are the sessions of ada that are stored.
func (s *ownerStage) living() (keys []string) {
	err := s.memory.Keys(context.Background(), "", func(some []string) error {
		found, err := s.memory.GetMany(context.Background(), some...)
		for i, p := range found {
			if bytes.Contains(p.Data, []byte(`"o":["ada",`)) {
				keys = append(keys, some[i])
			}
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

func (s *ownerStage) listed() (keys []string) {
	for list := range s.lists {
		some, err := s.memory.Owned(context.Background(), list)
		if err != nil {
			s.t.Fatal(err)
		}
		keys = append(keys, some...)
	}
	slices.Sort(keys)
	return keys
}

// run lets the actors call the store in the order of path, and then in the first one
// that there is. It returns the choices that were made.
func (s *ownerStage) run(path []choice, actors ...func()) []choice {
	s.mu.Lock()
	s.open = false
	s.mu.Unlock()
	running := len(actors)
	for _, act := range actors {
		go func() {
			act()
			s.mu.Lock()
			running--
			s.mu.Unlock()
		}()
	}
	for n := 0; ; {
		synctest.Wait()
		s.mu.Lock()
		if running == 0 {
			s.open = true
			s.mu.Unlock()
			return path
		}
		if len(s.waiting) == 0 {
			s.mu.Unlock()
			time.Sleep(time.Millisecond) // somebody rests before the next try
			continue
		}
		slices.SortFunc(s.waiting, func(a, b *ownerCall) int {
			return cmp.Or(cmp.Compare(a.actor, b.actor), cmp.Compare(a.what, b.what))
		})
		if n == len(path) {
			path = append(path, choice{0, len(s.waiting)})
		}
		took := path[n].took % len(s.waiting)
		n++
		next := s.waiting[took]
		s.waiting = slices.Delete(s.waiting, took, took+1)
		s.mu.Unlock()
		close(next.next)
	}
}

// An ownerScene is two requests beside each other. Two browsers are ada's, the third
// one is a visitor's.
type ownerScene struct {
	name    string
	options core.Options
	before  func(s *ownerStage, b []*jartest.Browser)
	acts    [2]func(s *ownerStage, b []*jartest.Browser) error
	// living is how many sessions of ada there are afterwards, at least and at most.
	least, most int
	look        func(s *ownerStage, b []*jartest.Browser, errs [2]error) string
}

func ownerLogin(browser, actor int, o core.LoginOptions) func(s *ownerStage, b []*jartest.Browser) error {
	o.Owner = "ada"
	return func(s *ownerStage, b []*jartest.Browser) error {
		return s.visit(actor, b[browser], func(_ context.Context, session *core.Session) error { return session.Login(o) })
	}
}

func ownerRequest(browser, actor int, h func(ctx context.Context, s *ownerStage, session *core.Session) error) func(s *ownerStage, b []*jartest.Browser) error {
	return func(s *ownerStage, b []*jartest.Browser) error {
		return s.visit(actor, b[browser], func(ctx context.Context, session *core.Session) error { return h(ctx, s, session) })
	}
}

func ownerEnd(actor int) func(s *ownerStage, b []*jartest.Browser) error {
	return func(s *ownerStage, _ []*jartest.Browser) error {
		return s.m.DestroyByOwner(context.WithValue(context.Background(), actorKey{}, actor), "ada", nil)
	}
}

func ownerList(actor int) func(s *ownerStage, b []*jartest.Browser) error {
	return func(s *ownerStage, _ []*jartest.Browser) error {
		_, err := s.m.ListByOwner(context.WithValue(context.Background(), actorKey{}, actor), "ada", nil)
		return err
	}
}

var (
	ownerRenews = ownerRequest(0, 1, func(ctx context.Context, _ *ownerStage, session *core.Session) error { return session.Renew(ctx) })
	ownerSaves  = ownerRequest(0, 1, func(_ context.Context, _ *ownerStage, session *core.Session) error { return session.Set("x", 1) })
	ownerLeaves = ownerRequest(0, 1, func(ctx context.Context, _ *ownerStage, session *core.Session) error { return session.Destroy(ctx) })
	ownerReads  = ownerRequest(0, 1, func(context.Context, *ownerStage, *core.Session) error { return nil })
	ownerStays  = ownerRequest(1, 2, func(ctx context.Context, s *ownerStage, session *core.Session) error {
		if session.Owner() == "" {
			return errors.New("the one that asks has no session")
		}
		return s.m.DestroyByOwner(ctx, "ada", session)
	})
)

func noError(_ *ownerStage, _ []*jartest.Browser, errs [2]error) string {
	if err := errors.Join(errs[:]...); err != nil {
		return err.Error()
	}
	return ""
}

// unlessGone is noError, but that the first one may be told that its session is gone.
func unlessGone(s *ownerStage, b []*jartest.Browser, errs [2]error) string {
	if errors.Is(errs[0], core.ErrGone) {
		errs[0] = nil
	}
	return noError(s, b, errs)
}

var ownerScenes = []ownerScene{
	{"login, end of all", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerLogin(2, 1, core.LoginOptions{}), ownerEnd(2)}, 0, 1, noError},
	{"second login, end of all", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerLogin(0, 1, core.LoginOptions{}), ownerEnd(2)}, 0, 1, noError},
	{"Renew, end of all", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerRenews, ownerEnd(2)}, 0, 0, unlessGone},
	{"save, end of all", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerSaves, ownerEnd(2)}, 0, 0, unlessGone},
	{"logout, end of all", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerLeaves, ownerEnd(2)}, 0, 0, noError},
	{"end of all, end of all", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerEnd(1), ownerEnd(2)}, 0, 0, noError},
	{"list, login", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerList(1), ownerLogin(2, 2, core.LoginOptions{})}, 3, 3, noError},
	{"list, Renew", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerRenews, ownerList(2)}, 2, 2, noError},
	{"Renew, end of all others", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{ownerRenews, ownerStays}, 1, 1, unlessGone},
	{"last login, last login", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{
		ownerLogin(2, 1, core.LoginOptions{MaxSessions: 1}), ownerLogin(3, 2, core.LoginOptions{MaxSessions: 1}),
	}, 1, 1, noError},
	{"second login, last but one login", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{
		ownerLogin(0, 1, core.LoginOptions{MaxSessions: 2}), ownerLogin(2, 2, core.LoginOptions{MaxSessions: 2}),
	}, 2, 2, noError},
	{"second login, second login", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{
		ownerLogin(0, 1, core.LoginOptions{MaxSessions: 1}), ownerLogin(0, 2, core.LoginOptions{MaxSessions: 1}),
	}, 1, 1, noError},
	{"last login, end of all", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{
		ownerLogin(2, 1, core.LoginOptions{MaxSessions: 1}), ownerEnd(2),
	}, 0, 1, noError},
	{"login for one place, login for one place", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{
		ownerLogin(2, 1, core.LoginOptions{MaxSessions: 3, RefuseMore: true}), ownerLogin(3, 2, core.LoginOptions{MaxSessions: 3, RefuseMore: true}),
	}, 3, 3, func(s *ownerStage, b []*jartest.Browser, errs [2]error) string {
		refused := 0
		for _, err := range errs {
			if errors.Is(err, core.ErrTooMany) {
				refused++
			} else if err != nil {
				return err.Error()
			}
		}
		if refused != 1 {
			return fmt.Sprintf("%d were refused; ", refused)
		}
		// Logged in or not, the visitor has what was in the session.
		wrong := ""
		err := s.visit(0, b[2], func(_ context.Context, session *core.Session) error {
			if session.Get("cart") == nil || (session.Owner() == "ada") != (errs[0] == nil) {
				wrong = fmt.Sprintf("the visitor has the cart %v and is %q; ", session.Get("cart"), session.Owner())
			}
			return nil
		})
		if err != nil {
			wrong += err.Error()
		}
		return wrong
	}},
	{"login for one place, end of all", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{
		ownerLogin(2, 1, core.LoginOptions{MaxSessions: 3, RefuseMore: true}), ownerEnd(2),
	}, 0, 1, noError},
	{"login for no place, logout", core.Options{}, nil, [2]func(*ownerStage, []*jartest.Browser) error{
		ownerLeaves, ownerLogin(2, 2, core.LoginOptions{MaxSessions: 2, RefuseMore: true}),
	}, 1, 2, func(_ *ownerStage, _ []*jartest.Browser, errs [2]error) string {
		if errs[0] != nil || errs[1] != nil && !errors.Is(errs[1], core.ErrTooMany) {
			return errors.Join(errs[:]...).Error()
		}
		return ""
	}},
	// The session has got a new id of itself, which this request brings.
	{"new id, end of all", core.Options{RenewAfter: time.Hour, IdleTimeout: 3 * time.Hour}, func(s *ownerStage, b []*jartest.Browser) {
		time.Sleep(90 * time.Minute)
		if err := ownerReads(s, b); err != nil {
			s.t.Fatal(err)
		}
	}, [2]func(*ownerStage, []*jartest.Browser) error{ownerReads, ownerEnd(2)}, 0, 0, unlessGone},
	{"new id, list", core.Options{RenewAfter: time.Hour, IdleTimeout: 3 * time.Hour}, func(s *ownerStage, b []*jartest.Browser) {
		time.Sleep(90 * time.Minute)
		if err := ownerReads(s, b); err != nil {
			s.t.Fatal(err)
		}
	}, [2]func(*ownerStage, []*jartest.Browser) error{ownerReads, ownerList(2)}, 2, 2, noError},
}

// P27, P1: what runs beside the end of all.
func TestOwnersInEveryOrder(t *testing.T) {
	const few, many = 25, 5_000 // orders of each scene, systematic ones, and as many by chance if there are more
	parts := 2 * 2 * len(ownerScenes)
	for _, apart := range []bool{false, true} {
		for _, scene := range ownerScenes {
			t.Run(fmt.Sprintf("%s, lists apart %v", scene.name, apart), func(t *testing.T) {
				t.Parallel()
				runs, all := 0, false
				path := []choice(nil)
				for range soak.Rounds(parts, few, many) {
					synctest.Test(t, func(t *testing.T) { path = scene.play(t, apart, path) })
					runs++
					for len(path) > 0 && path[len(path)-1].took+1 >= path[len(path)-1].of {
						path = path[:len(path)-1]
					}
					if all = len(path) == 0; all || t.Failed() {
						break
					}
					path[len(path)-1].took++
				}
				for n := range soak.Rounds(parts, few, many) {
					if all || t.Failed() {
						break
					}
					r := rand.New(rand.NewPCG(uint64(n), 1)) // #nosec G404 -- the same orders each time
					path := make([]choice, 64)
					for i := range path {
						path[i].took = r.IntN(6)
					}
					synctest.Test(t, func(t *testing.T) { scene.play(t, apart, path) })
					runs++
				}
				t.Logf("%d orders, all: %v", runs, all)
			})
		}
	}
}

// play runs a scene in the order of path.
func (scene *ownerScene) play(t *testing.T, apart bool, path []choice) []choice {
	s := newOwnerStage(t, apart, scene.options)
	b := []*jartest.Browser{{}, {}, {}, {}}
	for i := range 2 {
		if err := ownerLogin(i, 0, core.LoginOptions{})(s, b); err != nil {
			t.Fatal(err)
		}
	}
	err := s.visit(0, b[2], func(_ context.Context, session *core.Session) error { return session.Set("cart", 1) })
	if err == nil {
		err = ownerList(0)(s, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if scene.before != nil {
		scene.before(s, b)
	}
	var errs [2]error
	path = s.run(path, func() { errs[0] = scene.acts[0](s, b) }, func() { errs[1] = scene.acts[1](s, b) })

	living, listed := s.living(), s.listed()
	wrong := ""
	if len(living) < scene.least || len(living) > scene.most {
		wrong = fmt.Sprintf("%d sessions live; ", len(living))
	}
	for _, key := range living {
		if !slices.Contains(listed, key) {
			wrong += "a session is in no list; "
		}
	}
	if scene.look != nil {
		wrong += scene.look(s, b, errs)
	}
	if all, err := s.m.ListByOwner(context.Background(), "ada", nil); err != nil || len(all) != len(living) {
		wrong += fmt.Sprintf("%d sessions of %d are listed, %v; ", len(all), len(living), err)
	}
	// A look may have moved nothing, but taken out what leads nowhere.
	if listed := s.listed(); len(listed) != len(living) {
		wrong += fmt.Sprintf("%d keys in the lists, %d sessions; ", len(listed), len(living))
	}
	if err := s.m.DestroyByOwner(context.Background(), "ada", nil); err != nil || len(s.living()) != 0 {
		wrong += fmt.Sprintf("after the end %d live, %v; ", len(s.living()), err)
	}
	for _, b := range b {
		if err := s.visit(0, b, func(_ context.Context, session *core.Session) error {
			if session.Owner() != "" {
				return errors.New("a cookie opens a session")
			}
			return nil
		}); err != nil {
			wrong += err.Error()
		}
	}
	if wrong != "" {
		t.Errorf("%s\nin the order %v", wrong, path)
	}
	return path
}
