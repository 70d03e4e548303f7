package e2e

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// lines changes each Set-Cookie line; "" drops it.
func lines(change func(line string) string) func(h http.Header) {
	return func(h http.Header) {
		var kept []string
		for _, l := range h["Set-Cookie"] {
			if l = change(l); l != "" {
				kept = append(kept, l)
			}
		}
		if h.Del("Set-Cookie"); len(kept) > 0 {
			h["Set-Cookie"] = kept
		}
	}
}

func without(attribute string) plant {
	return plant{response: lines(func(l string) string {
		var kept []string
		for part := range strings.SplitSeq(l, "; ") {
			if name, _, _ := strings.Cut(part, "="); !strings.EqualFold(name, attribute) {
				kept = append(kept, part)
			}
		}
		return strings.Join(kept, "; ")
	})}
}

func removal(line string) bool { return strings.Contains(line, " 1970 ") }

// Each story is able to fail: faults that were planted are found.
func TestPlanted(t *testing.T) {
	foreign := func(r *http.Request) { // looks like one of the site itself
		r.Header.Del("Sec-Fetch-Site")
		r.Header.Del("Origin")
	}
	for _, c := range []struct {
		fault string
		conf  conf
		plant plant
		story func(s *scene)
		found string
	}{
		{"no Secure", conf{tls: true}, without("secure"), stored, "who is logged in: , want ada"}, // the browser refuses __Host- without it
		{"no HttpOnly", conf{}, without("httponly"), stored, "HttpOnly false"},
		{"no SameSite", conf{tls: true}, plant{response: lines(func(l string) string {
			return strings.ReplaceAll(l, "samesite=lax", "samesite=none")
		})}, otherSite, "a form of another site brings the cookie along"},
		{"a cookie for visitors", conf{}, plant{response: func(h http.Header) { h.Add("Set-Cookie", "sid=x; path=/") }}, firstVisit, "cookies: sid, want"},
		{"removals that are not sent", conf{}, plant{response: lines(func(l string) string {
			if removal(l) {
				return ""
			}
			return l
		})}, twoTabs, "cookies after the logout"},
		{"removals without the path", conf{host: "site.test"}, plant{response: lines(func(l string) string {
			if removal(l) {
				return strings.Replace(l, "path=/; ", "", 1)
			}
			return l
		})}, newPath, "paths of the cookies"},
		{"the former domain is not removed", conf{host: "www.site.test"}, plant{response: lines(func(l string) string {
			if removal(l) && strings.Contains(l, "domain=") {
				return ""
			}
			return l
		})}, newDomain, "cookies then"},
		{"no life of the cookie", conf{}, without("expires"), remembered, "a cookie until the browser closes: true"},
		{"a life that nobody asked for", conf{}, plant{response: lines(func(l string) string {
			if removal(l) || strings.Contains(l, "expires=") {
				return l
			}
			return l + "; max-age=3600"
		})}, remembered, "with the box false"},
		{"pages that are kept", conf{}, plant{response: func(h http.Header) {
			h.Del("Clear-Site-Data")
			h.Set("Cache-Control", "max-age=3600")
		}}, backAfterLogout, "the back button shows"},
		{"no protection against other sites", conf{}, plant{request: foreign}, otherSite, "a form of another site"},
		{"no session for the second of two clicks", conf{}, plant{request: failLogin(func(n int) bool { return n == 3 })}, doubleClick, "the page after the login"},
		{"the answer that was lost leaves no second way", conf{}, plant{request: failLogin(func(n int) bool { return n > 2 })}, lostAnswer, "the page after the login: 403"},
		{"one name for both schemes", conf{tls: true, options: func(o *core.Options) { o.Name = "sid" }}, plant{}, hostPrefix, "cookies: sid sid.sig"},
		{"no Secure over plain HTTP", conf{host: "site.test"}, without("secure"), secureOverHTTP, "who is logged in: ada, want "},
		{"no Secure beside plain HTTP", conf{host: "site.test"}, without("secure"), httpBesideHTTPS, "who is logged in: , want ada"},
		{"Lax in place of Strict", conf{tls: true, options: strict}, plant{response: lines(func(l string) string {
			return strings.ReplaceAll(l, "samesite=strict", "samesite=lax")
		})}, strictLink, "who follows a link: ada, want "},
		{"no priority", conf{tls: true, host: "site.test"}, without("priority"), attributes, "priority low: "},
		{"another domain", conf{tls: true, host: "site.test"}, without("domain"), attributes, "domain: "},
		{"not partitioned", conf{tls: true, host: "site.test"}, without("partitioned"), attributes, "partitioned: "},
		{"pages that are kept over a login", conf{}, plant{response: func(h http.Header) { h.Set("Cache-Control", "max-age=3600") }}, backAfterLogin, "the page before was kept: true, want false"},
		{"no style sheet", conf{}, plant{request: func(r *http.Request) {
			if r.URL.Path == "/static/style.css" {
				r.URL.Path = "/static/nothing"
			}
		}}, pages, `first, dark: "Skip to the content" has a contrast of`},
		{"a new password that the others don't notice", conf{}, plant{request: func(r *http.Request) {
			if r.Method == "POST" && r.URL.Path == "/password" {
				r.Header.Set("Sec-Fetch-Site", "cross-site")
			}
		}}, newPassword, "the page after: 403"},
		{"other devices stay", conf{}, plant{request: func(r *http.Request) {
			if r.URL.Path == "/devices/end" {
				r.Body = http.NoBody // no handle
				r.ContentLength = 0
			}
		}}, devices, "devices then: 2, want 1"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			c.conf.plant, c.conf.patience = c.plant, 20*time.Second
			err := play(t, c.conf, c.story)
			if err == nil {
				t.Fatal("not found")
			}
			if c.found == "" || !strings.Contains(err.Error(), c.found) {
				t.Errorf("found something else: %v", err)
			}
		})
	}
}

// failLogin makes some logins look like those of another site. They are counted from
// one, in the order in which they come.
func failLogin(which func(n int) bool) func(r *http.Request) {
	var n atomic.Int32
	return func(r *http.Request) {
		if r.Method == "POST" && r.URL.Path == "/login" {
			if which(int(n.Add(1))) {
				r.Header.Set("Sec-Fetch-Site", "cross-site")
			}
		}
	}
}
