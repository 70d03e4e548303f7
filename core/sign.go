package core

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"sync"
)

const (
	minKey     = 32 // bytes of a signing key (K5)
	minFIPSKey = 14 // HMAC refuses shorter ones under fips140=only
	maxKeys    = 8  // each costs one HMAC for every forged cookie

	maxSignature = 64 // characters; our signatures are shorter
)

// A keyring signs with its first key and verifies with all of them, in the
// layout of keygrip: the MAC of "NAME=VALUE", base64url without padding.
type keyring struct {
	macs []*mac
}

// newKeyring copies the keys. sha1Sum selects the signatures of keygrip, for
// KoaCompat.
func newKeyring(keys [][]byte, sha1Sum, short bool) (*keyring, error) {
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("Options.Keys has %d keys, at most %d are allowed: drop the oldest", len(keys), maxKeys)
	}
	if sha1Sum && len(keys) > 0 && fips140.Enforced() {
		return nil, fmt.Errorf("KoaCompat: %w with GODEBUG=fips140=only: signatures of keygrip are HMAC-SHA-1", errors.ErrUnsupported)
	}
	r := &keyring{}
	for i, k := range keys {
		if len(k) < minFIPSKey && fips140.Enforced() {
			return nil, fmt.Errorf("Options.Keys[%d] has %d bytes, at least %d are needed with GODEBUG=fips140=only", i, len(k), minFIPSKey)
		}
		if len(k) == 0 || len(k) < minKey && !short {
			return nil, fmt.Errorf("Options.Keys[%d] has %d bytes, at least %d are needed: make one with openssl rand -base64 32 (or, at your own risk, set InsecureShortKeys)", i, len(k), minKey)
		}
		r.macs = append(r.macs, newMAC(k, sha1Sum))
	}
	return r, nil
}

// sign appends the signature of name=value to dst.
func (r *keyring) sign(dst []byte, name, value string) []byte {
	return r.macs[0].append(dst, name, value)
}

// verify returns the index of the key that made signature, -1 for none. It
// compares in constant time.
func (r *keyring) verify(name, value, signature string) int {
	var want, got [maxSignature]byte
	if len(signature) > len(got) {
		return -1
	}
	s := got[:copy(got[:], signature)]
	for i, m := range r.macs {
		// The encoded forms are compared: decoding would accept several texts
		// for one signature.
		if subtle.ConstantTimeCompare(m.append(want[:0], name, value), s) == 1 {
			return i
		}
	}
	return -1
}

// A mac is one key with the hash states made ready from it. Its pool holds
// scratch of single calls.
type mac struct{ pool sync.Pool }

type macState struct {
	hash hash.Hash
	in   []byte
	sum  []byte
}

func newMAC(key []byte, sha1Sum bool) *mac {
	key = append([]byte(nil), key...)
	sum := sha256.New
	if sha1Sum {
		sum = sha1.New
	}
	m := new(mac)
	m.pool.New = func() any { return &macState{hash: hmac.New(sum, key)} }
	return m
}

func (m *mac) append(dst []byte, name, value string) []byte {
	s := m.pool.Get().(*macState)
	s.in = append(append(append(s.in[:0], name...), '='), value...)
	s.hash.Reset()
	s.hash.Write(s.in)
	s.sum = s.hash.Sum(s.sum[:0])
	dst = base64.RawURLEncoding.AppendEncode(dst, s.sum)
	m.pool.Put(s)
	return dst
}
