package concurrency_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// Browsers whose requests overlap, and whose responses arrive in any order, late,
// or never: random schedules, which end with a login, a lost login, or a logout.
// What a failure begins with is what it breaks:
//
//	B1  a login never fails
//	B2  a browser that has received the answer of a login is logged in, whatever it
//	    held before and whichever responses arrive later of requests that carried
//	    the id which the login gave up (K17)
//	B3  after a login whose answer got lost the next form and login work (P3)
//	B4  after a logout nothing that the browser had opens what it ended
//	B5  who has planted an id, or has a copy of one, is not logged in by it
func TestBrowsers(t *testing.T) {
	n := 3000
	if soak {
		n = 1_000_000
	}
	stores := map[string]func(*testing.T) core.Store{
		"one step":  func(t *testing.T) core.Store { return newMemory(t) },
		"two steps": func(t *testing.T) core.Store { return twoSteps(newMemory(t)) },
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(n) {
				if wrong := playBrowsers(t, seed, plantedFault{open: open}); wrong != "" {
					t.Fatalf("schedule %d: %s", seed, wrong)
				}
			}
		})
	}
}

// A plantedFault is what is wrong with an application or its store.
type plantedFault struct {
	open    func(*testing.T) core.Store
	keepsID bool                                     // it logs in without a new id
	lines   func(name, line string) (string, string) // what its jar makes of a Set-Cookie line
}

// lineJar changes the lines that it sends.
type lineJar struct {
	*jartest.Jar
	change func(name, line string) (string, string)
}

func (j lineJar) SetCookie(name, line string, replace bool) {
	name, line = j.change(name, line)
	j.Jar.SetCookie(name, line, replace)
}

// forgetfulOfNotes is a store in which nothing says that an id was given up, as if
// that lasted no time at all.
type forgetfulOfNotes struct {
	core.Store
	core.Swapper
}

func (s forgetfulOfNotes) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	data, v, err := s.Swapper.GetVersion(ctx, key)
	if strings.HasPrefix(string(data), "null") {
		return nil, 0, core.ErrNotFound
	}
	return data, v, err
}

// reviving is a store in which a swap brings back what is gone.
type reviving struct {
	core.Store
	core.Swapper
}

func (s reviving) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	now, err := s.Swapper.SetVersion(ctx, key, data, ttl, v)
	if errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrConflict) && v != 0 {
		return 0, s.Store.Set(ctx, key, data, ttl)
	}
	return now, err
}

// The schedules find each of these.
func TestBrowsersFindPlantedFaults(t *testing.T) {
	open := func(t *testing.T) core.Store { return newMemory(t) }
	for name, f := range map[string]plantedFault{
		"B2: a late response replaces the cookie": {open: open, lines: func(name, line string) (string, string) {
			return strings.Replace(name, ".next", "", 1), strings.Replace(line, ".next", "", 1)
		}},
		"B2: nothing says that an id was given up": {open: func(t *testing.T) core.Store {
			m := newMemory(t)
			return forgetfulOfNotes{m, m}
		}},
		"B4: a swap undoes a logout": {open: func(t *testing.T) core.Store {
			m := newMemory(t)
			return reviving{m, m}
		}},
		"B5: a login that keeps the id": {open: open, keepsID: true},
		"B2: no copy of the id for a response from before": {open: open, lines: func(name, line string) (string, string) {
			if strings.HasPrefix(name, "koa.sid.next") {
				return "other", "other=1"
			}
			return name, line
		}},
	} {
		t.Run(name, func(t *testing.T) {
			found := map[string]int{}
			for seed := range uint64(3000) {
				if wrong := playBrowsers(t, seed, f); wrong != "" {
					if found[wrong[:2]]++; wrong[:2] == name[:2] {
						return
					}
				}
			}
			t.Errorf("not found, but %v", found)
		})
	}
}

const (
	csrfKey core.Key[string] = "csrf"
	userKey core.Key[string] = "user"
)

