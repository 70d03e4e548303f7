package suite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/faultproxy"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

const largest = 1 << 20

// on returns what opens stores for storetest.Faults, all in one table, which is made
// while the server is well.
func (k *Kind) on(t testing.TB, addr, direct, table string) func(t testing.TB) (core.Store, func()) {
	t.Helper()
	o := sqlstore.Options{Table: table, MaxSize: largest}
	k.store(t, Open(t, k.Driver, k.DSN(direct, "")), o).Close()
	return func(t testing.TB) (core.Store, func()) {
		db, err := sql.Open(k.Driver, k.DSN(addr, ""))
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(50)
		db.SetMaxIdleConns(20)
		s, err := sqlstore.New(db, k.Dialect, &o)
		if err != nil {
			t.Fatal(err)
		}
		return s, func() { s.Close(); db.Close() }
	}
}

func (k *Kind) readOnly(t testing.TB, addr string) (undo func()) {
	k.Do(t, addr, k.ReadOnly...)
	time.Sleep(50 * time.Millisecond) // until its processes have read it
	return func() {
		k.Do(t, addr, k.Writable...)
		time.Sleep(50 * time.Millisecond)
	}
}

// faults: nothing else may run, since goroutines are counted.
func (k *Kind) faults(t *testing.T) {
	server := k.Own(t)
	proxy := faultproxy.New(t, server.Addr())
	t.Run("Faults", func(t *testing.T) {
		storetest.Faults(t, storetest.Server{
			Stop: server.Kill, Start: server.Start,
			Pause: server.Pause, Resume: server.Resume,
			ReadOnly: func() func() { return k.readOnly(t, server.Addr()) },
			TooLarge: largest + 1,
		}, k.on(t, server.Addr(), server.Addr(), Table()))
	})
	t.Run("Cut", func(t *testing.T) {
		storetest.Faults(t, storetest.Server{Cut: func() { proxy.CutAll(faultproxy.Reset) }}, k.on(t, proxy.Addr(), server.Addr(), Table()))
	})
	t.Run("Full", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("the files of a running process can be limited on Linux only")
		}
		full, table := server, Table()
		if k.Full != nil {
			full = k.Full(t)
		}
		storetest.Faults(t, storetest.Server{Fill: func() func() { return k.fill(t, full, table) }}, k.on(t, full.Addr(), full.Addr(), table))
	})
	t.Run("Outage", func(t *testing.T) {
		s := k.store(t, Open(t, k.Driver, k.DSN(server.Addr(), "")), sqlstore.Options{})
		storetest.Outage(t, s, server.Kill, server.Start)
	})
	t.Run("Killed", func(t *testing.T) { k.killed(t, server) })
	t.Run("Failover", func(t *testing.T) { k.failover(t, server) })
}

// fill fills a table, which then can't grow.
func (k *Kind) fill(t testing.TB, s Server, table string) (undo func()) {
	db, err := sql.Open(k.Driver, k.Admin(s.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	n, refused := 0, 0
	for rows := 1000; refused < 20; { // until not even one fits, on any page
		if k.Limit != nil && rows == 1000 {
			k.Limit(s, db, table, true)
		}
		if _, err = db.Exec(fmt.Sprintf(k.Filler, table, rows, n)); err == nil {
			n += rows
		} else if rows > 1 {
			rows /= 2
		} else {
			refused++
			n++
		}
	}
	return func() {
		defer db.Close()
		if k.Limit != nil {
			k.Limit(s, db, table, false)
		}
		wait(t, func() (bool, error) { // InnoDB frees the space of rows some time after they are gone
			if _, err := db.Exec("DELETE FROM " + table + " WHERE session_key LIKE 'filler%'"); err != nil {
				return false, err
			}
			// Room for many, since others take what has just become free.
			if _, err := db.Exec(fmt.Sprintf(k.Filler, table, 3000, 0)); err != nil {
				return false, err
			}
			for from := 3000; from < 4000; from += 20 {
				if _, err := db.Exec(fmt.Sprintf(k.Filler, table, 20, from)); err != nil {
					return false, err
				}
			}
			return true, nil
		})
	}
}

// What was acknowledged is there after a kill -9 of the server.
func (k *Kind) killed(t *testing.T, server Server) {
	s := k.store(t, Open(t, k.Driver, k.DSN(server.Addr(), "")), sqlstore.Options{})
	last, stop, stopped := 0, make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			ctx, cancel := context.WithTimeout(context.Background(), hour)
			if s.Set(ctx, "k", []byte{byte(n >> 16), byte(n >> 8), byte(n)}, hour) == nil {
				last = n
			}
			cancel()
		}
	}()
	time.Sleep(100 * time.Millisecond)
	server.Kill()
	close(stop)
	<-stopped
	server.Start()
	data := wait(t, func() ([]byte, error) { return s.Get(t.Context(), "k") })
	if n := int(data[0])<<16 | int(data[1])<<8 | int(data[2]); n < last || n > last+1 {
		t.Errorf("after a kill write %d is there, and %d was acknowledged", n, last)
	}
}

// A server that became a standby is left: the name leads to another one now, and the
// store finds it although its connections to the old one still work.
func (k *Kind) failover(t *testing.T, old Server) {
	next := k.Shared(t)
	o := sqlstore.Options{Table: Table()}
	for _, addr := range []string{old.Addr(), next} {
		k.store(t, Open(t, k.Driver, k.DSN(addr, "")), o)
	}
	proxy := faultproxy.New(t, old.Addr())
	db := Open(t, k.Driver, k.DSN(proxy.Addr(), ""))
	s := k.store(t, db, o)
	told := make(chan bool, 100)
	defer s.Notify(func(up bool) { told <- up })()
	warm := make(chan error)
	for range 10 {
		go func() { warm <- s.Set(t.Context(), "before", []byte("x"), hour) }()
	}
	for range 10 {
		if err := <-warm; err != nil {
			t.Fatal(err)
		}
	}
	defer k.readOnly(t, old.Addr())()

	// The old one is read-only, and nothing else is there yet.
	for {
		err := s.Set(t.Context(), "meanwhile", []byte("x"), hour)
		if !errors.Is(err, core.ErrUnavailable) {
			t.Fatalf("a standby: %v", err)
		}
		if up := <-told; !up {
			break
		}
	}
	if err := s.Cause(); err == nil {
		t.Error("no cause")
	}
	proxy.Move(next)
	if up := <-told; !up {
		t.Error("down twice")
	}
	for range 20 {
		if err := s.Set(t.Context(), "after", []byte("x"), hour); err != nil {
			t.Fatal(err)
		}
	}
	if n := k.count(t, next, o.Table); n != 1 {
		t.Errorf("%d sessions are on the new server", n)
	}
}

func (k *Kind) count(t testing.TB, addr, table string) (n int) {
	t.Helper()
	if err := k.admin(t, addr).QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// wait calls f until it succeeds.
func wait[T any](t testing.TB, f func() (T, error)) T {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		v, err := f()
		if err == nil {
			return v
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
