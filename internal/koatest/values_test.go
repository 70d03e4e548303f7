package koatest_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
)

// many is how often a test of random input runs: 10,000 times with SOAK=1.
func many() int { return soak.Longer(300, 10_000) }

// TestT11Values: each side stores the same bytes for the same values, reads
// those of the other, and leaves them as they are when it changes another
// value.
func TestT11Values(t *testing.T) {
	t.Parallel()
	koa, ours, redis := pair(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const workers = 4
	var wg sync.WaitGroup
	for w := range uint64(workers) {
		r := random{rand.New(rand.NewPCG(seed, w))}
		b := newBrowser(t)
		wg.Go(func() {
			for range many() / workers {
				if !roundTrip(t, b, koa, ours.side, redis, r) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// roundTrip compares one random session that began on each side.
func roundTrip(t *testing.T, like *browser, koa, ours *side, redis *servers.RedisServer, r random) (ok bool) {
	// What JSON.parse reads and encoding/json would not write: only for the
	// session that begins on Koa.
	foreign := r.IntN(4) == 0
	values := r.session(foreign)
	const blank = `{"cookie":{"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000},`
	var first string
	for _, way := range [][2]*side{{koa, ours}, {ours, koa}} {
		if foreign && way[0] != koa {
			break
		}
		var got [4]string
		b := &browser{t: like.t, client: like.client, jar: new(jartest.Browser)}
		for i, ask := range []struct {
			of         *side
			path, body string
		}{{way[0], "/json", values}, {way[1], "/dump", ""}, {way[1], "/get", ""}, {way[0], "/dump", ""}} {
			res, body, err := b.do(ask.of, ask.path, ask.body)
			if err != nil || res.StatusCode != 200 {
				t.Errorf("%s of %s: %v %s, with %s", ask.path, ask.of.name, err, body, values)
				return false
			}
			if got[i] = body; ask.path != "/dump" {
				record, _ := redis.Try("GET", b.key())
				got[i], _ = record.(string)
			}
		}
		if first == "" {
			first = got[0]
		}
		inner := strings.TrimSuffix(strings.TrimPrefix(first, blank), "}")
		want := [4]string{first, "{" + inner + "}", blank + inner + `,"count":1}`, "{" + inner + `,"count":1}`}
		if got != want {
			t.Errorf("begun on %s with\n%s\nthere are\n%s\nwant\n%s", way[0].name, values, strings.Join(got[:], "\n"), strings.Join(want[:], "\n"))
			return false
		}
	}
	return true
}

// random makes JSON.
type random struct{ *rand.Rand }

// session returns the text of an object. Its names do not begin with a digit:
// JavaScript would sort them. foreign text may have what Go's strings and
// numbers can't be, or are written as otherwise.
func (r random) session(foreign bool) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range 1 + r.IntN(6) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(encode(r.name(i)) + ":" + encode(r.value(3)))
	}
	if foreign {
		b.WriteString([]string{
			`,"lone":"\ud83d \ude00\ud800"`, `,"zero":-0`, `,"exact":12345678901234567890123`,
			`,"forms":[1.0,1E3,0.10e-1,1e400]`, `,"escapes":"\u0041\/\u2028\u007f\u00e4"`,
			`,"order":{"b":1,"a":{"2":0,"1":0}}`, `,"twice":{"a":1,"b":2,"a":3}`, ` , "blanks" : [ 1 , { } ] `,
		}[r.IntN(8)])
	}
	b.WriteByte('}')
	return b.String()
}

// name returns one that differs from those of other i.
func (r random) name(i int) string { return r.text(6, "v") + string(rune('a'+i)) }

func (r random) value(depth int) any {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch r.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return r.number()
	case 3:
		return float64(r.IntN(2_000) - 1_000)
	case 4:
		return r.text(5, "")
	case 5:
		return r.text(200, "")
	case 6:
		list := make([]any, r.IntN(5))
		for i := range list {
			list[i] = r.value(depth - 1)
		}
		return list
	default:
		object := make(map[string]any)
		for i := range r.IntN(5) {
			object[r.name(i)] = r.value(depth - 1)
		}
		return object
	}
}

// number returns any but -0, which JSON.stringify writes as 0.
func (r random) number() float64 {
	f := math.Float64frombits(r.Uint64())
	switch r.IntN(3) {
	case 0:
		f = math.Round(r.NormFloat64()*1e6) / 1e3
	case 1:
		f = math.Pow10(r.IntN(60)-30) * float64(r.IntN(1000))
	}
	if math.IsNaN(f) || math.IsInf(f, 0) || f == 0 {
		return 0
	}
	return f
}

// text returns some characters, of those that JSON writers disagree about and
// of all the others.
func (r random) text(most int, text string) string {
	odd := []rune("\"\\/<>&'\x00\x08\x0b\x0c\n\r\t\x1f\x7f\u0080\u00a0\u2028\u2029\ufeff\ufffd\uffff😀ü€")
	for range r.IntN(most + 1) {
		c := rune('a' + r.IntN(26))
		switch r.IntN(4) {
		case 0:
			c = odd[r.IntN(len(odd))]
		case 1:
			c = r.Int32N(0x110000)
		}
		text += string(c) // U+FFFD for half a surrogate pair
	}
	return text
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only for what JSON does not have
	}
	return string(text)
}
