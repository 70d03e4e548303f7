package core

import (
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// A Keyring is secret keys, of at least 32 random bytes each: the first one signs
// or seals, and all of them verify or open. fmt, slog and encoding/json print how
// many there are, and nothing of them.
// As with an [ID], that does not protect keys in an unexported field, since fmt calls no
// methods there.
type Keyring [][]byte

// String returns how many keys there are.
func (k Keyring) String() string { return strconv.Itoa(len(k)) + " keys" }

// Format prints the number of keys under every verb.
func (k Keyring) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue returns the number of keys.
func (k Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns the number of keys.
func (k Keyring) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Format prints the options, and of the keys only how many there are. (Without this
// method, verbs that don't suit a pointer would show the keys.)
func (o Options) Format(f fmt.State, verb rune) {
	type options Options // which has no methods
	fmt.Fprintf(f, fmt.FormatString(f, verb), options(o))
}

const (
	minKey     = 32 // bytes of a secret key (K5)
	minFIPSKey = 14 // HMAC and HKDF refuse shorter ones under fips140=only
	maxKeys    = 8  // each costs one HMAC for every forged cookie

	maxSignature = 128 // characters; the longest is SHA-512 in hexadecimal digits
)

const howToMakeKeys = "make one with openssl rand -base64 32 (or, at your own risk, set InsecureShortKeys)"

// check reports keys that are too many, too short, or such as somebody could
// guess; weak allows the latter two. option is where the keys stand.
func (k Keyring) check(option string, weak bool) error {
	if len(k) > maxKeys {
		return fmt.Errorf("%s has %d keys, at most %d are allowed: drop the oldest", option, len(k), maxKeys)
	}
	for i, key := range k {
		switch {
		case len(key) < minFIPSKey && fips140.Enforced():
			return fmt.Errorf("%s[%d] has %d bytes, at least %d are needed with GODEBUG=fips140=only", option, i, len(key), minFIPSKey)
		case len(key) == 0 || len(key) < minKey && !weak:
			return fmt.Errorf("%s[%d] has %d bytes, at least %d are needed: %s", option, i, len(key), minKey, howToMakeKeys)
		case !weak && guessable(key):
			return fmt.Errorf("%s[%d] is not random, such as one character or word that is repeated: %s", option, i, howToMakeKeys)
		}
	}
	return nil
}

// guessable reports whether key can't come from a source of randomness, in
// whatever letters or digits it was written down: it has hardly any different
// bytes, or steps between neighbours, or it was filled up with one byte, or it
// repeats itself.
func guessable(key []byte) bool {
	const (
		few  = 8
		long = 12 // by chance once in 10^12 keys of hexadecimal digits
	)
	run := 0
	var bytes, steps [256]bool
	differentBytes, differentSteps := 0, 0
	count := func(seen *bool, n *int) {
		if !*seen {
			*seen = true
			*n++
		}
	}
	for i, c := range key {
		if count(&bytes[c], &differentBytes); i > 0 {
			count(&steps[c-key[i-1]], &differentSteps)
		}
		if run++; i > 0 && c != key[i-1] {
			run = 1
		}
		if run == long {
			return true
		}
	}
	if differentBytes < few || differentSteps < few {
		return true
	}
	for period := 1; period <= len(key)-long; period++ {
		if string(key[period:]) == string(key[:len(key)-period]) {
			return true
		}
	}
	return false
}

// A keyring signs with its first MAC and verifies with all of them, in the
// layout of keygrip: the MAC of "NAME=VALUE".
type keyring struct {
	macs []*mac
}

// add adds the MACs of keys that are derived for the cookie of that name, or are
// the keys as they are if name is "".
func (r *keyring) add(keys Keyring, name string, form signatureForm, until time.Time) error {
	for _, key := range keys {
		if name != "" {
			var err error
			if key, err = derivedKey(key, "cookie signature", name); err != nil {
				return err
			}
		}
		r.macs = append(r.macs, newMAC(key, form, until))
	}
	return nil
}

// derivedKey is a key for one use, made of a secret key, so that what is known of
// one use tells nothing about another.
func derivedKey(secret []byte, use, name string) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, "gensession "+use+"\x00"+name, sha256.Size)
}

// A signatureForm is how a signature is made and written.
type signatureForm struct {
	sum func() hash.Hash
	hex bool // else base64url without padding
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
		if !m.until.IsZero() && !time.Now().Before(m.until) {
			continue
		}
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
type mac struct {
	pool  sync.Pool
	hex   bool
	until time.Time // when its signatures are refused; zero for never
}

type macState struct {
	hash hash.Hash
	in   []byte
	sum  []byte
}

// newMAC copies key.
func newMAC(key []byte, form signatureForm, until time.Time) *mac {
	key = append([]byte(nil), key...)
	m := &mac{hex: form.hex, until: until}
	m.pool.New = func() any { return &macState{hash: hmac.New(form.sum, key)} }
	return m
}

func (m *mac) append(dst []byte, name, value string) []byte {
	s := m.pool.Get().(*macState)
	s.in = append(append(append(s.in[:0], name...), '='), value...)
	s.hash.Reset()
	s.hash.Write(s.in)
	s.sum = s.hash.Sum(s.sum[:0])
	if m.hex {
		dst = hex.AppendEncode(dst, s.sum)
	} else {
		dst = base64.RawURLEncoding.AppendEncode(dst, s.sum)
	}
	m.pool.Put(s)
	return dst
}
