package record

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// benchRecord is a record of about size bytes with that many values.
func benchRecord(b *testing.B, key string, size, n int) []byte {
	b.Helper()
	r := Record{Created: 1_700_000_000_000}
	var members []jsontext.Member
	each := (size-80)/n - len(`"value000":"",`)
	for i := range n {
		members = append(members, jsontext.Member{Name: fmt.Appendf(nil, "value%03d", i), Raw: jsontext.AppendString(nil, strings.Repeat("x", each))})
	}
	r.Fields = Listed(members)
	data, err := r.payload(key, false)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// benchSizes are an ordinary session and a big one.
var benchSizes = []struct {
	name         string
	bytes, count int
}{{"size=250/values=4", 250, 4}, {"size=16KiB/values=200", 16 << 10, 200}}

func BenchmarkParseRecord(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			data := benchRecord(b, "key", size.bytes, size.count)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if r, err := Parse(data, "key"); err != nil || r.buf == nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParseAny reads a record that somebody else has written.
func BenchmarkParseAny(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			data := benchRecord(b, "key", size.bytes, size.count)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if r, err := parseAny(data, "key", false); err != nil || len(r.found.all()) != size.count {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeRecord(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			data := benchRecord(b, "key", size.bytes, size.count)
			r, err := Parse(data, "key")
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if out, err := r.payload("key", false); err != nil || len(out) != len(data) {
					b.Fatal(err)
				}
			}
		})
	}
}
