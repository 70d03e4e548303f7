// Package golden replays what a real Koa app with koa-generic-session,
// koa-redis and Redis was seen to do, request by request, against
// core.KoaCompat. Tests import it: the core's with a jar in memory, each
// adapter's with its real server, that of the Redis store with a real Redis.
//
// Where we differ on purpose stands in deviations; everything else must be
// equal, byte for byte: body, Set-Cookie lines, keys, records and their ttl.
package golden

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
)

// A Server brings the recorded requests to an [App].
type Server struct {
	// Serve runs app until the test ends: its managers and below them its
	// handler. It returns what makes a request. [InMemory] is one.
	Serve func(t *testing.T, app *App) func(Request) Response
	// HandlerErrors says that handlers can fail. Without it a handler answers
	// its error like anything else.
	HandlerErrors bool
	// Backend makes what the sessions of a vector are kept in, until its test
	// ends. Without it that is a memory store, and all happens within a bubble
	// of testing/synctest, since the recorded clock stands still. With it time
	// is real, and there is one vector at a time.
	Backend func(t *testing.T) Backend
	// PlainStore takes from the store all that it can do beyond a core.Store.
	PlainStore bool
}

// A Request is one of the recording.
type Request struct {
	Target string
	Cookie string // none if empty
}

// A Response is what came of it.
type Response struct {
	Body       string
	SetCookies []string
	Failed     bool  // in place of the app's answer
	Oops       bool  // Failed with [ErrOops]
	Err        error // that it failed with, nil if nobody knows
}

// A deviation is where we differ from the recording on purpose. Members that
// are nil are as recorded; the others are the exact lines instead.
type deviation struct {
	vector string
	step   int // from 1
	why    string

	setCookie []string
	writes    []string // "setex KEY" and "del KEY", in order
	values    []string // of all keys, in the order of the keys
	storeWins bool     // not the handler's error is answered, but the store's
}

func (s *Server) deviations() []deviation {
	const (
		pair    = "koa.sid=frozen-sid-000000000000000000001; path=/; expires=Fri, 02 Jan 2026 00:00:00 GMT; httponly"
		pairSig = "koa.sid.sig=rtYciksRYu1N4DLMWDT8aPbGErk; path=/; expires=Fri, 02 Jan 2026 00:00:00 GMT; httponly"
	)
	all := []deviation{
		{
			vector: "key-rotation-read", step: 2,
			why:       "the whole pair is sent again with all attributes, where the original sends a .sig that dies with the browser (K12)",
			setCookie: []string{pair, pairSig},
		},
		{
			vector: "key-rotation-no-overwrite", step: 2,
			why:       "as above; and the save has sent the pair already (K12)",
			setCookie: []string{pair, pairSig},
		},
		{
			vector: "save-session", step: 2,
			why:    "nothing has changed since the Save, so it is not stored once more at the end (K29)",
			writes: []string{"setex koa:sess:frozen-sid-000000000000000000001"},
		},
		{
			vector: "cookie-samesite-true", step: 1,
			why:    "SameSiteStrict stands for the original's true and its 'strict', and is stored as the latter, which means the same to it (K19)",
			values: []string{`{"cookie":{"sameSite":"strict","httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000},"count":1}`},
		},
	}
	if !s.HandlerErrors {
		all = append(all, deviation{
			vector: "store-set-error", step: 3,
			why:       "the handler's error is a response like any other here, and gives way to the store's (K41)",
			storeWins: true,
		})
	}
	return all
}

// Run replays the recording in file.
func Run(t *testing.T, file string, s Server) {
	used := 0
	for _, v := range read(t, file) {
		shown, ok := rules[v.Name]
		if !ok {
			t.Errorf("the recording has an unknown vector %s", v.Name)
		}
		for _, d := range s.deviations() {
			if d.vector == v.Name && d.step <= len(v.Steps) {
				used++
			}
		}
		t.Run(shown+" "+v.Name, func(t *testing.T) {
			var differences [][]string
			if s.Backend != nil {
				differences = s.replay(t, &v)
			} else {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { differences = s.replay(t, &v) })
			}
			for i, step := range v.Steps {
				for _, d := range differences[i] {
					t.Errorf("step %d, %s %s:\n%s", i+1, step.Request.PathDecoded, step.Note, d)
				}
			}
		})
	}
	if want := len(s.deviations()); used != want {
		t.Errorf("%d deviations name a step of the recording, of %d", used, want)
	}
}

