package sqlitestore_test

import (
	"path/filepath"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

// open opens a store that is closed at the end of the test.
func open(t testing.TB, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// P36.
func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions?%41#.db")
	storetest.Run(t, func(t *testing.T) core.Store { return open(t, path) })
}
