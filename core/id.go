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

// An ID is the secret that makes a browser the owner of a session. It prints
// as a short fingerprint under fmt, slog and encoding/json, so that it does
// not end up in a log by accident; string(id) gives the real one. Some ways
// past that are open, since none of these asks the value: in an unexported
// field, as the key of a map in JSON, under %p.
type ID string

const (
	idBytes = 24  // of randomness, 192 bits: 32 characters (K15)
	minID   = 16  // characters that an own generator must give at least
	maxID   = 128 // characters that are looked at at all
)

// newID is the default generator. crypto/rand does not fail: where the system
// has no randomness the program ends.
func newID() ID {
	var b [idBytes]byte
	rand.Read(b[:])
	return ID(base64.RawURLEncoding.EncodeToString(b[:]))
}

// shaped reports whether id can be one: 1 to 128 of A-Z a-z 0-9 - _. Anything
// else must not reach a store, where it could mean a path, another key or a
// hash slot.
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

// checkNew checks what a generator of the user's made.
func (id ID) checkNew() error {
	switch {
	case len(id) < minID:
		return fmt.Errorf("Options.NewID made an id of %d characters, at least %d are needed", len(id), minID)
	case len(id) > maxID:
		return fmt.Errorf("Options.NewID made an id of %d characters, at most %d are allowed", len(id), maxID)
	case !id.shaped():
		return errors.New("Options.NewID made an id with other characters than A-Z a-z 0-9 - _")
	}
	return nil
}

// String returns the fingerprint of id: the same for the same id, useless to
// who wants to be its owner.
func (id ID) String() string {
	if id == "" {
		return "no id"
	}
	// Not the hash that the store's key is made of: that one stays out of logs.
	sum := sha256.Sum256([]byte("gensession fingerprint\x00" + string(id)))
	return "id:" + hex.EncodeToString(sum[:4])
}

// Format prints the fingerprint under every verb.
func (id ID) Format(f fmt.State, _ rune) { fmt.Fprint(f, id.String()) }

// LogValue is the fingerprint.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// MarshalText is the fingerprint: to keep an id somewhere, convert it to a
// string knowingly.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// hashedKey is the store's key of id by default: what lies in the store, in
// its backups and its monitor is not enough to take a session over
// (CVE-2019-16782).
func hashedKey(prefix string, id ID) string {
	var in [maxID]byte
	sum := sha256.Sum256(in[:copy(in[:], id)])
	var key [160]byte // of which a prefix may take 100
	return string(base64.RawURLEncoding.AppendEncode(append(key[:0], prefix...), sum[:]))
}

// keyMark is what a record says of the key that it was written under: 96 bits
// of the hash that the key ends with. It finds a reply that belongs to another
// key; it is no secret.
func keyMark(key string) string {
	if hash := len(key) - hashLen; hash > 0 {
		key = key[hash:]
	}
	return key[:min(len(key), markLen)]
}

const (
	hashLen = 43 // characters of a SHA-256 in base64url
	markLen = 16
)
