// Package app is what the login example has for every HTTP library: users, pages,
// limits, and the options of the sessions. The handlers are in the packages web, for
// net/http, and fiberweb, for Fiber.
package app

import (
	"context"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
)

// Flash is a message that the next page shows, once.
const Flash core.Key[string] = "flash"

// An App is the application without its HTTP library.
type App struct {
	Users *Users
	// Names and Addresses limit logins and changes of a password: guesses at one
	// name from one address, and guesses from one address at whatever name.
	Names, Addresses Limit
}

// New returns an App with those users.
func New(users *Users) *App {
	return &App{
		Users:     users,
		Names:     Limit{Burst: 5, Every: time.Minute},
		Addresses: Limit{Burst: 20, Every: 10 * time.Second},
	}
}

// begin options

// Options are those of the sessions. tls says that the site is reached over TLS
// alone.
func (a *App) Options(key []byte, tls bool) *core.Options {
	o := &core.Options{
		Keys:            core.Keyring{key},
		Name:            "sid",
		Owners:          true,
		Cookie:          core.CookieOptions{MaxAge: core.UntilBrowserCloses},
		IdleTimeout:     time.Hour,
		AbsoluteTimeout: 12 * time.Hour,
		RememberFor:     30 * 24 * time.Hour,
	}
	if tls {
		o.Name, o.Cookie.Secure = "__Host-sid", core.On
	}
	o.Hooks.Valid = func(_ context.Context, _ core.Jar, s *core.Session) (bool, error) {
		return s.Owner() == "" || a.Users.Has(s.Owner()), nil // else the account was closed
	}
	return o
}

// end options

// TooManyTries is the error of a login that has to wait.
type TooManyTries struct{ Wait time.Duration }

// Error returns the words of the page.
func (t TooManyTries) Error() string {
	return "Too many tries. Wait " + t.seconds() + " seconds, please."
}

func (t TooManyTries) seconds() string { return strconv.Itoa(int(math.Ceil(t.Wait.Seconds()))) }

// CheckPassword returns the name as it is in the table if the password is right. The
// error is a Problem, or TooManyTries. address is the client's.
func (a *App) CheckPassword(name, password, address string) (string, error) {
	from := network(address)
	name = strings.ToLower(strings.TrimSpace(name))
	for _, wait := range []time.Duration{a.Addresses.Wait(from), a.Names.Wait(name + " " + from)} {
		if wait > 0 {
			return "", TooManyTries{wait}
		}
	}
	return a.Users.Check(name, password)
}

// network is what a client has whose address this is: with IPv6 that is a whole
// network of them.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return address
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

// UserRows are the rows of the admin's page.
func (a *App) UserRows(ctx context.Context, sessions *core.Manager) ([]UserRow, error) {
	names := a.Users.Names()
	rows := make([]UserRow, len(names))
	for i, name := range names {
		devices, err := sessions.ListByOwner(ctx, name, nil)
		if err != nil {
			return nil, err
		}
		rows[i] = UserRow{name, a.Users.IsAdmin(name), len(devices)}
	}
	return rows, nil
}