// replay runs the steps of a vector and returns what differs in each.
func (s *Server) replay(t *testing.T, v *vector) [][]string {
	if v.Clock != "frozen" {
		t.Fatalf("the clock is %q", v.Clock)
	}
	// Nothing is made before the time has come: a server may look around every
	// few seconds.
	var clock clock
	backend := newMemory
	if s.Backend != nil {
		clock.start(&v.Steps[0])
		backend = s.Backend
	} else {
		clock.await(&v.Steps[0])
	}
	app := open(t, v, backend(t), s.PlainStore)
	app.clock = clock
	app.seed(v.Steps[0].Before)
	send := s.Serve(t, app)
	differences := make([][]string, len(v.Steps))
	for i := range v.Steps {
		step := &v.Steps[i]
		app.clock.await(step)
		if s.Backend != nil {
			time.Sleep(pause)
		}
		differ := func(format string, a ...any) {
			differences[i] = append(differences[i], fmt.Sprintf(format, a...))
		}
		app.step(step, s.expect(v.Name, i+1, step, differ), send, differ)
	}
	return differences
}

// pause between two steps makes a difference to a ttl that should have begun
// again, and has not.
const pause = 3 * time.Millisecond

// An expectation is what a step must come to.
type expectation struct {
	setCookie []string
	writes    []string
	after     []Record
	oops      bool
}

// expect is the recording with the deviation of this step, if there is one.
// One that says what the recording says, too, is an error.
func (s *Server) expect(vector string, n int, step *step, differ func(string, ...any)) expectation {
	want := expectation{
		setCookie: step.Response.SetCookie,
		after:     whole(step.After),
		oops:      step.Response.Body == ErrOops.Error(),
	}
	for _, c := range step.Commands {
		if c[0] != "get" {
			want.writes = append(want.writes, c[0]+" "+c[1])
		}
	}
	for _, d := range s.deviations() {
		if d.vector != vector || d.step != n {
			continue
		}
		same := !d.storeWins || !want.oops
		want.oops = want.oops && !d.storeWins
		if d.setCookie != nil {
			same = same && slices.Equal(want.setCookie, d.setCookie)
			want.setCookie = d.setCookie
		}
		if d.writes != nil {
			same = same && slices.Equal(want.writes, d.writes)
			want.writes = d.writes
		}
		for i, value := range d.values {
			same = same && want.after[i].Value == value
			want.after[i].Value = value
		}
		if same {
			differ("the recording says the same, though: %s", d.why)
		}
	}
	return want
}

// seed stores what the recording began with.
func (a *App) seed(records []Record) {
	for _, r := range whole(records) {
		from := time.Now()
		a.backend.Put(r)
		a.clock.wrote(r.Key, span{from, time.Now()})
	}
}

// whole returns records with what was left of the ttl rounded up to seconds,
// as setex counts: in Redis the clock ran a few milliseconds on.
func whole(records []Record) []Record {
	records = slices.Clone(records)
	for i := range records {
		if r := &records[i]; r.PTTL >= 0 {
			r.PTTL = (r.PTTL + 999) / 1000 * 1000
		}
	}
	return records
}

