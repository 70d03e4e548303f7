package adaptertest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// LongCookies are requests with Cookie fields of about that many bytes, as nobody
// sends them who means well.
func LongCookies(size int) map[string]string {
	fill := func(first, piece string) string { return first + strings.Repeat(piece, size/len(piece)) }
	all := map[string]string{
		"folded lines":            fill("Cookie: a", "\r\n b"),
		"folded lines with pairs": fill("Cookie: a=b;", "\r\n\tc=d;"),
		"folded lines of blanks":  fill("Cookie: a", "\r\n     "),
		"many fields":             fill("X-First: 1", "\r\nCookie: a=b"),
		"one long value":          fill("Cookie: a=", "b"),
		"many pairs":              fill("Cookie: a=b", "; a=b"),
		"our name":                fill("Cookie: a=b", "; koa.sid=x"),
		"our name in folds":       fill("Cookie: a=b;", "\r\n koa.sid.next=x;"),
		"semicolons":              fill("Cookie: ", ";"),
		"folds of another field":  fill("X-Other: a", "\r\n Cookie: b") + "\r\nCookie: a=b",
	}
	for name, fields := range all {
		all[name] = "GET / HTTP/1.1\r\nHost: example.com\r\n" + fields + "\r\n\r\n"
	}
	return all
}

// LongCookieCosts fails if a request of LongCookies costs more memory than it may,
// or if that grows faster than the request. serve makes a handler ready that loads
// the session of the request.
func LongCookieCosts(t *testing.T, serve func(request string) (handle func())) {
	const least, most = 64 << 10, 1 << 20
	cost := func(request string) uint64 {
		handle := serve(request)
		handle() // what is made once
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		handle()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := LongCookies(least), LongCookies(most)
	for name := range large {
		t.Run("W19 "+name, func(t *testing.T) {
			few, many := cost(small[name]), cost(large[name])
			if many > 640<<10 || many > few*most/least+64<<10 {
				t.Errorf("1 MiB costs %d bytes, 64 KiB %d", many, few)
			}
		})
	}
}

// BenchmarkLongCookie measures the time over the size.
func BenchmarkLongCookie(b *testing.B, serve func(request string) (handle func())) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		for _, name := range []string{"folded lines", "many fields", "many pairs"} {
			b.Run(fmt.Sprintf("kind=%s/KiB=%d", strings.ReplaceAll(name, " ", "-"), size>>10), func(b *testing.B) {
				handle := serve(LongCookies(size)[name])
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					handle()
				}
			})
		}
	}
}
