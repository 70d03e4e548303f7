package jartest

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBrowser(t *testing.T) {
	for name, c := range map[string]struct {
		tls   bool
		from  string
		lines []string
		ask   string
		want  string
	}{
		"keeps and sends":      {from: "/", lines: []string{"a=1", "b=2; path=/"}, ask: "/", want: "a=1; b=2"},
		"replaces in place":    {from: "/", lines: []string{"a=1", "b=2", "a=3"}, ask: "/", want: "a=3; b=2"},
		"removes by expires":   {from: "/", lines: []string{"a=1", "a=; expires=Thu, 01 Jan 1970 00:00:00 GMT"}, ask: "/", want: ""},
		"removes by max-age":   {from: "/", lines: []string{"a=1", "a=1; Max-Age=0; expires=Fri, 01 Jan 2999 00:00:00 GMT"}, ask: "/", want: ""},
		"other path remains":   {from: "/", lines: []string{"a=1; path=/x", "a=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT"}, ask: "/x", want: "a=1"},
		"other domain remains": {from: "/", lines: []string{"a=1; domain=example.com", "a=; expires=Thu, 01 Jan 1970 00:00:00 GMT"}, ask: "/", want: "a=1"},
		"path boundary":        {from: "/", lines: []string{"a=1; path=/x"}, ask: "/xy", want: ""},
		"below the path":       {from: "/", lines: []string{"a=1; path=/x"}, ask: "/x/y?z", want: "a=1"},
		"longer path first":    {from: "/", lines: []string{"a=1; path=/", "a=2; path=/x"}, ask: "/x", want: "a=2; a=1"},
		"default path":         {from: "/x/y", lines: []string{"a=1"}, ask: "/y", want: ""},
		"secure on plain":      {from: "/", lines: []string{"a=1; secure"}, ask: "/", want: ""},
		"secure on TLS":        {tls: true, from: "/", lines: []string{"a=1; secure"}, ask: "/", want: "a=1"},
		"no name":              {from: "/", lines: []string{"=1", "b", ""}, ask: "/", want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := Browser{TLS: c.tls}
			b.Take(c.from, c.lines...)
			if got := b.Cookie(c.ask); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestBrowserTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Browser
		b.Take("/", "a=1; expires="+time.Now().UTC().Add(time.Hour).Format("Mon, 02 Jan 2006 15:04:05 GMT"))
		time.Sleep(time.Hour - time.Second)
		if got := b.Cookie("/"); got != "a=1" {
			t.Errorf("one second before: %q", got)
		}
		time.Sleep(time.Second)
		if got := b.Cookie("/"); got != "" {
			t.Errorf("at its end: %q", got)
		}
	})
}
