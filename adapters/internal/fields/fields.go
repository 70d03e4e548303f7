// Package fields names header fields for all adapters.
package fields

// OfBody returns the fields that describe the handler's response and would be
// wrong for an error, or let a cache keep it. The caller doesn't change them.
func OfBody() []string { return ofBody[:] }

var ofBody = [...]string{
	"Accept-Ranges", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Location",
	"Content-Range", "Content-Type", "Digest", "Etag", "Expires", "Last-Modified", "Location", "Refresh", "Trailer",
}

// MaxCookie is the length beyond which an adapter may leave out the rest of a
// Cookie field; see core.Jar.
const MaxCookie = 32 << 10

// ForSharedCaches reports whether the field gives orders to shared caches alone,
// such as those of a CDN. They beat Cache-Control there. RFC 9213 names them
// NAME-Cache-Control; the others are older.
func ForSharedCaches[T string | []byte](name T) bool {
	switch len(name) {
	case len(edge):
		return endsWith(name, edge)
	case len(accel):
		return endsWith(name, accel) || endsWith(name, targeted)
	case len(surrogate):
		return endsWith(name, surrogate) || endsWith(name, targeted)
	}
	return len(name) > len(targeted) && endsWith(name, targeted)
}

const (
	targeted  = "-cache-control"
	edge      = "edge-control"
	accel     = "x-accel-expires"
	surrogate = "surrogate-control"
)

// endsWith compares without regard to case. suffix is in lower case.
func endsWith[T string | []byte](name T, suffix string) bool {
	at := len(name) - len(suffix)
	if at < 0 {
		return false
	}
	for i := range len(suffix) {
		if name[at+i]|0x20 != suffix[i] {
			return false
		}
	}
	return true
}
