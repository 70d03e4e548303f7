// Command account shows the threats around a login that only the application
// can meet: a password that changes, an account that is disabled, a login at
// another site that has ended, guesses, pages that must not stay in the browser.
package main

import (
	"context"
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

// begin valid
const (
	user       core.Key[string] = "user"
	generation core.Key[int]    = "generation" // of the account, when the session logged in
	federated  core.Key[string] = "sid"        // the session at the identity provider
)

// valid is the core.Hooks.Valid of the manager. It ends the sessions of accounts
// that are disabled, those from before the account's generation, and those whose
// session at the identity provider has ended.
func (a *app) valid(ctx context.Context, _ core.Jar, s *core.Session) (bool, error) {
	name := user.Get(s)
	if name == "" {
		return true, nil // nobody is logged in
	}
	account, found, err := a.accounts.find(ctx, name)
	if err != nil || !found || account.disabled {
		return false, err
	}
	return generation.Get(s) == account.generation && !account.endedSIDs[federated.Get(s)], nil
}

// end valid

// begin password
// setPassword ends all other sessions of the account. This one logs in anew.
func (a *app) setPassword(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	name := user.Get(s)
	right, err := a.guess(r.Context(), name, r.FormValue("old"))
	if err != nil || !right {
		http.Error(w, "wrong password", http.StatusForbidden)
		return err
	}
	now, err := a.accounts.setPassword(r.Context(), name, r.FormValue("new")) // adds 1 to the generation
	if err != nil {
		return err
	}
	return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, name), generation.Set(s, now))
}

// end password

// begin fresh
// fresh lets a request pass whose user has given the password in the last five
// minutes, and asks the others for it. The page at /confirm ends in a Session.Login.
func fresh(next httpsession.HandlerFunc) httpsession.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		if user.Get(s) == "" || time.Since(s.LoggedIn()) > 5*time.Minute {
			http.Redirect(w, r, "/confirm", http.StatusSeeOther)
			return nil
		}
		return next(w, r, s)
	}
}

// end fresh

// begin logout
// private keeps pages out of the browser's history and disk. It goes around
// everything that only the user may see.
func private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func logout(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if err := s.Destroy(r.Context()); err != nil {
		return err // the session may still be there: the user must know, and try again
	}
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// end logout

// begin guess
// guess compares a password. The attempt is counted before it is looked at, so that
// guesses at the same time don't outrun the count, and with the account, since an
// attacker throws his session away.
func (a *app) guess(ctx context.Context, name, password string) (right bool, err error) {
	account, may, err := a.accounts.attempt(ctx, name, time.Now())
	if err != nil || !may || !passwordIsRight(account, password) {
		return false, err
	}
	return true, a.accounts.forgive(ctx, name)
}

// wait is how long an account has to wait after so many attempts without success:
// from the fifth on, twice as long each time, up to an hour.
func wait(attempts int) time.Duration {
	if attempts < 5 {
		return 0
	}
	return min(time.Second<<min(attempts-5, 12), time.Hour)
}

// end guess

func (a *app) login(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	name := r.FormValue("user")
	right, err := a.guess(r.Context(), name, r.FormValue("password"))
	if err != nil || !right {
		http.Error(w, "wrong name or password", http.StatusUnauthorized)
		return err
	}
	account, _, err := a.accounts.find(r.Context(), name)
	if err != nil {
		return err
	}
	return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, name), generation.Set(s, account.generation), federated.Set(s, r.FormValue("sid")))
}

func home(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
	_, err := fmt.Fprintf(w, "Hello %q", user.Get(s))
	return err
}

// begin mount
func (a *app) routes(store core.Store, key []byte) (http.Handler, *core.Manager, error) {
	o := core.Hardened()
	o.Keys = core.Keyring{key}
	o.Hooks.Valid = a.valid
	sessions, err := core.New(store, o)
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", httpsession.HandlerFunc(home))
	mux.Handle("POST /login", httpsession.HandlerFunc(a.login))
	mux.Handle("POST /logout", httpsession.HandlerFunc(logout))
	mux.Handle("POST /password", httpsession.HandlerFunc(a.setPassword))
	mux.Handle("POST /money", fresh(pay))
	protect := http.NewCrossOriginProtection() // against requests from other sites
	return protect.Handler(httpsession.New(sessions, nil)(private(mux))), sessions, nil
}

// end mount

func pay(w http.ResponseWriter, _ *http.Request, _ *core.Session) error {
	_, err := fmt.Fprint(w, "paid")
	return err
}

type app struct{ accounts *accounts }

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	site := &app{newAccounts()}
	handler, _, err := site.routes(memorystore.New(nil), key)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServeTLS("127.0.0.1:3443", "cert.pem", "key.pem", handler))
}
