package core_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// The golden test replays what a real Koa app with koa-generic-session,
// koa-redis and Redis was seen to do, request by request, against KoaCompat.
// Where we differ on purpose stands in deviations; everything else must be
// equal, byte for byte.

// A deviation is where we differ from the recording on purpose. Members that
// are nil are as recorded; the others are the exact lines instead.
type deviation struct {
	vector string
	step   int // from 1
	rule   string
	why    string

	setCookie []string
	writes    []string // "setex KEY" and "del KEY", in order
	values    []string // of all keys, in the order of the keys
}

func deviations() []deviation {
	const (
		pair    = "koa.sid=frozen-sid-000000000000000000001; path=/; expires=Fri, 02 Jan 2026 00:00:00 GMT; httponly"
		pairSig = "koa.sid.sig=rtYciksRYu1N4DLMWDT8aPbGErk; path=/; expires=Fri, 02 Jan 2026 00:00:00 GMT; httponly"
	)
	return []deviation{
		{
			vector: "key-rotation-read", step: 2, rule: "K12",
			why:       "the whole pair is sent again with all attributes, where the original sends a .sig that dies with the browser",
			setCookie: []string{pair, pairSig},
		},
		{
			vector: "key-rotation-no-overwrite", step: 2, rule: "K12",
			why:       "as above; and the save has sent the pair already",
			setCookie: []string{pair, pairSig},
		},
		{
			vector: "save-session", step: 2, rule: "K29",
			why:    "nothing has changed since the Save, so it is not stored once more at the end",
			writes: []string{"setex koa:sess:frozen-sid-000000000000000000001"},
		},
		{
			vector: "cookie-samesite-true", step: 1, rule: "K19",
			why:    "SameSiteStrict stands for the original's true and its 'strict', and is stored as the latter, which means the same to it",
			values: []string{`{"cookie":{"sameSite":"strict","httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000},"count":1}`},
		},
	}
}

// The recording. Reading it refuses members that are not here, so that nothing
// in it goes unlooked at.
type goldenVector struct {
	Name        string
	Description string
	Clock       string
	Options     goldenOptions
	App         struct {
		Keys     []string
		Proxy    bool
		Catch    bool // of no meaning here: errors are compared as errors
		ForceSid bool
		Twice    *goldenOptions
	}
	Steps []goldenStep
}

type goldenOptions struct {
	Key        *string
	Prefix     *string
	TTL        any // a number or a goldenFunction
	Cookie     map[string]any
	Rolling    bool
	Defer      bool
	Valid      *goldenFunction
	BeforeSave *goldenFunction

	ErrorHandler *goldenFunction
}

type goldenFunction struct {
	Name string `json:"$function"`
}

type goldenStep struct {
	Note    string
	Request struct {
		Method      string
		Path        string
		PathDecoded string `json:"path_decoded"`
		Headers     map[string]string
		Cookie      *string
	}
	ClockMS  int64 `json:"clock_ms"`
	Response struct {
		Status     int
		Body       string
		SetCookie  []string `json:"set_cookie"`
		Signatures []any    // said by SetCookie, too
	}
	Before        []goldenKey `json:"redis_before"`
	Commands      [][]string  `json:"redis_commands"`
	After         []goldenKey `json:"redis_after"`
	RefusesWrites bool        `json:"redis_refuses_writes"`
	AppErrors     []any       `json:"app_errors"`
	HandlerCalls  []struct {
		Type, Message string
	} `json:"error_handler_calls"`
}

type goldenKey struct {
	Key   string
	Value string
	PTTL  int64 // ms, -1 for none
}

// listValue is how the recording shows a Redis list, which GET refuses.
const listValue = "(a list)"

