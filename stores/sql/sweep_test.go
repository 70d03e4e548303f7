package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sqlstore "github.com/gensession/gensession/stores/sql"
)

// logged keeps the messages that a Logger gets, and may panic after each.
type logged struct {
	panics bool
	lines  []string
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) WithAttrs([]slog.Attr) slog.Handler       { panic("not called") }
func (l *logged) WithGroup(string) slog.Handler            { panic("not called") }
func (l *logged) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l.lines = append(l.lines, line)
	if l.panics {
		panic("a handler")
	}
	return nil
}

// The sweeper has statements of its own, so that no request may meet what it meets: an
// operator reads that it fails, and that it works again, once each, and not the text of
// the driver.
func TestALoggerIsToldWhenTheSweeperFails(t *testing.T) {
	for name, c := range map[string]struct {
		failure answer
		text    string
		panics  bool
	}{
		"an error":              {answer{err: &postgresError{"42501"}}, "error=sqlstore: session store refused: permission denied (42501)", false},
		"a panic of the driver": {answer{panics: errors.New(secret)}, "error=panic: *errors.errorString", false},
		"the logger panics":     {answer{err: &postgresError{"42501"}}, "error=sqlstore: session store refused: permission denied (42501)", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ok, bad := answer{}, c.failure
				f := &fake{answers: []answer{ok, bad, bad, bad, ok, ok, bad, bad, ok}}
				sweeps := len(f.answers)
				db := sql.OpenDB(f)
				defer db.Close()
				h := &logged{panics: c.panics}
				s, err := sqlstore.New(db, sqlstore.PostgreSQL, &sqlstore.Options{Logger: slog.New(h)})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				time.Sleep(time.Duration(sweeps) * time.Minute)
				synctest.Wait()
				if n := len(f.said()); n != sweeps {
					t.Errorf("%d sweeps, not %d", n, sweeps)
				}
				failing := "WARN session sweeper failing " + c.text
				want := []string{failing, "INFO session sweeper works again after=3m0s", failing, "INFO session sweeper works again after=2m0s"}
				if !slices.Equal(h.lines, want) {
					t.Errorf("it was told\n%s\nnot\n%s", strings.Join(h.lines, "\n"), strings.Join(want, "\n"))
				}
			})
		})
	}
}

// What a caller of Sweep gets as an error, the end of the store, and a store without a
// Logger are not told.
func TestALoggerIsNotToldWhatIsNoFailureOfTheSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answers: []answer{{err: &postgresError{"42501"}}}}
		db := sql.OpenDB(f)
		defer db.Close()
		h := &logged{}
		s, err := sqlstore.New(db, sqlstore.PostgreSQL, &sqlstore.Options{Logger: slog.New(h)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sweep(t.Context()); err == nil {
			t.Error("Sweep returned no error")
		}
		s.Close()
		time.Sleep(time.Hour)
		if len(h.lines) != 0 {
			t.Errorf("it was told %q", h.lines)
		}
	})
}

// A request may wait for a row that the sweeper has, and PostgreSQL's commit for the disk
// and a standby. The sweeper's does not, and that holds for its transaction alone.
func TestTheSweepersCommitDoesNotWait(t *testing.T) {
	s, f := open(t, sqlstore.PostgreSQL)
	for call, err := range map[string]error{"Sweep": second(s.Sweep(t.Context())), "Touch": s.Touch(t.Context(), "k", hour)} {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	for _, sent := range f.said() {
		local := strings.Contains(sent.text, "set_config('synchronous_commit', 'off', true)")
		if local != strings.Contains(sent.text, "DELETE") {
			t.Errorf("it was sent: %s", sent.text)
		}
	}
}
