package koatest_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/servers"
)

// A browser sends what its jar has, also the names that net/http's jar drops.
type browser struct {
	t      *testing.T
	client *http.Client
	jar    *jartest.Browser
	taken  []string // the Set-Cookie lines so far
}

func newBrowser(t *testing.T) *browser {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, client: &http.Client{Transport: transport, Timeout: 20 * time.Second}, jar: new(jartest.Browser)}
}

// copy is another one with the same cookies.
func (b *browser) copy() *browser {
	c := &browser{t: b.t, client: b.client, jar: new(jartest.Browser)}
	c.take("/", b.taken...)
	return c
}

func (b *browser) take(path string, lines ...string) {
	b.jar.Take(path, lines...)
	b.taken = append(b.taken, lines...)
}

// do sends a GET, or a POST if there is a body, and returns the response and
// its body.
func (b *browser) do(to *side, path, body string) (*http.Response, string, error) {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, to.base+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	if field := b.jar.Cookie(path); field != "" {
		req.Header.Set("Cookie", field)
	}
	res, err := b.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	b.take(path, res.Header["Set-Cookie"]...)
	return res, string(answer), err
}

// get wants path to answer with 200, and returns its body.
func (b *browser) get(from *side, path string) string { return b.post(from, path, "") }

func (b *browser) post(to *side, path, body string) string {
	b.t.Helper()
	res, answer, err := b.do(to, path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		b.t.Fatalf("%s of %s: %s: %s", path, to.name, res.Status, answer)
	}
	return answer
}

// wants asks for each path in turn: path, answer, path, answer.
func (b *browser) wants(from *side, pairs ...string) {
	b.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := b.get(from, pairs[i]); got != pairs[i+1] {
			b.t.Errorf("%s of %s answers %q, want %q", pairs[i], from.name, got, pairs[i+1])
		}
	}
}

// key is where the session of the default options is stored.
func (b *browser) key() string {
	if id, ok := b.jar.Value("/", "koa.sid"); ok {
		return "koa:sess:" + id
	}
	return ""
}

// An observer writes down what can be seen of a browser's way: every answer,
// every Set-Cookie line, and every session in Redis, with what differs each
// time (ids, signatures, dates) in a form that does not.
type observer struct {
	browser *browser
	redis   *servers.RedisServer
	name    string // of the cookie
	prefix  string // of the keys
	key     string // that signs
	// The original's expired pair lacks the cookie's attributes (K6): look at
	// it by its name only.
	expiredByName bool

	ids []string // in the order in which they were seen
}

// A sight is what was seen of one request.
type sight struct {
	text string
	ttls []span // of the sessions in the order of their ids
}

// A span of seconds has the ttl that was given in it.
type span struct{ from, to int64 }

func (s sight) equal(o sight) bool {
	return s.text == o.text && slices.EqualFunc(s.ttls, o.ttls, func(a, b span) bool { return a.from <= b.to && b.from <= a.to })
}

func (s sight) String() string { return fmt.Sprintf("%s\nttls %v", s.text, s.ttls) }

// untouched is the ttl, in seconds, that all sessions are given before a
// request: it is seen whether the request gives them another one.
const untouched = 77_777

func (o *observer) request(to *side, step step) (sight, error) {
	begin := time.Now()
	for _, id := range o.ids {
		if _, err := o.redis.Try("EXPIRE", o.prefix+id, fmt.Sprint(untouched)); err != nil {
			return sight{}, err
		}
	}
	res, body, err := o.browser.do(to, step.path, step.body)
	if err != nil {
		return sight{}, err
	}
	text := fmt.Sprintf("%s: %d %s\n", step.path, res.StatusCode, body)
	lines := res.Header["Set-Cookie"]
	for _, line := range lines {
		text += o.line(line, begin) + "\n"
	}
	for _, line := range lines {
		o.see(line)
	}
	o.see(body)
	var s sight
	for i, id := range o.ids {
		record, err := o.redis.Try("GET", o.prefix+id)
		if err != nil {
			return sight{}, err
		}
		left, err := o.redis.Try("PTTL", o.prefix+id)
		if err != nil {
			return sight{}, err
		}
		text += fmt.Sprintf("id%d in Redis: %v\n", i+1, record)
		ms := left.(int64)
		ttl := span{ms, ms} // none, or no such key
		if ms >= 0 {
			elapsed := time.Since(begin).Milliseconds() + 1
			ttl = span{(ms + 999) / 1000, (ms + elapsed) / 1000}
		}
		s.ttls = append(s.ttls, ttl)
	}
	for i, id := range o.ids {
		text = strings.ReplaceAll(text, id, fmt.Sprintf("id%d", i+1))
	}
	s.text = text
	return s, nil
}

var (
	anID    = regexp.MustCompile(`(?:^|=)([A-Za-z0-9_-]{32})(?:;|$)`)
	expires = regexp.MustCompile(`; expires=([^;]+)`)
)

// see looks for an id in a Set-Cookie line or in a body.
func (o *observer) see(text string) {
	if m := anID.FindStringSubmatch(text); m != nil && !slices.Contains(o.ids, m[1]) {
		o.ids = append(o.ids, m[1])
	}
}

// line is a Set-Cookie line with a good signature replaced by what is signed,
// and the date by the seconds until then, roughly: core's tests are exact.
func (o *observer) line(line string, now time.Time) string {
	pair, attributes, _ := strings.Cut(line, ";")
	if sig, ok := strings.CutPrefix(pair, o.name+".sig="); ok {
		values := []string{""}
		if id, ok := o.browser.jar.Value("/", o.name); ok {
			values = append(values, id)
		}
		for _, v := range values {
			if sig == sign(o.key, o.name+"="+v) {
				pair = o.name + ".sig=that of " + v
			}
		}
	}
	if o.expiredByName && strings.Contains(attributes, "1970") {
		return pair + " expired"
	}
	return expires.ReplaceAllStringFunc(pair+";"+attributes, func(s string) string {
		at, err := http.ParseTime(expires.FindStringSubmatch(s)[1])
		if err != nil || at.Unix() == 0 {
			return s
		}
		return fmt.Sprintf("; expires in about %v s", 10*math.Round(at.Sub(now).Seconds()/10))
	})
}

func sign(key, text string) string {
	mac := hmac.New(sha1.New, []byte(key))
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
