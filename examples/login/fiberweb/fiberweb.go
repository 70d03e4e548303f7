// Package fiberweb has the handlers of the login example for Fiber.
package fiberweb

import (
	"errors"
	"log"
	"net/http"
	"net/url"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/filesystem"
	"github.com/gofiber/fiber/v2/utils"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/login/app"
)

type site struct {
	*app.App
	sessions *core.Manager
}

type handler = func(c *fiber.Ctx, s *core.Session) error

// New returns the site.
func New(a *app.App, sessions *core.Manager) *fiber.App {
	t := &site{a, sessions}
	all := fiber.New(fiber.Config{ErrorHandler: t.fail, DisableStartupMessage: true, BodyLimit: 64 << 10}) // no form is longer
	all.Use("/static", filesystem.New(filesystem.Config{Root: http.FS(app.Files())}))
	all.Use(crossOrigin, fibersession.New(sessions, nil))
	get := func(path string, h handler) { all.Get(path, fibersession.Handler(h)) }
	post := func(path string, h handler) { all.Post(path, fibersession.Handler(h)) }
	get("/", t.home)
	get("/login", t.page("login", "Log in"))
	post("/login", t.login)
	get("/signup", t.page("signup", "Sign up"))
	post("/signup", t.signup)
	post("/logout", t.logout)
	get("/password", t.user(t.page("password", "Change the password")))
	post("/password", t.user(t.password))
	get("/devices", t.user(t.devices))
	post("/devices/end", t.user(t.endDevice))
	post("/devices/end-others", t.user(t.endOthers))
	get("/admin", t.user(t.admin))
	post("/admin/end", t.user(t.adminEnd))
	return all
}

// crossOrigin refuses what another site's page makes a browser ask for, as
// CrossOriginProtection of net/http does: other sites log nobody in or out.
func crossOrigin(c *fiber.Ctx) error {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return c.Next() // these change nothing
	}
	switch c.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return c.Next()
	case "": // a browser of before 2023, or none
		origin := c.Get(fiber.HeaderOrigin)
		if origin == "" {
			return c.Next()
		}
		if u, err := url.Parse(origin); err == nil && u.Host == string(c.Context().Host()) {
			return c.Next()
		}
	}
	return fiber.ErrForbidden
}

// show answers with a page.
func (t *site) show(c *fiber.Ctx, s *core.Session, name string, p app.Page, problem error) error {
	a, err := t.Render(c.UserContext(), s, name, p, problem)
	if err != nil {
		return err
	}
	return send(c, a)
}

func send(c *fiber.Ctx, a app.Answer) error {
	for name, value := range a.Header {
		c.Set(name, value)
	}
	return c.Status(a.Status).Send(a.Body)
}

// fail answers a request whose handler or session has failed.
func (t *site) fail(c *fiber.Ctx, err error) error {
	status := core.Status(err)
	if fault := (*fiber.Error)(nil); errors.As(err, &fault) {
		status = fault.Code
	}
	if status >= 500 {
		log.Printf("%+v", err)
	}
	return send(c, t.RenderError(status))
}

// page is a handler of a page that needs nothing but its template.
func (t *site) page(name, title string) handler {
	return func(c *fiber.Ctx, s *core.Session) error {
		return t.show(c, s, name, app.Page{Title: title, Bye: c.Context().QueryArgs().Has("bye")}, nil)
	}
}

// user lets through who is logged in, and sends others to the login.
func (t *site) user(next handler) handler {
	return func(c *fiber.Ctx, s *core.Session) error {
		if s.Owner() == "" {
			return c.Redirect("/login", fiber.StatusSeeOther)
		}
		return next(c, s)
	}
}

func (t *site) home(c *fiber.Ctx, s *core.Session) error {
	return t.show(c, s, "home", app.Page{Title: "Welcome"}, nil)
}

func (t *site) signup(c *fiber.Ctx, s *core.Session) error {
	name, err := t.Users.Add(form(c, "name"), form(c, "password"), false)
	if err != nil {
		return t.show(c, s, "signup", app.Page{Title: "Sign up", Name: form(c, "name")}, err)
	}
	login := core.LoginOptions{Owner: name, Label: app.Browser(c.Get(fiber.HeaderUserAgent))}
	if err := s.Login(login); err != nil {
		return err
	}
	return t.back(c, s, "/", "Your account is ready, "+name+".")
}

