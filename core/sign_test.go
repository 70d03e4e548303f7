package core

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"hash"
	"strings"
	"sync"
	"testing"
	"time"
)

// key32 is a key like a random one.
func key32(b byte) []byte {
	key := sha256.Sum256([]byte{b})
	return key[:]
}

// newKeyring is the keyring of a Manager with the cookie koa.sid.
func newKeyring(keys [][]byte, sha1Sum, weak bool) (*keyring, error) {
	if err := Keyring(keys).check("Options.Keys", weak); err != nil {
		return nil, err
	}
	r := new(keyring)
	return r, (&Options{Name: "koa.sid"}).sign(r, sha1Sum, keys, time.Time{})
}

// derived is the key of the cookie koa.sid, made of key without this package.
func derived(key []byte) []byte {
	extract := hmac.New(sha256.New, make([]byte, 32))
	extract.Write(key)
	expand := hmac.New(sha256.New, extract.Sum(nil))
	expand.Write([]byte("gensession cookie signature\x00koa.sid\x01"))
	return expand.Sum(nil)
}

func mustRing(t testing.TB, sha1Sum bool, keys ...[]byte) *keyring {
	t.Helper()
	r, err := newKeyring(keys, sha1Sum, sha1Sum)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// directly is the signature computed without this package.
func directly(sum func() hash.Hash, key []byte, text string) string {
	m := hmac.New(sum, key)
	m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func TestK5Signature(t *testing.T) {
	t.Parallel()
	t.Run("keygrip", func(t *testing.T) {
		t.Parallel()
		r := mustRing(t, true, []byte("keys"))
		if got := string(r.sign(nil, "koa.sid", "seeded")); got != "34Caw-ta-vPGVbrG5wkOhvc1U_4" {
			t.Errorf("koa.sid=seeded under keys: %q", got)
		}
	})
	t.Run("sha256", func(t *testing.T) {
		t.Parallel()
		r := mustRing(t, false, key32('k'))
		want := directly(sha256.New, derived(key32('k')), "koa.sid=seeded")
		if got := string(r.sign([]byte("before "), "koa.sid", "seeded")); got != "before "+want || len(want) != 43 {
			t.Errorf("signature %q, want %q", got, want)
		}
	})
	t.Run("removal", func(t *testing.T) { // K6 signs "NAME="
		t.Parallel()
		r := mustRing(t, true, []byte("keys"))
		if got, want := string(r.sign(nil, "koa.sid", "")), directly(sha1.New, []byte("keys"), "koa.sid="); got != want {
			t.Errorf("signature %q, want %q", got, want)
		}
	})
}

func TestK5Keys(t *testing.T) {
	t.Parallel()
	nine := make([][]byte, 9)
	for i := range nine {
		nine[i] = key32(byte(i))
	}
	for _, test := range []struct {
		name  string
		keys  [][]byte
		short bool
		want  string // "" for no error
	}{
		{"one", nine[:1], false, ""},
		{"eight", nine[:8], false, ""},
		{"nine", nine, false, "9 keys, at most 8"},
		{"short", [][]byte{key32(1), key32(2)[:31]}, false, "Keys[1] has 31 bytes, at least 32"},
		{"short allowed", [][]byte{[]byte("keys")}, true, ""},
		{"empty", [][]byte{{}}, true, "Keys[0] has 0 bytes"},
		{"nil", [][]byte{nil}, true, "Keys[0] has 0 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := newKeyring(test.keys, false, test.short)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	t.Run("copied", func(t *testing.T) {
		t.Parallel()
		key := key32('k')
		r := mustRing(t, false, key)
		clear(key)
		if got := string(r.sign(nil, "a", "b")); got != directly(sha256.New, derived(key32('k')), "a=b") {
			t.Error("the caller's slice was kept")
		}
	})
}

func TestK12Rotation(t *testing.T) {
	t.Parallel()
	old, now, next := key32(1), key32(2), key32(3)
	sign := func(key []byte) string { return string(mustRing(t, false, key).sign(nil, "n", "v")) }
	r := mustRing(t, false, next, now, old)
	for want, key := range [][]byte{next, now, old} {
		if got := r.verify("n", "v", sign(key)); got != want {
			t.Errorf("a signature of key %d is of key %d", want, got)
		}
	}
	if got := string(r.sign(nil, "n", "v")); got != sign(next) {
		t.Error("not the first key signs")
	}
	if got := mustRing(t, false, next, now).verify("n", "v", sign(old)); got != -1 {
		t.Error("a key that was dropped verifies")
	}
}

// TestK13Forged is requirement 6 and 8: any other byte, in any of the three.
func TestK13Forged(t *testing.T) {
	t.Parallel()
	const name, value = "koa.sid", "0123456789abcdef0123456789abcdef"
	for _, sha1Sum := range []bool{false, true} {
		r := mustRing(t, sha1Sum, key32(1), key32(2))
		sig := string(r.sign(nil, name, value))
		if r.verify(name, value, sig) != 0 {
			t.Fatal("a good signature is refused")
		}
		refused := func(name, value, sig string) {
			t.Helper()
			if k := r.verify(name, value, sig); k != -1 {
				t.Errorf("accepted: %q=%q with %q", name, value, sig)
			}
		}
		each := func(s string, f func(string)) {
			for i := range len(s) {
				for bit := range 8 {
					b := []byte(s)
					b[i] ^= 1 << bit
					f(string(b))
				}
				f(s[:i] + s[i+1:])
				f(s[:i] + "A" + s[i:])
			}
		}
		each(name, func(s string) { refused(s, value, sig) })
		each(value, func(s string) { refused(name, s, sig) })
		each(sig, func(s string) { refused(name, value, s) })
		// The last character has bits that decoding throws away.
		for c := range 256 {
			if s := sig[:len(sig)-1] + string([]byte{byte(c)}); s != sig {
				refused(name, value, s)
			}
		}
		for _, s := range []string{"", sig + "=", sig + "\x00", sig + sig, strings.Repeat("A", 64), strings.Repeat("A", 128), strings.Repeat("A", 129), strings.Repeat("A", 1<<16)} {
			refused(name, value, s)
		}
		refused("koa", ".sid="+value, sig)                                                   // "=" separates
		refused("other", value, sig)                                                         // the name is bound
		refused(name, value, string(mustRing(t, !sha1Sum, key32(1)).sign(nil, name, value))) // the other hash
		refused(name, value, string(mustRing(t, sha1Sum, key32(3)).sign(nil, name, value)))
	}
}

func TestKeyringConcurrent(t *testing.T) {
	t.Parallel()
	r := mustRing(t, false, key32(1))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 500 {
				value := strings.Repeat(string(rune('a'+i)), j%100)
				if got := string(r.sign(nil, "n", value)); got != directly(sha256.New, derived(key32(1)), "n="+value) {
					t.Error("a signature of another call")
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestRequirement6ConstantTime: where a signature that came with a request meets a genuine
// one, nothing but crypto/subtle compares them. Time can't be measured in a test, so this
// looks at the source.
func TestRequirement6ConstantTime(t *testing.T) {
	t.Parallel()
	for file, function := range map[string]string{"sign.go": "verify", "verified.go": "lookup"} {
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		constant, found := 0, false
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Name.Name != function || f.Recv == nil {
				continue
			}
			found = true
			// Those that hold a signature, or bytes of one.
			secret := map[string]bool{"signature": true, "s": true, "want": true, "got": true}
			names := func(e ast.Expr) (has bool) {
				ast.Inspect(e, func(n ast.Node) bool {
					if call, ok := n.(*ast.CallExpr); ok {
						if length, ok := call.Fun.(*ast.Ident); ok && (length.Name == "len" || length.Name == "cap") {
							return false
						}
						if of, ok := call.Fun.(*ast.SelectorExpr); ok && of.Sel.Name == "ConstantTimeCompare" {
							return false // its result
						}
					}
					if id, ok := n.(*ast.Ident); ok {
						has = has || secret[id.Name]
					}
					return true
				})
				return has
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BinaryExpr:
					if (n.Op == gotoken.EQL || n.Op == gotoken.NEQ) && (names(n.X) || names(n.Y)) {
						t.Errorf("%s: %s compares a signature by %s", file, function, n.Op)
					}
				case *ast.CallExpr:
					if of, ok := n.Fun.(*ast.SelectorExpr); ok {
						switch of.Sel.Name {
						case "ConstantTimeCompare":
							constant++
						case "Equal", "Compare", "HasPrefix", "HasSuffix", "Contains", "EqualFold":
							t.Errorf("%s: %s compares by %s", file, function, of.Sel.Name)
						}
					}
				}
				return true
			})
		}
		if !found || constant != 1 {
			t.Errorf("%s: %s is found: %v, with %d comparisons in constant time", file, function, found, constant)
		}
	}
}
