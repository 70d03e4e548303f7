package sqlstore_test

import (
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

func TestMisfitsAreFoundAtOnce(t *testing.T) {
	db := sql.OpenDB(&fake{})
	defer db.Close()
	for name, err := range map[string]error{
		"no database":   second(sqlstore.New(nil, sqlstore.PostgreSQL, nil)),
		"no dialect":    second(sqlstore.New(db, 0, nil)),
		"other dialect": second(sqlstore.New(db, 4, nil)),
		"size":          second(sqlstore.New(db, sqlstore.SQLite, &sqlstore.Options{MaxSize: -1})),
		"interval":      second(sqlstore.New(db, sqlstore.SQLite, &sqlstore.Options{SweepEvery: -1})),
		"milliseconds":  second(sqlstore.New(db, sqlstore.SQLite, &sqlstore.Options{SweepEvery: 60_000})),
		"batch":         second(sqlstore.New(db, sqlstore.SQLite, &sqlstore.Options{SweepBatch: -1})),
		"large batch":   second(sqlstore.New(db, sqlstore.SQLite, &sqlstore.Options{SweepBatch: 10_001})),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	long := strings.Repeat("x", 48)
	for _, d := range dialects {
		for _, name := range []string{"sessions", "order", "_", "t1", long} {
			if _, err := d.Schema(name); err != nil {
				t.Errorf("%v: %s: %v", d, name, err)
			}
		}
		for _, name := range []string{"Sessions", "1t", "a b", `a"`, "a`", "a;b", "a'", "é", "a.b.c", ".a", "a.", long + "x", "a--", "a/*"} {
			if _, err := sqlstore.New(db, d, &sqlstore.Options{Table: name}); err == nil {
				t.Errorf("%v: a table named %q", d, name)
			}
		}
		if _, err := d.Schema("app.sessions"); (err != nil) != (d == sqlstore.SQLite) {
			t.Errorf("%v: with a schema: %v", d, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The clock of the server decides: what is sent has no time of this process in it,
// and every statement that looks at an end asks the server what time it is.
func TestNoTimeOfTheProcessIsSent(t *testing.T) {
	year := time.Now().UnixMilli() / (365 * 24 * 3600 * 1000) // in milliseconds since 1970 it is more than any ttl below
	now := regexp.MustCompile(`clock_timestamp\(\)|statement_timestamp\(\)|UTC_TIMESTAMP\(6\)|unixepoch\('subsec'\)`)
	for _, d := range dialects {
		s, f := open(t, d)
		ctx := t.Context()
		_, _ = s.Get(ctx, "k")
		_, _, _ = s.GetVersion(ctx, "k")
		_ = s.Set(ctx, "k", []byte("x"), hour)
		_, _ = s.SetVersion(ctx, "k", []byte("x"), hour, 0)
		_, _ = s.SetVersion(ctx, "k", []byte("x"), hour, 7)
		_ = s.Touch(ctx, "k", hour)
		_, _, _ = s.Append(ctx, "k", []byte("x"))
		_, _ = s.Batch(ctx, core.Write{Key: "a", Data: []byte("x"), TTL: hour}, core.Write{Key: "b", Version: 7})
		_, _ = s.Batch(ctx, core.Write{Key: "a", Data: []byte("x"), TTL: hour}, core.Write{Key: "b", Data: []byte("x"), TTL: hour, Version: 7})
		_, _ = s.Sweep(ctx)
		all := f.said()
		if len(all) < 10 {
			t.Fatalf("%v: %d statements", d, len(all))
		}
		for _, one := range all {
			for _, a := range one.args {
				switch a := a.(type) {
				case string, []byte, nil:
				case int64:
					if a > (year-1)*365*24*3600*1000 && a < (year+2)*365*24*3600*1000 {
						t.Errorf("%v: %s has the argument %d, a time of today", d, one.text, a)
					}
				default:
					t.Errorf("%v: %s has an argument of type %T", d, one.text, a)
				}
			}
			if strings.Contains(one.text, "expires_at") != now.MatchString(one.text) {
				t.Errorf("%v: %s does not ask the server what time it is", d, one.text)
			}
		}
	}
}

// What a call costs in statements, each a round trip.
func TestStatements(t *testing.T) {
	move := []core.Write{{Key: "a", Data: []byte("x"), TTL: hour}, {Key: "b", Data: []byte("x"), TTL: hour, Version: 7}}
	for _, c := range []struct {
		name string
		do   func(s *sqlstore.Store)
		want []int // on PostgreSQL, MySQL and SQLite
	}{
		{"get", func(s *sqlstore.Store) { _, _, _ = s.GetVersion(t.Context(), "k") }, []int{1, 1, 1}},
		{"set", func(s *sqlstore.Store) { _ = s.Set(t.Context(), "k", nil, hour) }, []int{1, 1, 1}},
		{"create", func(s *sqlstore.Store) { _, _ = s.SetVersion(t.Context(), "k", nil, hour, 0) }, []int{1, 1, 1}},
		{"swap", func(s *sqlstore.Store) { _, _ = s.SetVersion(t.Context(), "k", nil, hour, 7) }, []int{1, 1, 1}},
		{"touch", func(s *sqlstore.Store) { _ = s.Touch(t.Context(), "k", hour) }, []int{1, 1, 1}},
		{"destroy", func(s *sqlstore.Store) { _ = s.Destroy(t.Context(), "k") }, []int{1, 1, 1}},
		{"append", func(s *sqlstore.Store) { _, _, _ = s.Append(t.Context(), "k", nil) }, []int{2, 2, 2}}, // the fake has no row to return
		{"login", func(s *sqlstore.Store) { _, _ = s.Batch(t.Context(), move...) }, []int{1, 4, 4}},
		{"logout", func(s *sqlstore.Store) { _, _ = s.Batch(t.Context(), core.Write{Key: "k", Version: 7}) }, []int{1, 1, 1}},
	} {
		for i, d := range dialects {
			s, f := open(t, d)
			c.do(s)
			if all := f.said(); len(all) != c.want[i] {
				t.Errorf("%s on %v: %d statements, not %d: %v", c.name, d, len(all), c.want[i], all)
			}
		}
	}
}

// What a touch changes is in no index.
func TestATouchChangesNoIndexedColumn(t *testing.T) {
	for _, d := range dialects {
		schema, err := d.Schema("")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.Join(schema, "\n"), "\n") {
			if strings.Contains(line, "INDEX") && strings.Contains(line, "expires_at") {
				t.Errorf("%v: %s", d, line)
			}
		}
	}
}

func TestClose(t *testing.T) {
	s, f := open(t, sqlstore.PostgreSQL)
	var told []bool
	s.Notify(func(up bool) { told = append(told, up) })
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	f.said()
	if !slices.Equal(told, []bool{false}) {
		t.Errorf("the listener was told %v", told)
	}
	_, err := s.Batch(t.Context(), core.Write{Key: "k", Data: []byte("x")})
	for name, err := range map[string]error{
		"Get": second(s.Get(t.Context(), "k")), "Set": s.Set(t.Context(), "k", nil, 0), "Touch": s.Touch(t.Context(), "k", 0),
		"Destroy": s.Destroy(t.Context(), "k"), "Batch": err, "Sweep": second(s.Sweep(t.Context())), "CreateTable": s.CreateTable(t.Context()),
		"SetVersion": second(s.SetVersion(t.Context(), "k", nil, 0, 0)), "Cause": s.Cause(),
	} {
		if core.Status(err) != 503 {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if all := f.said(); len(all) != 0 {
		t.Errorf("it sends %v", all)
	}
}

// R22: a driver that panics while the store sweeps by itself does not end the process,
// and the store goes on to sweep.
func TestR22ADriverThatPanicsInTheSweeper(t *testing.T) {
	for _, d := range dialects {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{answers: []answer{{panics: "a driver"}}}
			db := sql.OpenDB(f)
			defer db.Close()
			s, err := sqlstore.New(db, d, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := len(f.said()); n != 1 {
				t.Errorf("dialect %v: %d statements, want the one that panics", d, n)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(f.said()) == 0 {
				t.Errorf("dialect %v: it sweeps no more", d)
			}
		})
	}
}

// R22: in a call the panic goes on, without its text.
func TestR22ADriverThatPanicsInACall(t *testing.T) {
	for _, d := range dialects {
		for name, call := range map[string]func(s *sqlstore.Store){
			"a read":  func(s *sqlstore.Store) { _, _ = s.Get(t.Context(), secret) },
			"a write": func(s *sqlstore.Store) { _ = s.Destroy(t.Context(), secret) },
		} {
			s, _ := open(t, d, answer{panics: secret})
			func() {
				defer func() {
					if p := recover(); p == nil || fmt.Sprint(p) != "panic: string" {
						t.Errorf("%v: %s: the panic is %v", d, name, p)
					}
				}()
				call(s)
			}()
		}
	}
}
