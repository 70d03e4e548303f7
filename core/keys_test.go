package core_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

var otherKey = []byte("q8Wd2LxN7vKb4Rz0Tj6Yh1Mc9Fs3Pg5E")

// TestW43WeakKeys: keys that can't come from a source of randomness are refused,
// and no random key ever is, in whatever form it was written down.
func TestW43WeakKeys(t *testing.T) {
	t.Parallel()
	refused := func(key []byte, want bool) {
		t.Helper()
		_, err := core.New(keepStore{}, &core.Options{Keys: core.Keyring{key}})
		if got := err != nil && strings.Contains(err.Error(), "Options.Keys[0] is not random"); got != want {
			t.Errorf("refused is %v, want %v: %v", got, want, err)
		}
		if err != nil && !strings.Contains(err.Error(), "openssl rand -base64 32") {
			t.Errorf("no hint in %v", err)
		}
		if err != nil && strings.Contains(err.Error(), string(key)) {
			t.Error("the key is in the message")
		}
	}
	for _, key := range []string{
		strings.Repeat("a", 32), strings.Repeat("\x00", 64), strings.Repeat("ab", 16), strings.Repeat("changeme", 4), strings.Repeat("keyboard cat ", 3),
		"0123456789abcdef0123456789abcdef", "abcdefghijklmnopqrstuvwxyz012345", strings.Repeat("0123456789", 4) + "01", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
		"00000000000000000000000000000001", strings.Repeat("zyxwvutsrqponmlkjihgfedcba", 2), strings.Repeat("secret", 6) + "se",
		"correct horse battery" + strings.Repeat("\x00", 12), "Zk3v9QwX1rT7" + strings.Repeat("=", 20), strings.Repeat("#", 12) + "Zk3v9QwX1rT7mB5nH2cJ", // filled up
		"your-256-bit-secret-your-256-bit-secret", "Zk3v9QwX1rT7mB5nH2cJ" + "Zk3v9QwX1rT7", // nearly twice
	} {
		refused([]byte(key), true)
	}
	for range 300 {
		key := make([]byte, 32)
		rand.Read(key)
		refused(key, false)
		refused([]byte(base64.StdEncoding.EncodeToString(key)), false)
		refused([]byte(hex.EncodeToString(key)), false)
		refused([]byte(hex.EncodeToString(key[:16])), false)
		refused([]byte(rand.Text()+rand.Text()), false)
	}
	if _, err := core.New(keepStore{}, &core.Options{Keys: core.Keyring{[]byte(strings.Repeat("a", 32))}, InsecureShortKeys: true}); err != nil {
		t.Error(err)
	}
}

// TestW43OptionsPrintNoKey: whatever prints Options prints no key.
func TestW43OptionsPrintNoKey(t *testing.T) {
	t.Parallel()
	o := core.Options{Keys: core.Keyring{testKey, otherKey}, Hooks: core.Hooks{}}
	var out bytes.Buffer
	for _, v := range []any{o, &o, o.Keys, &o.Keys, []core.Options{o}, map[string]core.Keyring{"keys": o.Keys}, struct{ O *core.Options }{&o}, struct{ K core.Keyring }{o.Keys}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprint(&out, v)
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("options", "o", v, slog.Group("g", "o", v))
		}
		text, _ := json.Marshal(v)
		out.Write(text)
	}
	m, err := core.New(keepStore{}, &o)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "%+v %#v", m, m)
	for _, key := range o.Keys {
		for form, secret := range map[string]string{
			"text": string(key), "hexadecimal digits": hex.EncodeToString(key), "capital digits": strings.ToUpper(hex.EncodeToString(key)),
			"base64": base64.StdEncoding.EncodeToString(key), "numbers": strings.Trim(fmt.Sprint(key), "[]"), "Go": strings.Trim(fmt.Sprintf("%#v", key)[6:], "{}"),
		} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("a key is printed as %s", form)
			}
		}
	}
	if !strings.Contains(out.String(), "2 keys") {
		t.Error("the number of keys is not printed")
	}
}

// TestW43Header: a field that has another meaning can't carry the id.
func TestW43Header(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Authorization", "authorization", "Proxy-Authorization", "WWW-Authenticate", "X-Forwarded-For", "Forwarded", "Origin", "TE"} {
		if _, err := core.New(keepStore{}, &core.Options{Carrier: core.Header(name)}); err == nil || !strings.Contains(err.Error(), "such as X-Session-Id") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRequirement6DerivedKeys: a key signs for one cookie name. What an application
// signs under its name, or makes of the key itself, opens nothing under another.
func TestRequirement6DerivedKeys(t *testing.T) {
	t.Parallel()
	a, b := newApp(t, &core.Options{Name: "a"}), newApp(t, &core.Options{Name: "b"})
	a.ok(a.get("/", count(t)))
	b.ok(b.get("/", count(t)))
	signature := func(a *app, name string) string {
		v, ok := a.browser.Value("/", name)
		if !ok {
			t.Fatal("no signature")
		}
		return v
	}
	idA, _ := a.browser.Value("/", "a")
	plain := hmac.New(sha256.New, testKey)
	plain.Write([]byte("a=" + idA))
	for what, sig := range map[string]string{"by the key itself": base64.RawURLEncoding.EncodeToString(plain.Sum(nil)), "of another name": signature(b, "b.sig")} {
		jar := &jartest.Jar{Cookies: []string{"a=" + idA + "; a.sig=" + sig}}
		e := a.send(jar, func(_ *core.Visit, s *core.Session) {
			if !s.IsNew() {
				t.Errorf("a signature %s is accepted", what)
			}
		})
		a.ok(e)
	}
	if sig := signature(a, "a.sig"); len(sig) != 43 {
		t.Errorf("%d characters", len(sig))
	}
}

// TestUnderivedUntil: what the keys themselves have signed counts until the date,
// and is signed anew.
func TestUnderivedUntil(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Hour)
		a := newApp(t, &core.Options{UnderivedUntil: until, Keys: core.Keyring{testKey, otherKey}})
		a.ok(a.get("/", count(t)))
		id := a.value()
		underived := func(key []byte) *jartest.Jar {
			m := hmac.New(sha256.New, key)
			m.Write([]byte("koa.sid=" + id))
			return &jartest.Jar{Cookies: []string{"koa.sid=" + id + "; koa.sid.sig=" + base64.RawURLEncoding.EncodeToString(m.Sum(nil))}}
		}
		opens := func(key []byte, want bool) *exchange {
			t.Helper()
			e := a.send(underived(key), func(_ *core.Visit, s *core.Session) {
				if s.IsNew() == want {
					t.Errorf("new is %v at %v of %v", want, time.Now(), until)
				}
			})
			a.ok(e)
			return e
		}
		for _, key := range [][]byte{testKey, otherKey} {
			e := opens(key, true)
			a.browser = &jartest.Browser{} // with what was sent alone
			a.browser.Take("/", e.jar.SetCookies...)
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				if s.IsNew() {
					t.Error("the new signature is not accepted")
				}
			}))
		}
		opens([]byte("another-key-that-nobody-knows-xx"), false)
		if err := a.manager.RotateKeys([][]byte{otherKey}); err != nil { // with its underived signatures
			t.Fatal(err)
		}
		opens(otherKey, true)
		opens(testKey, false)
		time.Sleep(time.Until(until) - 1)
		opens(otherKey, true)
		time.Sleep(time.Nanosecond)
		opens(otherKey, false)
	})
}
