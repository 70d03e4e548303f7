// Package fields names header fields for all adapters.
package fields

// OfBody returns the fields that describe the handler's response and would be
// wrong for an error, or let a cache keep it. The caller doesn't change them.
func OfBody() []string { return ofBody[:] }

var ofBody = [...]string{
	"Accept-Ranges", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Location",
	"Content-Range", "Content-Type", "Digest", "Etag", "Expires", "Last-Modified", "Location", "Refresh", "Trailer",
}
