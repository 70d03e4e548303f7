package core

import (
	"bytes"
	"testing"
)

// TestP28EachRecordHasAKeyOfItsOwn: what was sealed under one key of the store can't be
// opened by what opens another, whatever else is the same.
func TestP28EachRecordHasAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	s, err := newSealer(&Sealing{Keys: Keyring{key32(1), key32(2)}})
	if err != nil {
		t.Fatal(err)
	}
	plain, more := []byte("a record"), []byte("the same")
	one, err := s.keys[0].of("koa:sess:one")
	if err != nil {
		t.Fatal(err)
	}
	sealed := one.Seal(nil, nil, plain, more)
	for _, c := range []struct {
		by    int
		key   string
		opens bool
	}{{0, "koa:sess:one", true}, {0, "koa:sess:two", false}, {0, "", false}, {1, "koa:sess:one", false}} {
		aead, err := s.keys[c.by].of(c.key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := aead.Open(nil, nil, sealed, more); (err == nil) != c.opens || c.opens && !bytes.Equal(got, plain) {
			t.Errorf("key %d of %q: %q, %v", c.by, c.key, got, err)
		}
	}
}