// An inFlight is a request that has begun, or a response on its way.
type inFlight struct {
	browser *jartest.Browser
	jar     *jartest.Jar
	visit   *core.Visit
	page    string
	id      string // in its first cookie
}

// playBrowsers plays one schedule, and says what is wrong.
func playBrowsers(t *testing.T, seed uint64, f plantedFault) (wrong string) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 7))
		m, err := core.New(f.open(t), &core.Options{
			Keys: [][]byte{firstKey}, Defer: random.IntN(3) == 0, IdleTimeout: []time.Duration{24 * time.Hour, 0, 0}[random.IntN(3)],
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var log []string
		blame := func(format string, a ...any) {
			if wrong == "" {
				wrong = fmt.Sprintf(format, a...) + "\n\t" + strings.Join(log, ", ")
			}
		}
		begin := func(b *jartest.Browser, page string) *inFlight {
			r := &inFlight{browser: b, jar: b.Jar("/"), page: page}
			r.id, _ = b.Value("/", "koa.sid")
			var jar core.Jar = r.jar
			if f.lines != nil {
				jar = lineJar{r.jar, f.lines}
			}
			r.visit, _ = m.NewVisit(jar, nil)
			if err := r.visit.Begin(context.Background()); err != nil {
				t.Fatal(err)
			}
			return r
		}
		// finish runs the handler and says who is logged in.
		finish := func(r *inFlight) (user string) {
			ctx := core.NewContext(context.Background(), r.visit)
			s, err := r.visit.Session(ctx)
			if err != nil {
				t.Fatal(err)
			}
			user = userKey.Get(s)
			switch r.page {
			case "form":
				if csrfKey.Get(s) == "" {
					_ = csrfKey.Set(s, "token")
				}
			case "change":
				_, _ = n.Update(s, adding(1))
			case "renew":
				_ = s.Renew(ctx)
			case "reset":
				_ = s.Reset(ctx)
			case "logout":
				if err := s.Destroy(ctx); err != nil {
					blame("B4: a logout failed: %v", err)
				}
			case "login":
				_ = userKey.Set(s, "ada")
				if f.keepsID {
					break
				}
				if err := s.Login(core.LoginOptions{}); err != nil {
					blame("B1: Login: %v", err)
				}
			}
			if err := r.visit.Commit(ctx); err != nil && r.page == "login" {
				blame("B1: the commit of a login: %v", err)
			}
			return user
		}
		take := func(r *inFlight) { r.browser.Take("/", r.jar.SetCookies...) }
		who := func(b *jartest.Browser) string { return finish(begin(b, "read")) }
		copyOf := func(b *jartest.Browser) *jartest.Browser {
			c := new(jartest.Browser)
			for _, name := range []string{"koa.sid", "koa.sid.sig", "koa.sid.next", "koa.sid.next.sig"} {
				if v, ok := b.Value("/", name); ok {
					c.Take("/", name+"="+v+"; path=/")
				}
			}
			return c
		}

		victim, attacker := new(jartest.Browser), new(jartest.Browser)
		take(func() *inFlight { r := begin(attacker, "form"); finish(r); return r }())
		var running, answers []*inFlight
		pages := []string{"read", "form", "change", "renew", "reset", "login"}
		times := []time.Duration{0, time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second, 61 * time.Second, 5 * time.Minute}
		one := func(list *[]*inFlight) *inFlight {
			i := random.IntN(len(*list))
			r := (*list)[i]
			*list = slices.Delete(*list, i, i+1)
			return r
		}
		for range 4 + random.IntN(16) {
			switch k := random.IntN(12); {
			case k < 4:
				r := begin(victim, pages[random.IntN(len(pages))])
				running = append(running, r)
				log = append(log, "begin "+r.page)
			case k < 7 && len(running) > 0:
				r := one(&running)
				finish(r)
				answers = append(answers, r)
				log = append(log, "finish "+r.page)
			case k < 9 && len(answers) > 0:
				r := one(&answers)
				if random.IntN(4) > 0 {
					take(r)
					log = append(log, "answer "+r.page)
				} else {
					log = append(log, "lose "+r.page)
				}
			case k == 9:
				d := times[random.IntN(len(times))]
				time.Sleep(d)
				log = append(log, d.String())
			case k == 10: // a planted id: the attacker's cookies, who is nobody
				if who(attacker) == "" {
					victim = copyOf(attacker)
					running = slices.DeleteFunc(running, func(*inFlight) bool { return true })
					answers = nil
					log = append(log, "planted")
				}
			case k == 11:
				r := begin(attacker, pages[random.IntN(5)]) // it has no password
				finish(r)
				take(r)
				log = append(log, "attacker "+r.page)
			}
			if who(attacker) != "" {
				blame("B5: the attacker is logged in")
			}
		}
		// late lets everything that has begun end, and its responses arrive.
		late := func() {
			for len(running)+len(answers) > 0 {
				if len(running) > 0 && (len(answers) == 0 || random.IntN(2) == 0) {
					r := one(&running)
					finish(r)
					answers = append(answers, r)
					log = append(log, "finish "+r.page)
					continue
				}
				r := one(&answers)
				take(r)
				log = append(log, "answer "+r.page)
				if random.IntN(3) == 0 {
					time.Sleep(times[random.IntN(len(times))])
				}
			}
		}
		switch random.IntN(3) {
		case 0: // a login, after which late responses arrive
			// The answers of those that have changed the id, or begun a session, come
			// before; those that have saved it may still come after.
			cookie, _ := victim.Value("/", "koa.sid")
			answers = slices.DeleteFunc(answers, func(r *inFlight) bool {
				stays := r.id == cookie && cookie != "" && (r.page == "form" || r.page == "change" || r.page == "read")
				if !stays {
					take(r)
				}
				return !stays
			})
			if now, _ := victim.Value("/", "koa.sid"); now != cookie {
				answers = nil
			}
			r := begin(victim, "login")
			_, dead := m.GetByID(context.Background(), core.ID(r.id))
			finish(r)
			log = append(log, "LOGIN")
			take(r)
			// A request that carried another id, or none, can't know of the login.
			running = slices.DeleteFunc(running, func(other *inFlight) bool { return other.id != r.id || dead != nil })
			switch {
			case dead != nil:
				answers = nil
			case len(answers) > 0: // beside one that stores into the second cookie its copy of the id would be gone
				running = nil
			}
			late()
			if who(victim) != "ada" {
				blame("B2: the browser is logged out")
			}
		case 1: // its answer gets lost
			before := copyOf(victim)
			finish(begin(victim, "login"))
			log = append(log, "LOGIN, lost")
			time.Sleep(times[random.IntN(len(times))])
			for _, page := range []string{"form", "login"} {
				r := begin(victim, page)
				finish(r)
				take(r)
			}
			if who(victim) != "ada" {
				blame("B3: the second login does not work")
			}
			if who(before) != "" && !f.keepsID && who(copyOf(victim)) == "" {
				blame("B5: the old cookies are logged in")
			}
		case 2: // a logout, after which late requests end
			running = slices.DeleteFunc(running, func(r *inFlight) bool { return r.page == "login" }) // which may come after it
			copied := copyOf(victim)
			r := begin(victim, "logout")
			if random.IntN(2) == 0 && len(running) > 0 {
				finish(one(&running))
			}
			finish(r)
			log = append(log, "LOGOUT")
			for _, r := range running {
				finish(r)
				log = append(log, "finish "+r.page)
			}
			if who(copied) != "" {
				blame("B4: the cookies from before the logout are logged in")
			}
		}
		if who(attacker) != "" {
			blame("B5: the attacker is logged in at the end")
		}
	})
	return wrong
}