// step makes the request of a step and compares all that comes of it.
func (a *App) step(step *step, want expectation, send func(Request) Response, differ func(string, ...any)) {
	a.ids, a.calls, a.told, a.failed = step.newIDs(), nil, nil, false
	if step.Request.Method != "GET" {
		differ("the method is %s", step.Request.Method)
	}
	for name, value := range step.Request.Headers {
		if name != "x-forwarded-proto" || value != "https" {
			differ("the recording has an unknown field %s: %s", name, value)
		}
	}
	if a.TLS != (len(step.Request.Headers) > 0) {
		differ("TLS only for some requests")
	}
	request := Request{Target: a.clock.target(step.Request.Path)}
	if step.Request.Cookie != nil {
		request.Cookie = *step.Request.Cookie
	}
	target, err := url.ParseRequestURI(request.Target)
	if err != nil {
		differ("%v", err)
		return
	}
	a.query = target.Query()

	a.backend.RefuseWrites(step.RefusesWrites)
	from := time.Now()
	got := send(request)
	a.clock.request = span{from, time.Now()}
	after, now := a.backend.Records(), time.Now()
	a.backend.RefuseWrites(false)
	if !step.RefusesWrites {
		for _, c := range a.calls {
			if key, ok := strings.CutPrefix(c, "setex "); ok {
				a.clock.wrote(key, a.clock.request)
			}
		}
	}

	switch failed := step.Response.Status >= 500; {
	case failed != got.Failed:
		differ("it fails: %t %q\nthe original: %t %q", got.Failed, got.Body, failed, step.Response.Body)
	case failed && got.Oops != want.oops:
		differ("the handler's error is answered: %t %q\nthe original's: %q", got.Oops, got.Body, step.Response.Body)
	case !failed && got.Body != step.Response.Body:
		differ("the body is %q\nthe original's %q", got.Body, step.Response.Body)
	}
	if lines := a.clock.lines(got.SetCookies, want.setCookie, want.after); !slices.Equal(lines, want.setCookie) {
		differ("the cookies are\n%s\nthe original's\n%s", strings.Join(lines, "\n"), strings.Join(want.setCookie, "\n"))
	}
	a.compareCalls(step, want.writes, differ)
	if after = a.clock.records(after, want.after, now); !slices.Equal(after, want.after) {
		differ("the store has\n%+v\nthe original's\n%+v", after, want.after)
	}
	a.compareErrors(step, got.Err, differ)
	if len(a.ids) > 0 {
		differ("nobody wanted the ids %q", a.ids)
	}
}

func (a *App) compareCalls(step *step, wantWrites []string, differ func(string, ...any)) {
	var gets, writes, wantGets []string
	for _, c := range step.Commands {
		if c[0] == "get" {
			wantGets = append(wantGets, c[0]+" "+c[1])
		}
	}
	for i, c := range a.calls {
		key, isGet := strings.CutPrefix(c, "get ")
		switch {
		case !isGet:
			writes = append(writes, c)
		case i+1 < len(a.calls) && a.calls[i+1] == "setex "+key && !slices.Contains(wantGets, c):
			// An id of a generator is looked up before it is used (W10).
		default:
			gets = append(gets, c)
		}
	}
	// How often a session is asked for is each side's own business; that it is,
	// and which, is not.
	if gets, wantGets = slices.Compact(gets), slices.Compact(wantGets); !slices.Equal(gets, wantGets) {
		differ("the store was asked %q\nthe original's %q", gets, wantGets)
	}
	if !slices.Equal(writes, wantWrites) {
		differ("the store was told %q\nthe original's %q", writes, wantWrites)
	}
}

// compareErrors looks at what the hook was told: what the original told its
// errorHandler, or the app beside the handler's own error. Each error of the
// store, and err, which is the answer, has what Redis said and the class of it.
func (a *App) compareErrors(step *step, err error, differ func(string, ...any)) {
	var told, want []string
	if a.swallow || a.failed { // else it is the answer
		for _, e := range a.told {
			told = append(told, string(e.Op))
		}
	}
	for _, c := range step.HandlerCalls {
		want = append(want, c.Type)
	}
	for range step.AppErrors {
		want = append(want, string(core.OpSet))
	}
	if !slices.Equal(told, want) {
		differ("the hook saw %q\nthe original's %q", told, want)
	}

	var all []error
	for _, e := range a.told {
		all = append(all, e)
	}
	if err != nil && err != ErrOops {
		all = append(all, err)
	}
	text := step.failure()
	for _, err := range all {
		if text == "" || !strings.Contains(err.Error(), text) || !errors.Is(err, classOf(text)) {
			differ("the error is %q\nthe original's %q, which is to be a %v", err, text, classOf(text))
		}
	}
}
