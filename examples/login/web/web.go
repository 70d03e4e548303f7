// Package web has the handlers of the login example for net/http.
package web

import (
	"errors"
	"log"
	"net"
	"net/http"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/login/app"
)

type site struct {
	*app.App
	sessions *core.Manager
}

// New returns the site.
func New(a *app.App, sessions *core.Manager) http.Handler {
	s := &site{a, sessions}
	pages := http.NewServeMux()
	for pattern, h := range map[string]httpsession.HandlerFunc{
		"GET /{$}":                 s.home,
		"GET /login":               s.page("login", "Log in"),
		"POST /login":              s.login,
		"GET /signup":              s.page("signup", "Sign up"),
		"POST /signup":             s.signup,
		"POST /logout":             s.logout,
		"GET /password":            s.user(s.page("password", "Change the password")),
		"POST /password":           s.user(s.password),
		"GET /devices":             s.user(s.devices),
		"POST /devices/end":        s.user(s.endDevice),
		"POST /devices/end-others": s.user(s.endOthers),
		"GET /admin":               s.user(s.admin),
		"POST /admin/end":          s.user(s.adminEnd),
		"/":                        s.notFound,
	} {
		pages.Handle(pattern, h)
	}
	all := http.NewServeMux()
	all.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(app.Files())))
	all.Handle("/", httpsession.New(sessions, &httpsession.Options{Error: s.fail})(pages))
	protect := http.NewCrossOriginProtection() // other sites log nobody in or out
	protect.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		send(w, s.RenderError(http.StatusForbidden))
	}))
	return http.MaxBytesHandler(protect.Handler(all), 64<<10) // no form is longer
}

// show answers with a page.
func (t *site) show(w http.ResponseWriter, r *http.Request, s *core.Session, name string, p app.Page, problem error) error {
	a, err := t.Render(r.Context(), s, name, p, problem)
	if err == nil {
		send(w, a)
	}
	return err
}

func send(w http.ResponseWriter, a app.Answer) {
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body)
}

// fail answers a request whose handler or session has failed.
func (t *site) fail(w http.ResponseWriter, _ *http.Request, err error) {
	log.Print(err)
	send(w, t.RenderError(core.Status(err)))
}

// page is a handler of a page that needs nothing but its template.
func (t *site) page(name, title string) httpsession.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		return t.show(w, r, s, name, app.Page{Title: title, Bye: r.URL.Query().Has("bye")}, nil)
	}
}

// user lets through who is logged in, and sends others to the login.
func (t *site) user(next httpsession.HandlerFunc) httpsession.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		if s.Owner() == "" {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return nil
		}
		return next(w, r, s)
	}
}

func (t *site) notFound(w http.ResponseWriter, _ *http.Request, _ *core.Session) error {
	send(w, t.RenderError(http.StatusNotFound))
	return nil
}

func (t *site) home(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	return t.show(w, r, s, "home", app.Page{Title: "Welcome"}, nil)
}

func (t *site) signup(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	name, err := t.Users.Add(r.FormValue("name"), r.FormValue("password"), false)
	if err != nil {
		return t.show(w, r, s, "signup", app.Page{Title: "Sign up", Name: r.FormValue("name")}, err)
	}
	login := core.LoginOptions{Owner: name, Label: app.Browser(r.UserAgent())}
	if err := errors.Join(s.Login(login), app.Flash.Set(s, "Your account is ready, "+name+".")); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// begin login
func (t *site) login(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	name, err := t.CheckPassword(r.FormValue("name"), r.FormValue("password"), address(r))
	if err != nil {
		return t.show(w, r, s, "login", app.Page{Title: "Log in", Name: r.FormValue("name")}, err)
	}
	login := core.LoginOptions{
		Owner:    name,
		Label:    app.Browser(r.UserAgent()), // for the list of devices
		Remember: r.FormValue("remember") != "",
	}
	if err := errors.Join(s.Login(login), app.Flash.Set(s, "Hello, "+name+".")); err != nil {
		return err // nothing of this request is saved
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (t *site) logout(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if err := s.Destroy(r.Context()); err != nil {
		return err // the session may still be there: the user has to know
	}
	w.Header().Set("Clear-Site-Data", `"cache"`) // pages that the back button would show
	http.Redirect(w, r, "/login?bye", http.StatusSeeOther)
	return nil
}

// end login

// begin devices
func (t *site) devices(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	devices, err := t.sessions.ListByOwner(r.Context(), s.Owner(), s)
	if err != nil {
		return err
	}
	return t.show(w, r, s, "devices", app.Page{Title: "My devices", Devices: devices}, nil)
}

func (t *site) endDevice(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	// Only sessions of this owner are found: nobody ends those of others.
	err := t.sessions.DestroyByHandle(r.Context(), s.Owner(), r.FormValue("device"))
	if err != nil && !errors.Is(err, core.ErrNotFound) { // else it has ended by itself
		return err
	}
	return t.back(w, r, s, "/devices", "The device is logged out.")
}

func (t *site) endOthers(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if err := t.sessions.DestroyByOwner(r.Context(), s.Owner(), s); err != nil {
		return err
	}
	return t.back(w, r, s, "/devices", "All other devices are logged out.")
}

// end devices

// begin password
func (t *site) password(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	name, err := t.CheckPassword(s.Owner(), r.FormValue("old"), address(r))
	if err == nil {
		err = t.Users.SetPassword(name, r.FormValue("new"))
	}
	if err != nil {
		return t.show(w, r, s, "password", app.Page{Title: "Change the password"}, err)
	}
	if err := t.sessions.DestroyByOwner(r.Context(), name, s); err != nil {
		return err
	}
	if err := s.Renew(r.Context()); err != nil { // whoever knows this id, too, is out
		return err
	}
	return t.back(w, r, s, "/", "The password is changed, and all other devices are logged out.")
}

// end password

// begin admin
func (t *site) adminEnd(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if !t.Users.IsAdmin(s.Owner()) {
		return t.notFound(w, r, s)
	}
	name := r.FormValue("name")
	if err := t.sessions.DestroyByOwner(r.Context(), name, s); err != nil { // all, but the admin's own
		return err
	}
	return t.back(w, r, s, "/admin", name+" is logged out.")
}

// end admin

func (t *site) admin(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if !t.Users.IsAdmin(s.Owner()) {
		return t.notFound(w, r, s)
	}
	rows, err := t.UserRows(r.Context(), t.sessions)
	if err != nil {
		return err
	}
	return t.show(w, r, s, "admin", app.Page{Title: "Users", Users: rows}, nil)
}

// back goes to a page that shows a message.
func (t *site) back(w http.ResponseWriter, r *http.Request, s *core.Session, to, message string) error {
	if err := app.Flash.Set(s, message); err != nil {
		return err
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
