// Package target reads the request target, the middle of the request line.
package target

import "strings"

// Path returns the path in a request target, as it stands there: still encoded,
// nothing cleaned, without the query.
func Path(target string) string {
	if !strings.HasPrefix(target, "/") {
		// The form that clients use towards a proxy: scheme and host first.
		if _, rest, ok := strings.Cut(target, "://"); ok {
			i := strings.IndexAny(rest, "/?")
			if i < 0 || rest[i] == '?' {
				return "/"
			}
			target = rest[i:]
		}
	}
	path, _, _ := strings.Cut(target, "?")
	return path
}
