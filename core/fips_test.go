package core_test

import (
	"crypto/fips140"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Under GODEBUG=fips140=only a session is begun and found again, and what needs
// SHA-1 or a short key is an error of New.
func TestFIPS(t *testing.T) {
	if !fips140.Enforced() {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFIPS$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestFIPS") {
			t.Errorf("with GODEBUG=fips140=only: %v\n%s", err, out)
		}
		return
	}
	store := memorystore.New(nil)
	defer store.Close()
	key := testKey

	koa := core.KoaCompat()
	koa.Keys = [][]byte{key}
	if _, err := core.New(store, koa); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "fips140=only") {
		t.Errorf("KoaCompat: %v", err)
	}
	koa.Koa.Algorithm = "sha256"
	if _, err := core.New(store, koa); err != nil {
		t.Errorf("KoaCompat with SHA-256: %v", err)
	}
	if _, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("short")}, InsecureShortKeys: true}); err == nil {
		t.Error("a key of 5 bytes was taken")
	}

	sessions, err := core.New(store, &core.Options{Keys: [][]byte{key}, UnderivedUntil: time.Now().Add(time.Hour), Seal: core.Sealing{Keys: core.Keyring{otherKey}}})
	if err != nil {
		t.Fatal(err)
	}
	visits := core.Key[int]("visits")
	h := httpsession.New(sessions, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := httpsession.From(r)
		if err != nil {
			t.Fatal(err)
		}
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil || r.Header.Get("Cookie") != "" && n != 2 {
			t.Errorf("visit %d, %v", n, err)
		}
		if err := s.Renew(r.Context()); err != nil {
			t.Error(err)
		}
	}))
	first := httptest.NewRecorder()
	h.ServeHTTP(first, httptest.NewRequest("GET", "/", nil))
	second := httptest.NewRequest("GET", "/", nil)
	for _, c := range first.Result().Cookies() {
		second.AddCookie(c)
	}
	h.ServeHTTP(httptest.NewRecorder(), second)
	if second.Header.Get("Cookie") == "" {
		t.Error("no cookie")
	}
}
