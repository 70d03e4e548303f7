package sqlitestore_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

// As a process of its own, the test binary counts: it adds one to a session so many
// times, or writes until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("SQLITE_COUNT"); path != "" {
		if err := count(path, os.Getenv("SQLITE_TIMES")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func count(path, times string) error {
	s, err := sqlitestore.Open(path, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	n, _ := strconv.Atoi(times)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for done := 0; n == 0 || done < n; {
		data, v, err := s.GetVersion(ctx, "n")
		if err != nil {
			return err
		}
		was, _ := strconv.Atoi(string(data))
		_, err = s.SetVersion(ctx, "n", []byte(strconv.Itoa(was+1)), time.Hour, v)
		switch {
		case err == nil:
			if done++; n == 0 {
				fmt.Println(was + 1) // acknowledged
			}
		case !errors.Is(err, core.ErrConflict):
			return err
		}
	}
	return nil
}

func process(path, times string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "SQLITE_COUNT="+path, "SQLITE_TIMES="+times)
	return c
}

// Several processes on one file lose nothing, from its creation on.
func TestProcesses(t *testing.T) {
	const processes, each = 4, 50
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, path)
	if err := s.Set(t.Context(), "n", []byte("0"), time.Hour); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range processes {
		go func() {
			out, err := process(path, strconv.Itoa(each)).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			done <- err
		}()
	}
	for range processes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if data, err := s.Get(t.Context(), "n"); string(data) != strconv.Itoa(processes*each) {
		t.Errorf("it counts %s of %d: %v", data, processes*each, err)
	}
}

// Several processes create the file at the same time.
func TestCreatedByAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	done := make(chan error)
	for range 8 {
		go func() {
			s, err := sqlitestore.Open(path, nil)
			if err == nil {
				err = errors.Join(s.Set(t.Context(), "k", []byte("x"), time.Hour), s.Close())
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
}

// Whoever opens a file a second time in a process must not lose the locks of the first:
// the system drops all that a process has on a file when it closes the file once.
func TestOpenedTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, path)
	if err := s.Set(t.Context(), "n", []byte("0"), time.Hour); err != nil {
		t.Fatal(err)
	}
	before := locks(t, path)
	if before == 0 {
		t.Skip("this system does not tell of its locks")
	}
	open(t, path)
	if after := locks(t, path); after < before {
		t.Errorf("%d locks were %d", after, before)
	}
}

// A process that is killed in the middle of a write has lost nothing that it had been
// told is stored.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, path)
	if err := s.Set(t.Context(), "n", []byte("0"), time.Hour); err != nil {
		t.Fatal(err)
	}
	c := process(path, "0")
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 20; { // until it has begun
		time.Sleep(10 * time.Millisecond)
		data, err := s.Get(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		n, _ = strconv.Atoi(string(data))
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	lines := strings.Fields(out.String())
	last, _ := strconv.Atoi(lines[len(lines)-1])
	data, err := s.Get(t.Context(), "n")
	n, _ := strconv.Atoi(string(data))
	if err != nil || n < last || n > last+1 {
		t.Errorf("%d is there, and %d was acknowledged: %v", n, last, err)
	}
	if err := s.Set(t.Context(), "n", []byte("0"), time.Hour); err != nil {
		t.Error("its lock has stayed:", err)
	}
}

// bare opens the file without the store, to do to it what others may.
func bare(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path}).String())
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

// Another process keeps the file locked: writes wait until their deadline, reads go on,
// and nothing is lost.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, path)
	if err := s.Set(t.Context(), "k", []byte("old"), time.Hour); err != nil {
		t.Fatal(err)
	}
	other := bare(t, path)
	if _, err := other.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := s.Set(ctx, "k", []byte("new"), time.Hour)
	if !errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrOutcomeUnknown) {
		t.Errorf("a write: %v", err)
	}
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("it waited %v", d)
	}
	if data, err := s.Get(t.Context(), "k"); string(data) != "old" {
		t.Errorf("a read: %q, %v", data, err)
	}
	wrote := make(chan error)
	go func() { wrote <- s.Set(t.Context(), "k", []byte("newer"), time.Hour) }()
	time.Sleep(50 * time.Millisecond)
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Error("a write that waited:", err)
	}
	if data, err := s.Get(t.Context(), "k"); string(data) != "newer" {
		t.Errorf("%q, %v", data, err)
	}
}

