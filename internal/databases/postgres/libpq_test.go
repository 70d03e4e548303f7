package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/databases/suite"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

// lib/pq says driver.ErrBadConn, "nothing was sent", also of a statement whose reply did
// not come. The store made it again, and it was carried out twice.
func TestAnotherDriverWhoseReplyDoesNotCome(t *testing.T) {
	direct := suite.Open(t, "pgx", dsn(servers.SharedPostgres(t).Addr(), ""))
	proxy := faultproxy.New(t, servers.SharedPostgres(t).Addr())
	o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
	s, err := sqlstore.New(suite.Open(t, "postgres", dsn(proxy.Addr(), "")), sqlstore.PostgreSQL, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := errors.Join(s.CreateTable(t.Context()), s.Set(t.Context(), "k", []byte("x"), time.Hour)); err != nil {
		t.Fatal(err)
	}
	lock, err := direct.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec("SELECT 1 FROM " + o.Table + " FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, _, err := s.Append(t.Context(), "k", []byte("y"))
		ended <- err
	}()
	waiting := func(want int) {
		for n := -1; n != want; time.Sleep(time.Millisecond) {
			if err := direct.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'UPDATE%' || $1 || '%' AND state = 'active'", o.Table).Scan(&n); err != nil {
				t.Fatal(err)
			}
		}
	}
	waiting(1)
	proxy.CutAll(faultproxy.Close)
	select {
	case err = <-ended:
		err = errors.Join(err, lock.Commit())
	case <-time.After(time.Second): // it has been sent again, and waits
		err = errors.Join(lock.Commit(), <-ended)
	}
	if !errors.Is(err, core.ErrOutcomeUnknown) || strings.Contains(err.Error(), "no connection") {
		t.Errorf("Append: %v", err)
	}
	waiting(0)
	if got, err := s.Get(t.Context(), "k"); string(got) != "xy" {
		t.Errorf("%q was stored, %v", got, err)
	}
}
