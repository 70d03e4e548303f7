package core

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// Sealing encrypts sessions in the store, with AES-256-GCM: who reads the store
// learns nothing of their values, and who can write to it can't change one or put
// it under another key. Keys, ttls, sizes, and which session has followed which
// at a login stay visible. A ttl is the store's: it can still lose a session, or
// bring an old one of the same key back.
type Sealing struct {
	// Keys seal: 1 to 8 keys of at least 32 random bytes, such as the output of
	// openssl rand -base64 32. The first one seals, and all of them open. A session
	// is sealed anew with each write. To rotate keys, add a new key last in all
	// processes, then put it first, and remove the old one after the longest life
	// of a session.
	Keys Keyring
	// UnsealedUntil also accepts sessions that are not sealed, until then. Zero
	// means that they are refused with ErrCorrupt.
	UnsealedUntil time.Time
	// OpenOnly opens what is sealed and, until UnsealedUntil, seals nothing: the
	// first of two steps where several processes share sessions. In the second one,
	// when all of them have the Keys, omit it.
	OpenOnly bool
}

// A sealer seals the bytes of records, and opens them.
//
// The bytes are sealMark; four bytes that tell which of the Keys; four that tell
// the store's key, by which a reply that belongs to another one is known; the
// length of what follows in four bytes; nonce, text and tag. Behind them may be the
// blanks of a hold.
//
// Each record has a key of its own, so that its random nonces, which are safe for
// 2^32 writes under one key, are those of one session only.
type sealer struct {
	keys          []sealKey
	unsealedUntil time.Time
	openOnly      bool
}

type sealKey struct {
	hint [4]byte
	prk  []byte // from which the keys of records are derived

	leads []byte // vouches for tombstones that lead somewhere
}

const (
	sealMark   = 1 // no JSON text begins with it
	sealHead   = 1 + 4 + 4 + 4
	sealedMore = sealHead + 12 + 16 // bytes that sealing adds
)

func newSealer(s *Sealing) (*sealer, error) {
	made := &sealer{unsealedUntil: s.UnsealedUntil, openOnly: s.OpenOnly}
	for _, secret := range s.Keys {
		prk, err := hkdf.Extract(sha256.New, secret, nil)
		if err != nil {
			return nil, err
		}
		hint, err := hkdf.Expand(sha256.New, prk, "gensession sealing hint", 4)
		if err != nil {
			return nil, err
		}
		leads, err := hkdf.Expand(sha256.New, prk, "gensession sealing leads", 32)
		if err != nil {
			return nil, err
		}
		made.keys = append(made.keys, sealKey{[4]byte(hint), prk, leads})
	}
	return made, nil
}

