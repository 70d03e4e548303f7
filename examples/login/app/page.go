package app

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
)

//go:embed pages
var files embed.FS

// Files are what pages refer to: the style sheet.
func Files() fs.FS {
	sub, err := fs.Sub(files, "pages/static")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return sub
}

// A Page is what a page shows beside its own text.
type Page struct {
	Title   string
	User    string // who is logged in, "" for nobody
	Admin   bool
	Flash   string // what the last request has done
	Nobody  bool   // it is not known who asks
	Bye     bool   // somebody has just logged out
	Problem string // why the form was refused
	Name    string // that was typed into the form
	Devices []core.Device
	Users   []UserRow
}

// A UserRow is a row of the admin's page.
type UserRow struct {
	Name    string
	Admin   bool
	Devices int
}

var pages = parse("home", "login", "signup", "password", "devices", "admin", "error")

func parse(names ...string) map[string]*template.Template {
	all := make(map[string]*template.Template, len(names))
	base := template.Must(template.New("").Funcs(template.FuncMap{
		"ago":     ago,
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).ParseFS(files, "pages/base.html"))
	for _, name := range names {
		all[name] = template.Must(template.Must(base.Clone()).ParseFS(files, "pages/"+name+".html"))
	}
	return all
}

// An Answer is a whole page.
type Answer struct {
	Status int
	Header map[string]string
	Body   []byte
}

// Render makes the page of that name for the user of s. problem, if it is one that
// the visitor can put right, is told in the page; others are returned. It takes the
// flash message out of the session.
func (a *App) Render(ctx context.Context, s *core.Session, name string, p Page, problem error) (Answer, error) {
	status, header := http.StatusOK, headers()
	var fault Problem
	var wait TooManyTries
	switch {
	case problem == nil:
	case errors.As(problem, &fault):
		status = http.StatusUnprocessableEntity
		if fault == ErrWrong {
			status = http.StatusUnauthorized
		}
		p.Problem = fault.Error()
	case errors.As(problem, &wait):
		status, p.Problem = http.StatusTooManyRequests, wait.Error()
		header["Retry-After"] = wait.seconds()
	default:
		return Answer{}, problem
	}
	var err error
	if p.Flash, err = Flash.Take(ctx, s); err != nil { // at most one request gets it
		return Answer{}, err
	}
	p.User = s.Owner()
	p.Admin = a.Users.IsAdmin(p.User)
	body, err := render(name, p)
	return Answer{status, header, body}, err
}

// RenderError makes the page for a request that failed. It tells nothing about the
// cause.
func (a *App) RenderError(status int) Answer {
	p := Page{Nobody: true, Title: "That did not work", Problem: strings.TrimSuffix(http.StatusText(status), ".") + "."}
	switch status {
	case http.StatusForbidden:
		p.Problem = "This request came from another site, so nothing was changed."
	case http.StatusNotFound:
		p.Title, p.Problem = "Not found", "There is no such page."
	case http.StatusServiceUnavailable:
		p.Problem = "The server can't reach its sessions right now. Please try again in a moment."
	}
	body, err := render("error", p)
	if err != nil {
		body = []byte(p.Problem)
	}
	return Answer{status, headers(), body}
}

func render(name string, p Page) ([]byte, error) {
	var b bytes.Buffer
	err := pages[name].ExecuteTemplate(&b, "base", p)
	return b.Bytes(), err
}

// headers are those of every page. None is kept by the browser, so that the back
// button shows nothing after a logout.
func headers() map[string]string {
	return map[string]string{
		"Content-Type":            "text/html; charset=utf-8",
		"Cache-Control":           "no-store",
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"Referrer-Policy":         "same-origin",
		"X-Content-Type-Options":  "nosniff",
	}
}

// ago is how long something is past, as people say it.
func ago(t time.Time) string {
	d := time.Since(t)
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / unit.length); n == 1 {
			return "1 " + unit.name + " ago"
		} else if n > 1 {
			return strconv.Itoa(n) + " " + unit.name + "s ago"
		}
	}
	return "just now"
}

// Browser is what people call the browser and the system that a User-Agent field
// names.
func Browser(userAgent string) string {
	first := func(of ...[2]string) string {
		for _, o := range of {
			if strings.Contains(userAgent, o[0]) {
				return o[1]
			}
		}
		return ""
	}
	browser := first([2]string{"Edg/", "Edge"}, [2]string{"OPR/", "Opera"}, [2]string{"Firefox/", "Firefox"},
		[2]string{"Chrome/", "Chrome"}, [2]string{"Safari/", "Safari"}, [2]string{"curl/", "curl"})
	system := first([2]string{"iPhone", "iPhone"}, [2]string{"iPad", "iPad"}, [2]string{"Android", "Android"},
		[2]string{"Windows", "Windows"}, [2]string{"Mac OS X", "Mac"}, [2]string{"Linux", "Linux"})
	switch {
	case browser == "" && system == "":
		return "An unknown browser"
	case system == "":
		return browser
	case browser == "":
		return "A browser on " + system
	}
	return browser + " on " + system
}
