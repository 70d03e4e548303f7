package sqlitestore_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/allocs"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

// A deadline costs a write nothing: it starts no goroutine for the driver.
func TestDeadlineCostsNothing(t *testing.T) {
	s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "sessions.db"), &sqlstore.Options{NoSweep: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	with, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	data := make([]byte, 100)
	if err := s.Set(with, "k", data, time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(ctx context.Context) error{
		"set":   func(ctx context.Context) error { return s.Set(ctx, "k", data, time.Hour) },
		"touch": func(ctx context.Context) error { return s.Touch(ctx, "k", time.Hour) },
		"swap": func(ctx context.Context) error {
			v, err := s.SetVersion(ctx, "other", data, time.Hour, 0)
			if err == nil {
				_, err = s.Batch(ctx, core.Write{Key: "other", Version: v})
			}
			return err
		},
	} {
		count := func(ctx context.Context) float64 {
			return allocs.Fewest(100, func() {
				if err := call(ctx); err != nil {
					t.Fatal(err)
				}
			})
		}
		if err := call(with); err != nil { // compiles the statements
			t.Fatal(err)
		}
		if without, with := count(context.Background()), count(with); with > without {
			t.Errorf("%s: %v allocations with a deadline, %v without", name, with, without)
		}
	}
}
