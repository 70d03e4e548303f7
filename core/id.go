package core

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// An ID is a session id: the secret that gives a browser access to a session.
// fmt, slog and encoding/json print only a short fingerprint of it, so that it
// does not get into a log by accident; string(id) is the id itself. The
// fingerprint does not protect an ID in an unexported field, as the key of a
// map in JSON, or under %p, since these do not call its methods.
type ID string

const (
	idBytes = 24  // random bytes, 192 bits: 32 characters (K15)
	minID   = 16  // minimum characters of an id from Options.NewID
	maxID   = 128 // maximum characters of an id
)

// newID is the default generator. crypto/rand does not return errors: without a
// source of randomness it ends the program.
func newID() ID {
	var b [idBytes]byte
	rand.Read(b[:])
	return ID(base64.RawURLEncoding.EncodeToString(b[:]))
}

// shaped reports whether id has the form of an id: 1 to 128 of A-Z a-z 0-9 - _.
// Other text must not reach a store, which could read it as a path, another key
// or a hash slot.
func (id ID) shaped() bool {
	if len(id) == 0 || len(id) > maxID {
		return false
	}
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// checkNew checks an id from Options.NewID.
func (m *Manager) checkNew(id ID) error {
	if valid := m.o.Koa.ValidID; valid != nil && m.o.koa && m.shaped(id) && valid(string(id)) {
		return nil
	}
	return id.checkNew()
}

func (id ID) checkNew() error {
	switch {
	case len(id) < minID:
		return fmt.Errorf("Options.NewID made an id of %d characters, at least %d are needed", len(id), minID)
	case len(id) > maxID:
		return fmt.Errorf("Options.NewID made an id of %d characters, at most %d are allowed", len(id), maxID)
	case !id.shaped():
		return errors.New("Options.NewID made an id with characters other than A-Z a-z 0-9 - _")
	}
	return nil
}

// String returns the fingerprint of id. Equal ids have equal fingerprints; the
// id can't be derived from it.
func (id ID) String() string {
	if id == "" {
		return "no id"
	}
	sum := sha256.Sum256([]byte(id))
	return fingerprint(sum[:])
}

// fingerprint returns that of the id whose hash is sum. The store's key has the hash,
// so that who reads the store can find the session that a log names; the hash itself,
// which must not appear in logs, can't be found by it.
func fingerprint(sum []byte) string {
	print := sha256.Sum256(append([]byte("gensession fingerprint\x00"), sum...))
	return "id:" + hex.EncodeToString(print[:4])
}

// Format prints the fingerprint under every verb.
func (id ID) Format(f fmt.State, _ rune) { fmt.Fprint(f, id.String()) }

// LogValue returns the fingerprint.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// MarshalText returns the fingerprint. To store an id, convert it with
// string(id).
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// hashedKey returns the store's key of id by default. The key is a hash, so that
// a reader of the store, its backups or its command log can't hijack sessions
// (CVE-2019-16782).
func hashedKey(prefix string, id ID) string {
	var in [maxKeyLen]byte
	sum := sha256.Sum256(in[:copy(in[:], id)])
	var key [160]byte // a prefix takes at most 100
	return string(base64.RawURLEncoding.AppendEncode(append(key[:0], prefix...), sum[:]))
}
