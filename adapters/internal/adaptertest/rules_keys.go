package adaptertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// keyRules are those of several processes with other keys and schemes.
var keyRules = []rule{
	{"T9 processes of two neighbouring steps of a deploy serve one browser in turn", inBubble(func(t *testing.T, s *suite) {
		until := time.Now().Add(time.Hour)
		a, b, koaKey := Keys[0], []byte("q8Wd2LxN7vKb4Rz0Tj6Yh1Mc9Fs3Pg5E"), []byte("keys")
		koa := func(o core.Options, keys ...[]byte) core.Options {
			k := *core.KoaCompat()
			k.Keys, k.Migrate = keys, o.Migrate
			return k
		}
		for _, steps := range map[string][]core.Options{
			"keys":     {{Keys: core.Keyring{a}}, {Keys: core.Keyring{a, b}}, {Keys: core.Keyring{b, a}}, {Keys: core.Keyring{b}}},
			"Koa keys": {koa(core.Options{}, koaKey), koa(core.Options{}, koaKey, b), koa(core.Options{}, b, koaKey), koa(core.Options{}, b)},
			"from Koa": {
				koa(core.Options{}, koaKey), koa(core.Options{Migrate: core.Migration{Keys: core.Keyring{a}, Until: until}}, koaKey),
				{Keys: core.Keyring{a}, Migrate: core.Migration{Keys: core.Keyring{koaKey}, Until: until}}, {Keys: core.Keyring{a}},
			},
			"sealing": {
				{Keys: core.Keyring{a}}, {Keys: core.Keyring{a}, Seal: core.Sealing{Keys: core.Keyring{a}, OpenOnly: true, UnsealedUntil: until}},
				{Keys: core.Keyring{a}, Seal: core.Sealing{Keys: core.Keyring{a}, UnsealedUntil: until}},
				{Keys: core.Keyring{a}, Seal: core.Sealing{Keys: core.Keyring{a, b}}},
			},
		} {
			store := memorystore.New(nil)
			s.t.Cleanup(func() { store.Close() })
			var servers []*app
			for i := range steps {
				m, err := core.New(store, &steps[i])
				if err != nil {
					t.Fatal(err)
				}
				s.t.Cleanup(func() { m.Close() })
				server := &app{t: t, memory: store, manager: m}
				s.serve(server, false, visitsAndLogins, m)
				servers = append(servers, server)
			}
			for step := 1; step < len(servers); step++ {
				browser := &jartest.Browser{}
				n := 0
				for _, which := range []int{0, 0, 1, 0, 1, 1, 0, 1} {
					u := &user{servers[step-1+which], browser}
					path := "/visit"
					if n%3 == 2 {
						path = "/login"
					}
					n++
					u.want(path, 200, fmt.Sprint(n))
				}
			}
		}
	})},
}

// visitsAndLogins counts the requests; that for /login changes the id, too.
func visitsAndLogins(x *Exchange) error {
	s, err := x.From()
	if err != nil {
		return err
	}
	n, err := core.Key[int]("n").Update(s, func(n int) int { return n + 1 })
	if err != nil {
		return err
	}
	if x.URL.Path == "/login" {
		if err := s.Login(core.LoginOptions{}); err != nil {
			return err
		}
	}
	x.Write(fmt.Sprint(n))
	return nil
}
