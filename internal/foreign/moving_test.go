package foreign_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	redisstore "github.com/gensession/gensession/stores/redis"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

const (
	visits core.Key[int]    = "visits"
	user   core.Key[string] = "user"
)

// request sends one with the cookies of b, and keeps those of the response.
func request(m *core.Manager, b *jartest.Browser, h func(s *core.Session) error) error {
	jar := b.Jar("/")
	v, _ := m.NewVisit(jar, nil)
	ctx := core.NewContext(context.Background(), v)
	if err := v.Begin(ctx); err != nil {
		v.Abandon()
		return err
	}
	s, err := v.Session(ctx)
	if err == nil {
		err = h(s)
	}
	if err = errors.Join(err, v.Commit(ctx)); err == nil {
		b.Take("/", jar.SetCookies...)
	}
	return err
}

func count(s *core.Session) error {
	_, err := visits.Update(s, func(n int) int { return n + 1 })
	return err
}

// TestP15TheSamePlaceByAnotherConnection: what would lose a session is refused, and what
// ends one does.
func TestP15TheSamePlaceByAnotherConnection(t *testing.T) {
	t.Parallel()
	table := "t_" + strings.ToLower(rand.Text()[:20])
	file := filepath.Join(t.TempDir(), "sessions.db")
	link := file + ".link"
	files := []string{file, link}
	for name, open := range map[string]func(t *testing.T) core.Store{
		"PostgreSQL": func(t *testing.T) core.Store { return openPostgres(t, table) },
		"Redis":      openRedis,
		"memcached":  openMemcached,
		"SQLite, by a link": func(t *testing.T) core.Store {
			path := files[0]
			if files = files[1:]; path == link {
				ok(t, os.Symlink(file, link))
			}
			db := must[*sql.DB](t)(sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)"))
			return openSQL(t, db, sqlstore.SQLite, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := core.Options{Keys: testKeys, Prefix: rand.Text() + ":"}
			now := open(t)
			o.Migrate = core.Migration{From: open(t), Until: time.Now().Add(time.Hour)}
			m := must[*core.Manager](t)(core.New(now, &o))
			defer m.Close()
			b := new(jartest.Browser)
			ok(t, request(m, b, count))
			for call, f := range map[string]func(s *core.Session) error{
				"Login": func(s *core.Session) error { return s.Login(core.LoginOptions{}) },
				"Renew": func(s *core.Session) error { return s.Renew(t.Context()) },
				"Reset": func(s *core.Session) error { return s.Reset(t.Context()) },
			} {
				if err := request(m, b, f); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "Options.Migrate.From") {
					t.Errorf("%s: %v", call, err)
				}
			}
			ok(t, request(m, b, func(s *core.Session) error {
				if n := visits.Get(s); n != 1 {
					t.Errorf("%d visits are left of 1", n)
				}
				return s.Destroy(t.Context())
			}))
			ok(t, request(m, b, func(s *core.Session) error {
				if !s.IsNew() {
					t.Error("it has not ended")
				}
				return nil
			}))
		})
	}
}

func openSQL(t *testing.T, db *sql.DB, d sqlstore.Dialect, table string) core.Store {
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	s := must[*sqlstore.Store](t)(sqlstore.New(db, d, &sqlstore.Options{Table: table}))
	ok(t, s.CreateTable(t.Context()))
	t.Cleanup(func() { ok(t, s.Close()); ok(t, db.Close()) })
	return s
}

func openPostgres(t *testing.T, table string) core.Store {
	return openSQL(t, must[*sql.DB](t)(sql.Open("pgx", servers.SharedPostgres(t).URL())), sqlstore.PostgreSQL, table)
}

func openRedis(t *testing.T) core.Store {
	s := must[*redisstore.Store](t)(redisstore.Open(servers.SharedRedis(t).URL(), nil))
	t.Cleanup(func() { ok(t, s.Close()) })
	return s
}