// begin login
func (t *site) login(c *fiber.Ctx, s *core.Session) error {
	name, err := t.CheckPassword(form(c, "name"), form(c, "password"), c.IP())
	if err != nil {
		return t.show(c, s, "login", app.Page{Title: "Log in", Name: form(c, "name")}, err)
	}
	login := core.LoginOptions{
		Owner:    name,
		Label:    app.Browser(c.Get(fiber.HeaderUserAgent)), // for the list of devices
		Remember: form(c, "remember") != "",
	}
	if err := errors.Join(s.Login(login), app.Flash.Set(s, "Hello, "+name+".")); err != nil {
		return err // nothing of this request is saved
	}
	return c.Redirect("/", fiber.StatusSeeOther)
}

func (t *site) logout(c *fiber.Ctx, s *core.Session) error {
	if err := s.Destroy(c.UserContext()); err != nil {
		return err // the session may still be there: the user has to know
	}
	c.Set("Clear-Site-Data", `"cache"`) // pages that the back button would show
	return c.Redirect("/login?bye", fiber.StatusSeeOther)
}

// end login

func (t *site) devices(c *fiber.Ctx, s *core.Session) error {
	devices, err := t.sessions.ListByOwner(c.UserContext(), s.Owner(), s)
	if err != nil {
		return err
	}
	return t.show(c, s, "devices", app.Page{Title: "My devices", Devices: devices}, nil)
}

func (t *site) endDevice(c *fiber.Ctx, s *core.Session) error {
	// Only sessions of this owner are found: nobody ends those of others.
	err := t.sessions.DestroyByHandle(c.UserContext(), s.Owner(), form(c, "device"))
	if err != nil && !errors.Is(err, core.ErrNotFound) { // else it has ended by itself
		return err
	}
	return t.back(c, s, "/devices", "The device is logged out.")
}

func (t *site) endOthers(c *fiber.Ctx, s *core.Session) error {
	if err := t.sessions.DestroyByOwner(c.UserContext(), s.Owner(), s); err != nil {
		return err
	}
	return t.back(c, s, "/devices", "All other devices are logged out.")
}

func (t *site) password(c *fiber.Ctx, s *core.Session) error {
	name, err := t.CheckPassword(s.Owner(), form(c, "old"), c.IP())
	if err == nil {
		err = t.Users.SetPassword(name, form(c, "new"))
	}
	if err != nil {
		return t.show(c, s, "password", app.Page{Title: "Change the password"}, err)
	}
	if err := t.sessions.DestroyByOwner(c.UserContext(), name, s); err != nil {
		return err
	}
	if err := s.Renew(c.UserContext()); err != nil { // whoever knows this id, too, is out
		return err
	}
	return t.back(c, s, "/", "The password is changed, and all other devices are logged out.")
}

func (t *site) admin(c *fiber.Ctx, s *core.Session) error {
	if !t.Users.IsAdmin(s.Owner()) {
		return fiber.ErrNotFound
	}
	rows, err := t.UserRows(c.UserContext(), t.sessions)
	if err != nil {
		return err
	}
	return t.show(c, s, "admin", app.Page{Title: "Users", Users: rows}, nil)
}

func (t *site) adminEnd(c *fiber.Ctx, s *core.Session) error {
	if !t.Users.IsAdmin(s.Owner()) {
		return fiber.ErrNotFound
	}
	name := form(c, "name")
	if err := t.sessions.DestroyByOwner(c.UserContext(), name, s); err != nil { // all, but the admin's own
		return err
	}
	return t.back(c, s, "/admin", name+" is logged out.")
}

// back goes to a page that shows a message.
func (t *site) back(c *fiber.Ctx, s *core.Session, to, message string) error {
	if err := app.Flash.Set(s, message); err != nil {
		return err
	}
	return c.Redirect(to, fiber.StatusSeeOther)
}

// form copies a field of the form, which is in a buffer that Fiber uses again: the
// table of users, a limit and the session keep what they get.
func form(c *fiber.Ctx, field string) string { return utils.CopyString(c.FormValue(field)) }