// of is what seals and opens the record under key.
func (k *sealKey) of(key string) (cipher.AEAD, error) {
	secret, err := hkdf.Expand(sha256.New, k.prk, "gensession sealing\x00"+key, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal seals what follows key in text, and leaves text as it is.
func (s *sealer) seal(text []byte, key string) ([]byte, error) {
	if writes, _ := s.unsealed(); writes {
		return text, nil
	}
	k := &s.keys[0]
	aead, err := k.of(key)
	if err != nil {
		return nil, err
	}
	plain := text[len(key):]
	sealed := make([]byte, 0, len(text)+sealedMore)
	sealed = append(append(sealed, key...), sealMark)
	sealed = append(sealed, k.hint[:]...)
	sealed = binary.BigEndian.AppendUint32(sealed, sealedFor(key))
	sealed = binary.BigEndian.AppendUint32(sealed, uint32(len(plain)+sealedMore-sealHead)) // #nosec G115 -- MaxSize is smaller
	return aead.Seal(sealed, nil, plain, []byte(key)), nil                                 // #nosec G407 -- the AEAD makes its own random nonce
}

// open returns the record that was sealed for key in data, or data itself if it
// is not sealed and that is allowed.
func (s *sealer) open(data []byte, key string) ([]byte, error) {
	if len(data) == 0 || data[0] != sealMark {
		if _, reads := s.unsealed(); reads {
			return data, nil
		}
		return nil, fmt.Errorf("%w: it is not sealed", ErrCorrupt)
	}
	if len(data) < sealedMore {
		return nil, errUnsealable
	}
	if binary.BigEndian.Uint32(data[5:]) != sealedFor(key) {
		return nil, record.ErrForeign
	}
	box := data[sealHead:]
	n := binary.BigEndian.Uint32(data[9:])
	if uint64(n) > uint64(len(box)) || len(bytes.TrimLeft(box[n:], " \t")) > 0 {
		return nil, errUnsealable
	}
	box = box[:n]
	known := false
	for i := range s.keys {
		if k := &s.keys[i]; string(k.hint[:]) == string(data[1:5]) {
			known = true
			aead, err := k.of(key)
			if err != nil {
				return nil, err
			}
			if plain, err := aead.Open(nil, nil, box, []byte(key)); err == nil {
				return plain, nil
			}
		}
	}
	if !known {
		return nil, fmt.Errorf("%w: it is sealed with none of Options.Seal.Keys", ErrCorrupt)
	}
	return nil, errUnsealable
}

// unsealed reports whether what is not sealed is written for now, and read.
func (s *sealer) unsealed() (writes, reads bool) {
	reads = time.Now().Before(s.unsealedUntil)
	return s.openOnly && reads, reads
}

// vouch appends to the line of a tombstone under key that leads somewhere what shows
// that it is ours: who can write to the store must not open a session through another
// key. The record there is sealed anew at its next write, and a tombstone is not: so
// each of the Keys vouches, and the first ones can be removed as early.
func (s *sealer) vouch(line []byte, key string) []byte {
	if writes, _ := s.unsealed(); writes {
		return line
	}
	said := string(line)
	for i := range s.keys {
		line = append(append(line, '~'), s.keys[i].voucher(said, key)...)
	}
	return line
}

// vouched returns such a line without that. ok reports whether it is ours.
func (s *sealer) vouched(line, key string) (said string, ok bool) {
	said, vouchers, found := strings.Cut(line, "~")
	if !found {
		_, reads := s.unsealed()
		return said, reads
	}
	for v := range strings.SplitSeq(vouchers, "~") {
		for i := range s.keys {
			ok = ok || hmac.Equal([]byte(v), []byte(s.keys[i].voucher(said, key)))
		}
	}
	return said, ok
}

// voucher is what only who has k can write behind said under key.
func (k *sealKey) voucher(said, key string) string {
	mac := hmac.New(sha256.New, k.leads)
	mac.Write([]byte(key + "\x00" + said))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

var errSealed = fmt.Errorf("%w: it is sealed, and Options.Seal has no Keys", ErrCorrupt)

var errUnsealable = fmt.Errorf("%w: it was not sealed for this key, or was changed since", ErrCorrupt)

// sealedFor is the mark of the store's key. It finds accidents; what is sealed for
// another key can't be opened, whatever its mark says.
func sealedFor(key string) uint32 {
	return crc32.Checksum(viewed(key), crc32.MakeTable(crc32.Castagnoli))
}

// check reports invalid options, and those that exclude each other.
func (s *Sealing) check(o *Options) error {
	switch {
	case len(s.Keys) == 0 && (s.OpenOnly || !s.UnsealedUntil.IsZero()):
		return errors.New("Options.Seal has no Keys: set some, or remove the rest")
	case len(s.Keys) == 0:
		return nil
	case o.koa:
		return errors.New("Options.Seal is not available with KoaCompat, since the Koa app could not read the sessions: remove it")
	case s.OpenOnly && s.UnsealedUntil.IsZero():
		return errors.New("Options.Seal.OpenOnly writes sessions that are not sealed: set UnsealedUntil")
	}
	return s.Keys.check("Options.Seal.Keys", o.InsecureShortKeys)
}
