package sqlitestore_test

import (
	"bytes"
	"database/sql"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

// lines hands over each message of a Logger.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(bytes.TrimSpace(line))
	return len(line), nil
}

// An operator reads that the sweeper fails on a file, and that it works again, once each.
func TestALoggerIsToldWhenTheSweeperFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	open(t, path) // which makes the table, before a sweeper looks for it
	told := make(lines, 100)
	s, err := sqlitestore.Open(path, &sqlstore.Options{Logger: slog.New(slog.NewTextHandler(told, nil)), SweepEvery: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := s.Set(t.Context(), "k", []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, step := range []struct{ statement, want string }{
			{"ALTER TABLE gensession RENAME TO elsewhere", `level=WARN msg="session sweeper failing" error="sqlstore: session store refused: the table is missing`},
			{"ALTER TABLE elsewhere RENAME TO gensession", `level=INFO msg="session sweeper works again" after=`},
		} {
			if _, err := other.Exec(step.statement); err != nil {
				t.Fatal(err)
			}
			if got := <-told; !strings.Contains(got, step.want) {
				t.Errorf("it was told %s, not %s", got, step.want)
			}
		}
	}
	s.Close()
	if len(told) != 0 {
		t.Errorf("and also %s", <-told)
	}
}
