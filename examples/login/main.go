// Command login shows what a login needs: a new id, "remember me", a message for
// the next page, and the logout.
package main

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// begin handlers
const (
	user  core.Key[string] = "user"
	flash core.Key[string] = "flash"
)

func options(key []byte) *core.Options {
	return &core.Options{Keys: [][]byte{key}, RememberFor: 30 * 24 * time.Hour}
}

func login(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if !passwordIsRight(r.FormValue("user"), r.FormValue("password")) {
		http.Error(w, "wrong name or password", http.StatusUnauthorized)
		return nil
	}
	o := core.LoginOptions{Remember: r.FormValue("remember") != ""}
	if err := errors.Join(s.Login(o), user.Set(s, r.FormValue("user")), flash.Set(s, "Welcome!")); err != nil {
		return err // nothing of this request is saved
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func home(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	message, err := flash.Take(r.Context(), s) // at most one request gets it
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s Hello %q\n", message, user.Get(s))
	return err
}

func logout(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if err := s.Destroy(r.Context()); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// end handlers

func routes(sessions *core.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", httpsession.HandlerFunc(home))
	mux.Handle("POST /login", httpsession.HandlerFunc(login))
	mux.Handle("POST /logout", httpsession.HandlerFunc(logout))
	return httpsession.New(sessions, nil)(mux)
}

// passwordIsRight stands for your users and their password hashes.
func passwordIsRight(name, password string) bool {
	return name == "ada" && subtle.ConstantTimeCompare([]byte(password), []byte("engine")) == 1
}

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), options(key))
	if err != nil {
		log.Fatal(err)
	}
	// Requests from other sites don't log anybody in or out.
	protect := http.NewCrossOriginProtection()
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", protect.Handler(routes(sessions))))
}
