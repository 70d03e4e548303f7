// Command securitylog shows the log of security events that OWASP ASVS 5.0 asks
// for in section 16.3: a line for each with when, where, who and what.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const user core.Key[string] = "user"

// begin hook
// securityLog returns a hook for core.Hooks.Event.
func securityLog(l *slog.Logger) func(context.Context, core.Event) {
	return func(ctx context.Context, e core.Event) {
		level := slog.LevelWarn
		switch e.Kind {
		case core.EventLoggedIn, core.EventLoggedOut, core.EventRenewed, core.EventEnded, core.EventExpired, core.EventInvalid,
			core.EventCreated, core.EventSaved: // these two for an audit of every save
			level = slog.LevelInfo
		case core.EventNotRevoked, core.EventCookieRefused, core.EventUnreadable, core.EventForeign, core.EventFailed:
		default:
			return
		}
		attrs := []slog.Attr{slog.String("from", from(ctx)), slog.String("session", e.ID)}
		if e.Session != nil {
			attrs = append(attrs, slog.String("user", user.Get(e.Session))) // "" after a logout: its login has the same session
		}
		if e.Former != "" {
			attrs = append(attrs, slog.String("former", e.Former))
		}
		if e.Why != "" {
			attrs = append(attrs, slog.String("why", e.Why))
		}
		if e.Err != nil {
			attrs = append(attrs, slog.Any("error", e.Err))
		}
		l.LogAttrs(ctx, level, "session "+string(e.Kind), attrs...)
	}
}

type fromKey struct{}

// withFrom notes for the log where a request comes from. It goes around the session
// middleware. Behind a proxy, take the address that the proxy vouches for.
func withFrom(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), fromKey{}, host)))
	})
}

func from(ctx context.Context) string {
	host, _ := ctx.Value(fromKey{}).(string)
	return host
}

// end hook

// begin login
// A login that fails never reaches the session, so the handler logs it.
func login(l *slog.Logger) httpsession.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		name := r.FormValue("user")
		if !passwordIsRight(name, r.FormValue("password")) {
			l.WarnContext(r.Context(), "login failed", "from", from(r.Context()), "user", name)
			http.Error(w, "wrong name or password", http.StatusUnauthorized)
			return nil
		}
		return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, name))
	}
}

// end login

func logout(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	return s.Destroy(r.Context())
}

func home(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	_, err := fmt.Fprintf(w, "Hello %q\n", user.Get(s))
	return err
}

func passwordIsRight(name, password string) bool { return name == "ada" && password == "secret" }

// begin mount
func site(store core.Store, key []byte, l *slog.Logger) (http.Handler, *core.Manager, error) {
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{key}, Hooks: core.Hooks{Event: securityLog(l)}})
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /login", login(l))
	mux.Handle("POST /logout", httpsession.HandlerFunc(logout))
	mux.Handle("GET /", httpsession.HandlerFunc(home))
	return withFrom(httpsession.New(sessions, nil)(mux)), sessions, nil
}

// end mount

func main() {
	store := memorystore.New(nil)
	defer store.Close()
	handler, sessions, err := site(store, []byte(os.Getenv("SESSION_KEY")), slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", handler))
}
