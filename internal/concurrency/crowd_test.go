package concurrency_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// Many requests of one session at once, over two managers, as two processes have
// them: 64 that write, and 64 that log in. No login is refused, nothing is lost,
// exactly one id has the old values, the old id is dead, and a late logout with
// it ends every session that came after it (P2).
func TestCrowd(t *testing.T) {
	const crowd = 64
	for _, kind := range stores {
		for name, o := range map[string]core.Options{"": {}, ", refuse": {OnConflict: core.ConflictRefuse}, ", sealed": {Seal: core.Sealing{Keys: core.Keyring{firstKey}}}} {
			t.Run(kind.name+name, func(t *testing.T) {
				o.OpTimeout = 20 * time.Second
				store := kind.open(t)
				m, browser := withSession(t, store, o)
				managers := [2]*core.Manager{m, newManager(t, store, o)}
				var old core.ID
				if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
					old = s.ID()
					return s.Set("old", true)
				}); err != nil {
					t.Fatal(err)
				}
				var all, loaded sync.WaitGroup
				var mu sync.Mutex
				var ids []core.ID
				saved := map[int]bool{} // the writers that were told that it worked
				loaded.Add(2 * crowd)
				ask := func(i int, do func(*core.Session) error) (*core.Session, error) {
					return within(managers[i%2], browser.Jar("/"), func(s *core.Session) error {
						loaded.Done()
						loaded.Wait() // so that they meet
						return do(s)
					})
				}
				for i := range crowd {
					all.Go(func() {
						_, err := ask(i, func(s *core.Session) error {
							_, err := n.Update(s, adding(1))
							if err == nil {
								err = s.Set(fmt.Sprint("w", i), i)
							}
							if err == nil {
								err = s.Save(bg)
							}
							return err
						})
						mu.Lock()
						defer mu.Unlock()
						saved[i] = err == nil
						if err != nil && class(err) != "gone" && !(name == ", refuse" && class(err) == "conflict") {
							t.Errorf("a writer: %v", err)
						}
					})
					all.Go(func() {
						s, err := ask(i, func(s *core.Session) error {
							if err := s.Login(core.LoginOptions{}); err != nil {
								return err
							}
							return s.Set("user", i)
						})
						if err != nil {
							t.Errorf("a login is refused: %v", err)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						ids = append(ids, s.ID())
					})
				}
				all.Wait()
				if _, err := m.GetByID(bg, old); err == nil {
					t.Error("the old id lives")
				}
				holders := 0
				seen := map[core.ID]bool{}
				for _, id := range ids {
					if seen[id] {
						t.Error("two logins have one id")
					}
					seen[id] = true
					got := stored(t, m, id)
					if got == nil || got["user"] == nil {
						t.Errorf("a login has %v", got)
					}
					if got["old"] == nil {
						if len(got) != 1 {
							t.Errorf("a login of its own has more than it set: %v", got)
						}
						continue
					}
					holders++
					for i, ok := range saved {
						if has := got[fmt.Sprint("w", i)] != nil; has != ok {
							t.Errorf("a writer was told %t, and what it wrote is there: %t", ok, has)
						}
					}
					if want := count(saved); got["n"] != float64(want) {
						t.Errorf("n is %v, %d writers have added one", got["n"], want)
					}
				}
				if holders != 1 || len(ids) != crowd {
					t.Errorf("%d logins, %d have the old values", len(ids), holders)
				}
				if err := m.DestroyByID(bg, old); err != nil {
					t.Error(err)
				}
				for _, id := range ids {
					if stored(t, m, id) != nil {
						t.Error("a late logout does not end it")
					}
				}
			})
		}
	}
}

// stored are the values of a session, nil if there is none.
func stored(t *testing.T, m *core.Manager, id core.ID) (values map[string]any) {
	data, err := m.GetByID(bg, id)
	if err != nil {
		return nil
	}
	if err := json.Unmarshal(data, &values); err != nil {
		t.Error(err)
	}
	return values
}

func count(of map[int]bool) (n int) {
	for _, is := range of {
		if is {
			n++
		}
	}
	return n
}
