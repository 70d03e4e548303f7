package sqlitestore

import (
	"fmt"
	"testing"
)

// Limit bounds the size of the file, in pages, for the one connection that it leaves
// the store.
func Limit(t testing.TB, s *Store, pages int) {
	s.db.SetMaxOpenConns(1)
	if _, err := s.db.Exec(fmt.Sprint("PRAGMA max_page_count = ", pages)); err != nil {
		t.Error(err)
	}
}

// Look looks at once whether the file is in its place.
func Look(s *Store) { s.place.look() }