func openMemcached(t *testing.T) core.Store {
	s := must[*memcachestore.Store](t)(memcachestore.Open([]string{servers.SharedMemcached(t).Addr()}, nil))
	t.Cleanup(func() { ok(t, s.Close()) })
	return s
}

// TestP15MovingBetweenServers: two processes take the sessions of a crowd over while
// it works. Nobody is logged out and no change is lost; what has ended is in neither.
func TestP15MovingBetweenServers(t *testing.T) {
	t.Parallel()
	redis, memcached := openRedis, openMemcached
	postgres := func(t *testing.T) core.Store { return openPostgres(t, "t_"+strings.ToLower(rand.Text()[:20])) }
	fiber := func(t *testing.T) core.Store {
		s, end := onFiberRedis(servers.SharedRedis(t))(t)
		t.Cleanup(end)
		return s
	}
	for _, c := range []struct {
		name      string
		old, now  func(t *testing.T) core.Store
		versioned bool
	}{
		{"Redis to PostgreSQL", redis, postgres, true},
		{"PostgreSQL to Redis", postgres, redis, true},
		{"memcached to PostgreSQL", memcached, postgres, true},
		{"PostgreSQL to memcached", postgres, memcached, true},
		{"gofiber/storage/redis to PostgreSQL", fiber, postgres, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, now := c.old(t), c.now(t)
			o := core.Options{OpTimeout: time.Minute, Keys: testKeys, Prefix: rand.Text() + ":", Owners: c.versioned}
			before := must[*core.Manager](t)(core.New(old, &o))
			defer before.Close()
			o.Migrate = core.Migration{From: old, Until: time.Now().Add(time.Hour)}
			var processes [2]*core.Manager
			for i := range processes {
				processes[i] = must[*core.Manager](t)(core.New(now, &o))
				defer processes[i].Close()
			}
			const people, each = 8, 8
			browsers := make([]*jartest.Browser, people)
			for i := range browsers {
				browsers[i] = new(jartest.Browser)
				ok(t, request(before, browsers[i], func(s *core.Session) error {
					var l core.LoginOptions
					if c.versioned {
						l.Owner = "ada"
					}
					return errors.Join(s.Login(l), user.Set(s, fmt.Sprint(i)), count(s))
				}))
			}
			var crowd sync.WaitGroup
			for i, b := range browsers {
				cookies := b.Cookie("/")
				for n := range each {
					crowd.Go(func() {
						own := new(jartest.Browser) // one of the requests that it sends at once
						for pair := range strings.SplitSeq(cookies, "; ") {
							own.Take("/", pair+"; path=/")
						}
						if err := request(processes[n%2], own, func(s *core.Session) error {
							if got := user.Get(s); got != fmt.Sprint(i) {
								t.Errorf("the session of %d is that of %q", i, got)
							}
							return count(s)
						}); err != nil {
							t.Errorf("a request of %d: %v", i, err)
						}
					})
				}
			}
			crowd.Wait()
			for i, b := range browsers {
				ok(t, request(processes[i%2], b, func(s *core.Session) error {
					if got := visits.Get(s); got != 1+each {
						t.Errorf("%d has %d visits, want %d", i, got, 1+each)
					}
					return nil
				}))
				if err := request(before, b, func(s *core.Session) error {
					if !s.IsNew() {
						t.Errorf("the session of %d is in the old place still", i)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
			if c.versioned {
				all, err := processes[0].ListByOwner(t.Context(), "ada", nil)
				if err != nil || len(all) != people {
					t.Errorf("%d sessions in the list, %v", len(all), err)
				}
				ok(t, processes[0].DestroyByOwner(t.Context(), "ada", nil))
			} else {
				for _, b := range browsers {
					ok(t, request(processes[0], b, func(s *core.Session) error { return s.Destroy(t.Context()) }))
				}
			}
			for i, b := range browsers {
				for _, m := range append(processes[:], before) {
					ok(t, request(m, b, func(s *core.Session) error {
						if !s.IsNew() {
							t.Errorf("%d is logged in after the end", i)
						}
						return nil
					}))
				}
			}
		})
	}
}
