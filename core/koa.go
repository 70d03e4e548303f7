package core

import (
	"crypto/fips140"
	"crypto/sha1" // #nosec G505 -- keygrip signs with HMAC-SHA-1; KoaCompat only
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"time"
)

// KoaOptions say in what a koa-generic-session app differs from its defaults, for
// [KoaCompat] and [Migration].
type KoaOptions struct {
	// Algorithm and Encoding are those of new Keygrip(keys, algorithm, encoding):
	// "sha1" (the default), "sha256", "sha384" or "sha512", and "base64" (the
	// default) or "hex".
	Algorithm, Encoding string
	// ValidID reports whether text has the form of an id that the app's genSid
	// makes, such as a UUID with a name in front. By default an id has 1 to 128
	// characters of A-Z a-z 0-9 - _, and so have those that genSid makes if it is
	// not set; these are always accepted. Others are asked about here if they have
	// at most 250 bytes with the Prefix, and contain no blank, control or non-ASCII
	// character and none of ; , " \ and can so be a cookie and a store's key. What is
	// refused is no session and an event, and an error of Destroy and DestroyByID.
	ValidID func(text string) bool
}

// maxKeyLen is the longest key that a store must take.
const maxKeyLen = 250

// check reports values that are unknown, and those that KoaCompat alone has.
func (k *KoaOptions) check(o *Options) error {
	switch {
	case !o.koa && o.Migrate.Until.IsZero() && (k.Algorithm != "" || k.Encoding != "" || k.ValidID != nil):
		return errors.New("Options.Koa is about sessions of koa-generic-session: begin with KoaCompat, set Migrate, or remove it")
	case k.form().sum == nil:
		return errors.New("Options.Koa.Algorithm is none of sha1, sha256, sha384 and sha512")
	case k.Encoding != "" && k.Encoding != "base64" && k.Encoding != "hex":
		return errors.New("Options.Koa.Encoding is neither base64 nor hex")
	}
	return nil
}

// form is that of keygrip's signatures.
func (k *KoaOptions) form() signatureForm {
	sums := map[string]func() hash.Hash{"": sha1.New, "sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}
	return signatureForm{sum: sums[k.Algorithm], hex: k.Encoding == "hex"}
}

// sign adds to r what signs the cookie with keys until then: as keygrip does, or
// as this library does by default.
func (o *Options) sign(r *keyring, koa bool, keys Keyring, until time.Time) error {
	if !koa {
		return r.add(keys, o.Name, signatureForm{sum: sha256.New}, until)
	}
	form := o.Koa.form()
	if len(keys) > 0 && fips140.Enforced() && form.sum().Size() == sha1.Size {
		return fmt.Errorf("KoaCompat: %w with GODEBUG=fips140=only: signatures of keygrip are HMAC-SHA-1 unless Options.Koa.Algorithm says otherwise", errors.ErrUnsupported)
	}
	return r.add(keys, "", form, until)
}

// shaped reports whether id has the form of an id. Other text must not reach a
// store.
func (m *Manager) shaped(id ID) bool {
	return id.shaped() || m.o.Koa.ValidID != nil && (m.o.koa || m.migrates()) && id.portable(maxKeyLen-len(m.o.Prefix)) && m.o.Koa.ValidID(string(id))
}

// portable reports whether id can be the value of a cookie and, with a prefix, the
// key of a store.
func (id ID) portable(most int) bool {
	if len(id) == 0 || len(id) > most {
		return false
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == ';' || c == ',' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