// A database that may not grow: new sessions are refused, what is there stays, and
// who logs out makes room.
func TestFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	var last *sqlitestore.Store
	storetest.Faults(t, storetest.Server{
		Fill: func() func() {
			s := last
			sqlitestore.Limit(t, s, 1) // SQLite takes the size that it has
			return func() { sqlitestore.Limit(t, s, 1<<30) }
		},
		TooLarge: 1<<20 + 1,
	}, func(t testing.TB) (core.Store, func()) {
		s, err := sqlitestore.Open(path, &sqlstore.Options{MaxSize: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		last = s
		return s, func() { s.Close() }
	})
}

// A disk without room refuses what must be stored, what is there stays, and sessions
// can be ended (P12).
func TestFullDisk(t *testing.T) {
	folder := mount(t, "tmpfs", 0, "size=8m")
	path := filepath.Join(folder, "sessions.db")
	s, other := open(t, path), open(t, path) // as of two processes
	var versions []core.Version
	for i := range 300 {
		v, err := s.SetVersion(t.Context(), fmt.Sprint("k", i), make([]byte, 3000), time.Hour, 0)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v)
	}
	filler, fill := filling(t, folder)
	fill()
	for round := range 3 {
		var err error
		for i := 0; i < 1000 && err == nil; i++ {
			err = s.Set(t.Context(), fmt.Sprint("more", round, "-", i), make([]byte, 5000), time.Hour)
		}
		if !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "the disk is full") {
			t.Fatalf("a write to a full disk: %v", err)
		}
		for i := range 100 {
			key := fmt.Sprint("k", 100*round+i)
			if i%3 == 0 {
				s, other = other, s
			}
			if err := s.Touch(t.Context(), key, 2*time.Hour); err != nil {
				t.Fatalf("round %d, it can't be prolonged: %v", round, err)
			}
			if i%2 == 0 {
				err = s.Destroy(t.Context(), key)
			} else { // as a logout
				_, err = s.Batch(t.Context(), core.Write{Key: key, Version: versions[100*round+i]})
			}
			if err != nil {
				t.Fatalf("round %d, a removal: %v", round, err)
			}
			if _, err := s.Get(t.Context(), key); !errors.Is(err, core.ErrNotFound) {
				t.Fatal("it is still there:", err)
			}
			fill() // others take what becomes free
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	err := errors.New("not yet")
	for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err = s.Set(t.Context(), "new", []byte("new"), time.Hour)
	}
	if err != nil {
		t.Error("when there is room again:", err)
	}
	if data, err := s.Get(t.Context(), "new"); string(data) != "new" {
		t.Errorf("%q, %v", data, err)
	}
}

// filling returns what fills the disk of folder, and the file that it uses.
func filling(t *testing.T, folder string) (file string, fill func()) {
	file = filepath.Join(folder, "filler")
	return file, func() {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}
}

// A process that starts on a full disk can end sessions, too.
func TestOpenedOnAFullDisk(t *testing.T) {
	folder := mount(t, "tmpfs", 0, "size=8m")
	path := filepath.Join(folder, "sessions.db")
	s, err := sqlitestore.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := s.Set(t.Context(), fmt.Sprint("k", i), make([]byte, 3000), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, fill := filling(t, folder)
	fill()
	s = open(t, path)
	for i := range 100 {
		fill()
		key := fmt.Sprint("k", i)
		if data, err := s.Get(t.Context(), key); len(data) != 3000 {
			t.Fatal(err)
		}
		if err := s.Destroy(t.Context(), key); err != nil {
			t.Fatalf("removal %d: %v", i, err)
		}
	}
	if err := s.Set(t.Context(), "new", nil, time.Hour); !errors.Is(err, core.ErrRefused) {
		t.Error("a write to a full disk:", err)
	}
}

func TestReadOnly(t *testing.T) {
	folder := mount(t, "tmpfs", 0, "size=8m")
	path := filepath.Join(folder, "sessions.db")
	s, err := sqlitestore.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Set(t.Context(), "k", []byte("old"), time.Hour), s.Close()); err != nil {
		t.Fatal(err)
	}
	remount(t, folder, true)
	if s, err := sqlitestore.Open(path, nil); err == nil {
		s.Close()
		t.Error("a file that can't be written was opened")
	} else if !strings.Contains(err.Error(), "read-only") || strings.Contains(err.Error(), folder) {
		t.Error(err)
	}
	remount(t, folder, false)
	if data, err := open(t, path).Get(t.Context(), "k"); string(data) != "old" {
		t.Errorf("%q, %v", data, err)
	}
}

