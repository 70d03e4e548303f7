package core

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Whatever a handler says, the field keeps shared caches out then, and a second look
// changes nothing.
func FuzzCacheControl(f *testing.F) {
	for _, s := range []string{"", "public", `max-age=60, x="a,b"`, "private=\"Set-Cookie\"", "no-store, must-understand", `x="a\", public`, "s-maxage = 3, PUBLIC"} {
		f.Add(s, "")
	}
	f.Add("public", "Sat, 01 Jan 2000 01:00:00 GMT")
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, field, expires string) {
		got := privateOnly(field, expires, now)
		if again := privateOnly(got, expires, now); again != got {
			t.Errorf("%q becomes %q and then %q", field, got, again)
		}
		var bare []string // the directives, those in a quoted value left out
		quoted, escaped := false, false
		unquoted := strings.Map(func(c rune) rune {
			switch {
			case escaped:
				escaped = false
				return 'x'
			case quoted && c == '\\':
				escaped = true
				return 'x'
			case c == '"':
				quoted = !quoted
				return '"'
			case quoted:
				return 'x'
			}
			return c
		}, got)
		if quoted {
			t.Errorf("%q becomes %q, in which a quote is open", field, got)
		}
		for directive := range strings.SplitSeq(unquoted, ",") {
			name, _, valued := strings.Cut(directive, "=")
			name = strings.ToLower(strings.Trim(name, " \t"))
			if slices.Contains([]string{"public", "s-maxage", "must-understand"}, name) || name == "private" && valued {
				t.Errorf("%q becomes %q, with %s", field, got, name)
			}
			if !valued {
				bare = append(bare, name)
			}
		}
		if !slices.Contains(bare, "private") && !slices.Contains(bare, "no-store") {
			t.Errorf("%q becomes %q", field, got)
		}
	})
}