func readGolden(t *testing.T) []goldenVector {
	t.Helper()
	text, err := os.ReadFile("testdata/koa-exchanges.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors json.RawMessage }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var vectors []goldenVector
	d := json.NewDecoder(bytes.NewReader(file.Vectors))
	d.DisallowUnknownFields()
	if err := d.Decode(&vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 37 {
		t.Fatalf("the recording has %d vectors, 37 are expected", len(vectors))
	}
	return vectors
}

// TestGolden replays the recording on a store with all abilities.
func TestGolden(t *testing.T) { testGolden(t, false) }

// TestGoldenPlainStore replays it on one that can only get, set and destroy.
func TestGoldenPlainStore(t *testing.T) { testGolden(t, true) }

func testGolden(t *testing.T, plain bool) {
	t.Parallel()
	used := 0
	for _, vector := range readGolden(t) {
		for i := range vector.Steps {
			for _, d := range deviations() {
				if d.vector == vector.Name && d.step == i+1 {
					used++
				}
			}
		}
		t.Run(vector.Name, func(t *testing.T) {
			t.Parallel()
			var differences [][]string
			synctest.Test(t, func(t *testing.T) { differences = replay(t, &vector, plain) })
			for i, step := range vector.Steps {
				t.Run(fmt.Sprintf("step %d: %s", i+1, cmp.Or(step.Note, step.Request.PathDecoded)), func(t *testing.T) {
					for _, d := range differences[i] {
						t.Error(d)
					}
				})
			}
		})
	}
	if used != len(deviations()) {
		t.Errorf("%d deviations name a step of the recording, of %d", used, len(deviations()))
	}
}

// replay runs the steps of a vector in a bubble and returns what differs in
// each.
func replay(t *testing.T, vector *goldenVector, plain bool) [][]string {
	if vector.Clock != "frozen" {
		t.Fatalf("the clock is %q", vector.Clock)
	}
	app := newGoldenApp(t, vector, plain)
	differences := make([][]string, len(vector.Steps))
	for i := range vector.Steps {
		step := &vector.Steps[i]
		time.Sleep(time.Until(time.UnixMilli(step.ClockMS)))
		if i == 0 {
			app.seed(step.Before)
		}
		differ := func(format string, a ...any) {
			differences[i] = append(differences[i], fmt.Sprintf(format, a...))
		}
		app.step(step, expect(vector.Name, i+1, step, differ), differ)
	}
	return differences
}

// An expectation is what a step must come to.
type expectation struct {
	setCookie []string
	writes    []string
	after     []goldenKey
}

// expect is the recording with the deviation of this step, if there is one.
// One that says what the recording says, too, is an error.
func expect(vector string, n int, step *goldenStep, differ func(string, ...any)) expectation {
	want := expectation{setCookie: step.Response.SetCookie, after: slices.Clone(step.After)}
	for _, c := range step.Commands {
		if c[0] != "get" {
			want.writes = append(want.writes, c[0]+" "+c[1])
		}
	}
	for _, d := range deviations() {
		if d.vector != vector || d.step != n {
			continue
		}
		same := true
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
			differ("%s: the deviation does not differ from the recording", d.rule)
		}
	}
	return want
}

// A goldenApp is the recorded Koa app with us in place of the original.
type goldenApp struct {
	ledger   *ledger
	manager  *core.Manager
	twice    *core.Manager // nil unless mounted twice
	proxy    bool
	deferred bool

	ids    []string // to be handed out in this step
	refuse bool     // the store refuses to write in this step
	calls  []string // of the store in this step, as Redis commands
	types  []string // of the errors that the hook was told of in this step
	hidden int      // save errors beside a handler's in this step
}

func newGoldenApp(t *testing.T, vector *goldenVector, plain bool) *goldenApp {
	t.Helper()
	app := &goldenApp{
		ledger:   &ledger{Store: memorystore.New(nil), ends: map[string]time.Time{}},
		proxy:    vector.App.Proxy,
		deferred: vector.Options.Defer,
	}
	t.Cleanup(func() { app.ledger.Close() })
	var store core.Store = app.ledger
	if plain {
		store = struct{ core.Store }{app.ledger}
	}
	faulty := storetest.NewFaulty(store)
	faulty.Before(app.before)
	open := func(given *goldenOptions) *core.Manager {
		o := given.options(t, vector.Name)
		for _, key := range vector.App.Keys {
			o.Keys = append(o.Keys, []byte(key))
		}
		o.NewID = app.newID
		if vector.App.ForceSid {
			o.InsecureIDFrom = func(_ context.Context, jar core.Jar) core.ID { return core.ID(query(jar, "sid")) }
		}
		if given.ErrorHandler.is(t, "errorHandler: swallow") {
			o.Hooks.Error = func(_ context.Context, e *core.Error) error {
				app.types = append(app.types, string(e.Op))
				return nil
			}
		}
		m, err := core.New(faulty, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	app.manager = open(&vector.Options)
	if vector.App.Twice != nil {
		app.twice = open(vector.App.Twice)
	}
	return app
}

// is reports whether f is there, which only name is allowed to be.
func (f *goldenFunction) is(t *testing.T, name string) bool {
	t.Helper()
	if f != nil && f.Name != name {
		t.Fatalf("the recording has an unknown function %q", f.Name)
	}
	return f != nil
}

// options translates the original's.
func (g *goldenOptions) options(t *testing.T, vector string) *core.Options {
	t.Helper()
	o := core.KoaCompat()
	if g.Key != nil {
		o.Name = *g.Key
	}
	if g.Prefix != nil {
		o.Prefix, o.NoPrefix = *g.Prefix, *g.Prefix == ""
	}
	switch ttl := g.TTL.(type) {
	case nil:
	case float64:
		o.TTL = millis(ttl)
	case map[string]any:
		if ttl["$function"] != "ttl: an hour if maxAge is null, else undefined" {
			t.Fatalf("the recording has an unknown ttl %v", ttl)
		}
		o.TTLFunc = func(s *core.Session) time.Duration {
			if s.Cookie().NoMaxAge {
				return time.Hour
			}
			return 0
		}
	default:
		t.Fatalf("the recording has an unknown ttl %v", ttl)
	}
	for name, v := range g.Cookie {
		if !cookieOption(&o.Cookie, name, v) {
			t.Fatalf("the recording has an unknown cookie option %s: %v", name, v)
		}
	}
	if vector == "cookie-maxage-undefined" {
		// What JSON can't show. A maxAge that is given is named first; here it
		// can only be given with a value.
		o.Cookie.MaxAge = core.DefaultMaxAge
	}
	o.Rolling, o.Defer = g.Rolling, g.Defer
	if g.Valid.is(t, "valid: unless ?valid=false") {
		o.Hooks.Valid = func(_ context.Context, jar core.Jar, _ *core.Session) (bool, error) {
			return query(jar, "valid") != "false", nil
		}
	}
	if g.BeforeSave.is(t, "beforeSave: session.path = request path") {
		o.Hooks.BeforeSave = func(_ context.Context, jar core.Jar, s *core.Session) error {
			return s.Set("path", jar.Path())
		}
	}
	return o
}

// cookieOption sets an option under its name in the original.
func cookieOption(c *core.CookieOptions, name string, v any) bool {
	flip := func(s *core.Switch) bool {
		on, ok := v.(bool)
		*s = core.Off
		if on {
			*s = core.On
		}
		return ok
	}
	ms, isNumber := v.(float64)
	switch name {
	case "maxAge":
		c.MaxAge, c.NoMaxAge = millis(ms), v == nil
		return isNumber || v == nil
	case "expires":
		c.Expires = time.UnixMilli(int64(ms))
		return isNumber
	case "httpOnly":
		return flip(&c.HTTPOnly)
	case "overwrite":
		return flip(&c.Overwrite)
	case "signed":
		return flip(&c.Signed)
	case "secure":
		return flip(&c.Secure)
	case "sameSite":
		c.SameSite = core.SameSiteStrict
		return v == true
	}
	return false
}

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func query(jar core.Jar, name string) string {
	u, err := url.Parse(jar.(*jartest.Jar).Target)
	if err != nil {
		panic(err)
	}
	return u.Query().Get(name)
}

// newID hands out the ids that the recording shows. The original made others
// that nobody got to see; ours are made when they are needed (K15). If one is
// needed that the recording does not show, it must not be seen here either.
func (a *goldenApp) newID(context.Context) (string, error) {
	if len(a.ids) == 0 {
		return "not-in-the-recording", nil
	}
	id := a.ids[0]
	a.ids = a.ids[1:]
	return id, nil
}

var frozenID = regexp.MustCompile(`frozen-sid-\d{21}`)

// newIDs are the ids that a step shows after the request and not before it.
func (s *goldenStep) newIDs() []string {
	before, after := "", s.Response.Body+strings.Join(s.Response.SetCookie, "\n")
	if s.Request.Cookie != nil {
		before = *s.Request.Cookie
	}
	for _, k := range s.Before {
		before += "\n" + k.Key
	}
	for _, k := range s.After {
		after += "\n" + k.Key
	}
	ids := frozenID.FindAllString(after, -1)
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return strings.Contains(before, id) })
}

// before stands between the core and the store.
func (a *goldenApp) before(_ context.Context, op storetest.Op, key string) error {
	command, ok := map[storetest.Op]string{
		storetest.OpGet: "get", storetest.OpGetVersion: "get",
		storetest.OpSet: "setex", storetest.OpSetVersion: "setex", storetest.OpTouch: "setex", // K24: touched, not rewritten
		storetest.OpDestroy: "del",
	}[op]
	if !ok {
		return fmt.Errorf("unknown operation %q", op)
	}
	a.calls = append(a.calls, command+" "+key)
	if command == "get" && a.ledger.value(key) == listValue {
		return fmt.Errorf("%w: WRONGTYPE Operation against a key holding the wrong kind of value", core.ErrCorrupt)
	}
	if command != "get" && a.refuse {
		return fmt.Errorf("%w: NOREPLICAS Not enough good replicas to write.", core.ErrRefused)
	}
	return nil
}

// seed stores what the recording began with.
func (a *goldenApp) seed(keys []goldenKey) {
	for _, k := range keys {
		ttl := max(0, time.Duration(seconds(k.PTTL))*time.Second)
		if err := a.ledger.Set(context.Background(), k.Key, []byte(k.Value), ttl); err != nil {
			panic(err)
		}
	}
}

// seconds rounds up, as setex counts and the recorded clock ran a few
// milliseconds on; -1 is none.
func seconds(pttl int64) int64 {
	if pttl < 0 {
		return -1
	}
	return (pttl + 999) / 1000
}

// step makes the request of a step and compares all that comes of it.
func (a *goldenApp) step(step *goldenStep, want expectation, differ func(string, ...any)) {
	a.ids, a.refuse, a.calls, a.types, a.hidden = step.newIDs(), step.RefusesWrites, nil, nil, 0
	if step.Request.Method != "GET" {
		differ("the method is %s", step.Request.Method)
	}
	jar := &jartest.Jar{Target: step.Request.Path}
	for name, value := range step.Request.Headers {
		if name != "x-forwarded-proto" || value != "https" {
			differ("the recording has an unknown field %s: %s", name, value)
		}
		jar.TLS = a.proxy
	}
	if step.Request.Cookie != nil {
		jar.Cookies = []string{*step.Request.Cookie}
	}

	body, err := a.serve(jar)

	switch failed := step.Response.Status >= 500; {
	case failed && err == nil:
		differ("the request succeeds, the original's fails: %s", step.Response.Body)
	case !failed && err != nil:
		differ("the request fails: %v", err)
	case !failed && body != step.Response.Body:
		differ("the body is %q\nthe original's %q", body, step.Response.Body)
	case failed && (err == errOops) != (step.Response.Body == errOops.Error()):
		differ("the error is %q\nthe original's %q", err, step.Response.Body)
	}
	if !slices.Equal(jar.SetCookies, want.setCookie) {
		differ("the cookies are\n%s\nthe original's\n%s", strings.Join(jar.SetCookies, "\n"), strings.Join(want.setCookie, "\n"))
	}
	var gets, writes, wantGets []string
	for _, c := range a.calls {
		if strings.HasPrefix(c, "get ") {
			gets = append(gets, c)
		} else {
			writes = append(writes, c)
		}
	}
	for _, c := range step.Commands {
		if c[0] == "get" {
			wantGets = append(wantGets, c[0]+" "+c[1])
		}
	}
	// How often the original asks for a session is its own business; that it
	// does, and for which, is not.
	if wantGets = slices.Compact(wantGets); !slices.Equal(gets, wantGets) {
		differ("the store was asked %q\nthe original's %q", gets, wantGets)
	}
	if !slices.Equal(writes, want.writes) {
		differ("the store was told %q\nthe original's %q", writes, want.writes)
	}
	after := a.ledger.keys()
	for i := range after {
		after[i].PTTL = seconds(after[i].PTTL)
	}
	for i := range want.after {
		want.after[i].PTTL = seconds(want.after[i].PTTL)
	}
	if !slices.Equal(after, want.after) {
		differ("the store has\n%+v\nthe original's\n%+v", after, want.after)
	}
	var types []string
	for _, c := range step.HandlerCalls {
		types = append(types, c.Type)
	}
	if !slices.Equal(a.types, types) {
		differ("the hook saw %q\nthe original's %q", a.types, types)
	}
	if a.hidden != len(step.AppErrors) {
		differ("%d errors beside the handler's, the original has %d", a.hidden, len(step.AppErrors))
	}
	if len(a.ids) > 0 {
		differ("nobody wanted the ids %q", a.ids)
	}
}

// serve is an adapter.
func (a *goldenApp) serve(jar *jartest.Jar) (body string, err error) {
	ctx := context.Background()
	v, ok := a.manager.NewVisit(jar, nil)
	if !ok {
		return "", errors.New("no visit")
	}
	visits := []*core.Visit{v}
	if a.twice != nil {
		// The original's second does nothing. Ours, whose cookie has another
		// name, works for who asks for it (K32), and nobody does.
		second, ok := a.twice.NewVisit(jar, v)
		if !ok {
			return "", errors.New("no second visit")
		}
		visits = append(visits, second)
	}
	for _, v := range visits {
		if err := v.Begin(ctx); err != nil {
			return "", err
		}
	}
	body, err = a.route(ctx, v, jar)
	for _, v := range slices.Backward(visits) {
		commitErr := v.Commit(ctx)
		switch {
		case commitErr == nil:
		case err == nil:
			err = commitErr
		default:
			a.hidden++
		}
	}
	return body, err
}

const (
	goldenCount core.Key[int]    = "count"
	goldenData  core.Key[string] = "data"
)

var errOops = errors.New("oops")

// route is what the recorded app's handlers do.
func (a *goldenApp) route(ctx context.Context, v *core.Visit, jar *jartest.Jar) (string, error) {
	switch jar.Path() {
	case "/untouched":
		return "ok", nil
	case "/remove":
		if a.deferred { // the original does not wait for the session here
			return "0", v.Destroy(ctx)
		}
	}
	s, err := v.Session(ctx)
	if err != nil {
		return "", err
	}
	switch jar.Path() {
	case "/read":
		n, ok, err := goldenCount.Lookup(s)
		if !ok {
			return "none", err
		}
		return strconv.Itoa(n), err
	case "/count":
		return increment(s)
	case "/set":
		return "ok", eachMember(query(jar, "json"), func(name string, v any) error { return s.Set(name, v) })
	case "/cookie":
		c := s.Cookie()
		err := eachMember(query(jar, "json"), func(name string, v any) error {
			if !cookieOption(&c, name, v) {
				return fmt.Errorf("unknown cookie option %s: %v", name, v)
			}
			return nil
		})
		return "ok", cmp.Or(err, s.SetCookie(c))
	case "/httponly":
		c := s.Cookie()
		on := c.HTTPOnly != core.On
		c.HTTPOnly = core.Off
		if on {
			c.HTTPOnly = core.On
		}
		return strconv.FormatBool(on), s.SetCookie(c)
	case "/remove", "/remove-async":
		return "0", s.Destroy(ctx)
	case "/regenerate":
		if err := s.Regenerate(ctx); err != nil {
			return "", err
		}
		return string(s.ID()), goldenData.Set(s, "foo")
	case "/regenerate-empty":
		err := s.Regenerate(ctx)
		return string(s.ID()), err
	case "/regenerate-copy-more":
		n := goldenCount.Get(s)
		if err := s.Regenerate(ctx); err != nil {
			return "", err
		}
		return string(s.ID()), goldenCount.Set(s, n+1)
	case "/id":
		return string(s.ID()), nil
	case "/save":
		if _, err := increment(s); err != nil {
			return "", err
		}
		return saveNow(ctx, s)
	case "/save-unchanged":
		return saveNow(ctx, s)
	case "/force":
		s.SetSave(core.SaveAlways)
		return "ok", nil
	case "/force-remove":
		s.SetSave(core.SaveAlways)
		return "0", s.Destroy(ctx)
	case "/prevent":
		s.SetSave(core.SaveNever)
		return increment(s)
	case "/prevent-remove":
		s.SetSave(core.SaveNever)
		return "0", s.Destroy(ctx)
	case "/error":
		_, err := increment(s)
		return "", cmp.Or(err, errOops)
	}
	return "", fmt.Errorf("no route %s", jar.Path())
}

func increment(s *core.Session) (string, error) {
	n, err := goldenCount.Update(s, func(n int) int { return n + 1 })
	return strconv.Itoa(n), err
}

func saveNow(ctx context.Context, s *core.Session) (string, error) {
	before := s.ID()
	err := s.Save(ctx)
	return string(before) + " " + string(s.ID()), err
}

// eachMember calls f with the members of a JSON object in their order.
func eachMember(text string, f func(name string, v any) error) error {
	d := json.NewDecoder(strings.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("no JSON object: %v %w", t, err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return err
		}
		if err := f(name.(string), v); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// A ledger is a store that can tell all its keys with their ttl, as Redis can.
// It is for one goroutine.
type ledger struct {
	*memorystore.Store
	ends map[string]time.Time // zero: never
}

func (l *ledger) note(key string, ttl time.Duration, err error) error {
	if err == nil {
		l.ends[key] = time.Time{}
		if ttl != 0 {
			l.ends[key] = time.Now().Add(ttl)
		}
	}
	return err
}

func (l *ledger) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return l.note(key, ttl, l.Store.Set(ctx, key, data, ttl))
}

func (l *ledger) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	v, err := l.Store.SetVersion(ctx, key, data, ttl, v)
	return v, l.note(key, ttl, err)
}

func (l *ledger) Touch(ctx context.Context, key string, ttl time.Duration) error {
	return l.note(key, ttl, l.Store.Touch(ctx, key, ttl))
}

func (l *ledger) Destroy(ctx context.Context, key string) error {
	err := l.Store.Destroy(ctx, key)
	if err == nil {
		delete(l.ends, key)
	}
	return err
}

// value returns what is stored under key, "" for nothing.
func (l *ledger) value(key string) string {
	data, err := l.Get(context.Background(), key)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		panic(err)
	}
	return string(data)
}

// keys returns all that is stored, sorted by key.
func (l *ledger) keys() []goldenKey {
	var all []goldenKey
	for key, end := range l.ends {
		data, err := l.Get(context.Background(), key)
		if errors.Is(err, core.ErrNotFound) {
			continue
		}
		if err != nil {
			panic(err)
		}
		k := goldenKey{key, string(data), -1}
		if !end.IsZero() {
			k.PTTL = time.Until(end).Milliseconds()
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b goldenKey) int { return strings.Compare(a.Key, b.Key) })
	return all
}