// What is no database, and one whose pages were overwritten.
func TestDamaged(t *testing.T) {
	folder := t.TempDir()
	nothing := filepath.Join(folder, "text.db")
	text := strings.Repeat("this is no database. ", 500)
	if err := os.WriteFile(nothing, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := sqlitestore.Open(nothing, nil); err == nil {
		s.Close()
		t.Error("a text was opened")
	} else if !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "damaged, or no database") {
		t.Error(err)
	}
	if now, err := os.ReadFile(nothing); err != nil || string(now) != text {
		t.Error("the file was changed:", err)
	}

	path := filepath.Join(folder, "sessions.db")
	s, err := sqlitestore.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := s.Set(t.Context(), fmt.Sprint("key-", i), make([]byte, 500), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := f.Stat()
	for at := int64(8192); at < info.Size(); at += 4096 { // all pages but those of the schema
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	s, err = sqlitestore.Open(path, nil)
	if err == nil {
		_, err = s.Get(t.Context(), "key-7")
		if writing := s.Set(t.Context(), "key-7", []byte("x"), time.Hour); !errors.Is(writing, core.ErrRefused) {
			t.Error("a write:", writing)
		}
		s.Close()
	}
	if !errors.Is(err, core.ErrRefused) || errors.Is(err, core.ErrNotFound) || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
}

func TestMisfits(t *testing.T) {
	folder := t.TempDir()
	for _, path := range []string{"", ":memory:", "file:sessions.db", folder, filepath.Join(folder, "missing", "sessions.db")} {
		if s, err := sqlitestore.Open(path, nil); err == nil {
			s.Close()
			t.Errorf("%q was opened", path)
		}
	}
	if s, err := sqlitestore.Open(filepath.Join(folder, "s.db"), &sqlstore.Options{Table: "a b"}); err == nil {
		s.Close()
		t.Error("a table with a blank in its name")
	}
}

func TestCloseTwice(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions.db"))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Set(t.Context(), "k", nil, 0); !errors.Is(err, core.ErrUnavailable) {
		t.Error(err)
	}
}

// A file that is removed or replaced under a running process was written as before, and
// all that was written was lost at the next start.
func TestMoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file can't be moved")
	}
	dir := t.TempDir()
	path, aside, other := filepath.Join(dir, "s.db"), filepath.Join(dir, "aside.db"), filepath.Join(dir, "other.db")
	s, err := sqlitestore.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	second, err := sqlitestore.Open(other, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Set(t.Context(), "k", []byte("x"), time.Hour), second.Set(t.Context(), "other", []byte("x"), time.Hour), second.Close()); err != nil {
		t.Fatal(err)
	}
	for name, move := range map[string]func() error{
		"removed":  func() error { return os.Rename(path, aside) },
		"replaced": func() error { return errors.Join(os.Rename(path, aside), os.Link(other, path)) },
	} {
		if err := move(); err != nil {
			t.Fatal(err)
		}
		sqlitestore.Look(s)
		_, read := s.Get(t.Context(), "k")
		for _, err := range []error{read, s.Set(t.Context(), "k2", []byte("x"), time.Hour), s.Destroy(t.Context(), "k")} {
			if !errors.Is(err, core.ErrUnavailable) || !strings.Contains(err.Error(), "in its place") || strings.Contains(err.Error(), dir) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
		sqlitestore.Look(s)
		if _, err := s.Get(t.Context(), "k"); err != nil {
			t.Errorf("%s, and put back: %v", name, err)
		}
		if _, err := s.Get(t.Context(), "k2"); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("%s: it was written: %v", name, err)
		}
	}
}

// Tables that somebody has made by hand. A column that makes text of the times has no
// session that ever ends, and one that rounds has no version that is ever the same.
func TestTablesThatDoNotFit(t *testing.T) {
	schema, err := sqlstore.SQLite.Schema("")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from, to string
		fits     bool
	}{
		"without types":    {"TEXT    NOT NULL PRIMARY", "NOT NULL PRIMARY", true},
		"a length":         {"TEXT    NOT NULL PRIMARY", "VARCHAR(250) NOT NULL PRIMARY", true},
		"more columns":     {"BLOB ", "BLOB NOT NULL, note TEXT, made INTEGER NOT NULL DEFAULT 0, more DEFAULT 0 ", true},
		"numbers as keys":  {"TEXT    NOT NULL PRIMARY", "NUMERIC NOT NULL PRIMARY", false},
		"keys by case":     {"NOT NULL PRIMARY", "COLLATE NOCASE NOT NULL PRIMARY", false},
		"no primary key":   {" PRIMARY KEY", "", false},
		"times as text":    {"expires_at  INTEGER", "expires_at TEXT", false},
		"rounded versions": {"version     INTEGER", "version REAL", false},
		"one more":         {"BLOB ", "BLOB NOT NULL, more INTEGER ", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.db")
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			made := strings.Replace(strings.TrimSuffix(schema[0], " STRICT"), c.from, c.to, 1)
			if made == strings.TrimSuffix(schema[0], " STRICT") {
				t.Fatal("nothing is different")
			}
			_, err = db.Exec(made)
			if err = errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			s, err := sqlitestore.Open(path, nil)
			if err == nil {
				s.Close()
			}
			if (err == nil) != c.fits || err != nil && (!errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "Schema")) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// An index keeps its name when its table gets another. The new table was without.
func TestCreatedAfterARename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("ALTER TABLE gensession RENAME TO former"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if s, err := sqlitestore.Open(path, nil); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "renamed") {
			t.Errorf("beside the indexes of the former one: %v", err)
			if err == nil {
				s.Close()
			}
		}
	}
	if _, err := db.Exec("DROP INDEX gensession_sweep_at; DROP INDEX gensession_owner"); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}
