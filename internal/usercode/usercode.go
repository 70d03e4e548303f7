// Package usercode is a table of requests in which code of the application, that core
// calls, panics. It is played on the stores in memory by the tests of core, and on real
// servers by those of internal/concurrency.
package usercode

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

var (
	bg     = context.Background()
	visits = core.Key[int]("visits")
	once   = core.Key[int]("once")
	user   = core.Key[string]("user")

	key = []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")
)

// A Code is one of the functions of an application that core calls. Its nth call in a
// request panics.
type Code struct {
	Name string
	Left int                                        // calls until then; zero: none panics
	In   func(ctx context.Context, s *core.Session) // called by each in the request; nil for nothing
	IDs  map[core.ID]bool                           // that the application has made
	n    int
}

func (c *Code) called(ctx context.Context, name string, s *core.Session) {
	if name != c.Name || c.Left == 0 {
		return
	}
	c.n++
	if c.In != nil {
		c.In(ctx, s)
	}
	if c.n == c.Left {
		panic("mine")
	}
}

// Codes are those of every application.
var Codes = []string{"Event", "Logger", "Valid", "BeforeSave", "Error", "NewID", "TTLFunc"}

// hook makes that o calls the code.
func (c *Code) hook(o *core.Options) {
	o.Hooks = core.Hooks{
		Event: func(ctx context.Context, e core.Event) { c.called(ctx, "Event", e.Session) },
		Valid: func(ctx context.Context, _ core.Jar, s *core.Session) (bool, error) {
			c.called(ctx, "Valid", s)
			return true, nil
		},
		BeforeSave: func(ctx context.Context, _ core.Jar, s *core.Session) error {
			c.called(ctx, "BeforeSave", s)
			return nil
		},
		Error: func(ctx context.Context, e *core.Error) error { c.called(ctx, "Error", nil); return e },
	}
	o.NewID = func(ctx context.Context) (string, error) {
		c.called(ctx, "NewID", nil)
		id := rand.Text() + rand.Text()
		c.IDs[core.ID(id)] = true
		return id, nil
	}
	if c.Name == "TTLFunc" {
		o.TTLFunc = func(s *core.Session) time.Duration { c.called(bg, "TTLFunc", s); return 0 }
	}
	if c.Name == "Logger" {
		o.Logger = slog.New(logged{slog.DiscardHandler, c})
	}
}

type logged struct {
	slog.Handler
	c *Code
}

func (l logged) Enabled(context.Context, slog.Level) bool { return true }
func (l logged) Handle(ctx context.Context, _ slog.Record) error {
	l.c.called(ctx, "Logger", nil)
	return nil
}

// A Request is the handler of a browser that has a session, and whether it has none
// behind it.
type Request struct {
	Handle func(s *core.Session) error
	Ends   bool
}

// Requests are by name.
var Requests = map[string]Request{
	"read":  {func(s *core.Session) error { visits.Get(s); return nil }, false},
	"set":   {func(s *core.Session) error { return visits.Set(s, 2) }, false},
	"Save":  {func(s *core.Session) error { _ = visits.Set(s, 2); return s.Save(bg) }, false},
	"Take":  {func(s *core.Session) error { _, err := once.Take(bg, s); return err }, false},
	"Login": {func(s *core.Session) error { _ = user.Set(s, "ada"); return s.Login(core.LoginOptions{}) }, false},
	"Login, Save": {func(s *core.Session) error {
		_ = user.Set(s, "ada")
		return errors.Join(s.Login(core.LoginOptions{}), s.Save(bg))
	}, false},
	"Renew":   {func(s *core.Session) error { _ = user.Set(s, "ada"); return s.Renew(bg) }, false},
	"Reset":   {func(s *core.Session) error { err := s.Reset(bg); _ = user.Set(s, "ada"); return err }, true},
	"Destroy": {func(s *core.Session) error { return s.Destroy(bg) }, true},
	"wrong type": {func(s *core.Session) error {
		core.Key[string]("visits").Get(s)
		return visits.Set(s, 2)
	}, false},
}

// Due is the moment at which the session is to get a new id of itself.
const Due = "a renewal is due"

// Moments are what comes together with the request.
var Moments = []string{"nothing", "another saves", "another logs in", "the store refuses", Due}

// A Row is one request of the table.
type Row struct {
	Carries  string // how the id travels
	Code     string
	Request  string
	Moment   string
	Deferred bool
}

func (r Row) String() string {
	return fmt.Sprintf("W38 %s, %s, %s, %s, deferred %t", r.Carries, r.Code, r.Request, r.Moment, r.Deferred)
}

// Rows are all of them, in an order that stays.
func Rows() iter.Seq[Row] {
	requests := make([]string, 0, len(Requests))
	for name := range Requests {
		requests = append(requests, name)
	}
	slices.Sort(requests)
	return func(yield func(Row) bool) {
		for _, way := range ways {
			for _, code := range append(Codes[:len(Codes):len(Codes)], way.codes...) {
				if code == "TTLFunc" && way.name != "cookie" { // which KoaCompat alone has
					continue
				}
				for _, request := range requests {
					for _, moment := range Moments {
						for _, deferred := range []bool{false, true} {
							if !yield(Row{way.name, code, request, moment, deferred}) {
								return
							}
						}
					}
				}
			}
		}
	}
}

// A World is an application with one browser.
type World struct {
	T       *testing.T
	Manager *core.Manager
	Store   *storetest.Faulty
	Code    *Code

	row    Row
	client client
	due    time.Time // when a renewal is
	old    core.ID
}

// An Open makes the application of a World with the options, on a store that is
// wrapped in a Faulty. Its other store is that of another library.
type Open func(o *core.Options) (*core.Manager, *storetest.Faulty)

// NewWorld makes one whose browser has a session. renew is Options.RenewAfter where a
// renewal is due; else it never is.
func NewWorld(t *testing.T, row Row, renew time.Duration, from core.Store, open Open) *World {
	t.Helper()
	w := &World{T: t, Code: &Code{Name: row.Code, IDs: map[core.ID]bool{}}, row: row}
	o := &core.Options{RenewAfter: time.Hour, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}}
	if row.Moment == Due {
		if o.RenewAfter = renew; renew < time.Minute {
			o.RenewGrace = time.Second
		}
	}
	if row.Code == "TTLFunc" {
		o = core.KoaCompat()
	}
	o.OpTimeout = 10 * time.Second
	o.Defer, o.Keys = row.Deferred, [][]byte{key}
	w.Code.hook(o)
	way := ways[slices.IndexFunc(ways, func(w way) bool { return w.name == row.Carries })]
	w.client = way.client(w.Code, o, from)
	w.Manager, w.Store = open(o)
	if f, ok := w.client.(*foreign); ok {
		f.begin(t, w.Code)
	} else {
		w.mustSend(func(s *core.Session) error { return errors.Join(visits.Set(s, 1), once.Set(s, 1)) }, true)
	}
	w.old, w.due = w.client.id(), time.Now().Add(renew)
	return w
}

// mustSend is a request that works, and whose answer may be lost.
func (w *World) mustSend(h func(s *core.Session) error, arrives bool) {
	w.T.Helper()
	jar := w.client.jar()
	v, _ := w.Manager.NewVisit(jar, nil)
	ctx := core.NewContext(bg, v)
	s, err := v.Session(ctx)
	if err == nil {
		err = errors.Join(h(s), v.Commit(ctx))
	}
	if err != nil {
		w.T.Fatal(err)
	}
	if arrives {
		w.client.take(jar)
	}
}

// Meanwhile is what happens at the moment of the row.
func (w *World) Meanwhile() {
	w.T.Helper()
	switch w.row.Moment {
	case "another saves":
		w.mustSend(func(s *core.Session) error {
			_, err := visits.Update(s, func(n int) int { return n + 1 })
			return err
		}, false)
	case "another logs in":
		w.mustSend(func(s *core.Session) error { return s.Login(core.LoginOptions{}) }, true)
	case "the store refuses":
		n := 0
		w.Store.Before(func(_ context.Context, op storetest.Op, _ string) error {
			if n++; op != storetest.OpGetVersion && n < 3 {
				return core.ErrRefused
			}
			return nil
		})
	case Due:
		time.Sleep(time.Until(w.due))
	}
}

// Play is one request of the row in w, whose code panics at that call, and recovers if
// commits. It reports whether there was such a call.
func (w *World) Play(left int, commits bool) (reached bool) {
	w.T.Helper()
	c, meanwhile := w.Code, w.Meanwhile
	if w.row.Moment == Due {
		w.Meanwhile()
		meanwhile = func() {}
	}
	jar := w.client.jar()
	c.Left = left
	in := c.In
	first := true
	w.hooked(jar, commits, func(s *core.Session) error {
		if c.Left, c.In = 0, nil; first {
			first = false
			meanwhile()
		}
		c.Left, c.In = left, in
		return Requests[w.row.Request].Handle(s)
	})
	reached = c.n >= left
	c.Left, c.In = 0, nil
	w.Store.Before(nil)
	w.client.take(jar)
	w.agrees()
	return reached
}

// hooked is one request whose handler panics.
func (w *World) hooked(jar *jartest.Jar, commits bool, h func(s *core.Session) error) {
	guarded := func(f func()) {
		defer func() {
			if p := recover(); p != nil && p != "mine" {
				panic(p)
			}
		}()
		f()
	}
	v, _ := w.Manager.NewVisit(jar, nil)
	ctx := core.NewContext(bg, v)
	begun := false
	guarded(func() { begun = v.Begin(ctx) == nil })
	for range 2 {
		done := false
		guarded(func() {
			if !begun {
				return
			}
			if s, err := v.Session(ctx); err == nil {
				_ = h(s)
				done = true
			}
		})
		if done || !commits {
			break
		}
	}
	if begun && commits {
		guarded(func() { _ = v.Commit(ctx) })
	}
	guarded(v.Abandon)
	guarded(func() { _ = v.Commit(ctx) }) // as at the end of the response
}

func (w *World) lives(id core.ID) bool {
	_, err := w.Manager.GetByID(bg, id)
	return err == nil
}

// agrees checks what the browser and the store have.
func (w *World) agrees() {
	w.T.Helper()
	id, next := w.client.id(), w.client.next()
	untold := w.row.Code == "Carrier.Set" // a new id can't be sent by it: what that leads to nobody has
	for other := range w.Code.IDs {
		switch {
		case w.row.Moment == Due: // both ids live for a while
		case w.row.Moment == "another logs in": // in a session of its own
		case w.row.Moment == "the store refuses" && w.row.Request == "Destroy": // the cookie goes either way
		case untold && other != w.old:
		case other != id && other != next && w.lives(other):
			w.T.Errorf("the store has a session that the browser does not hold: the old id %t", other == w.old)
		}
	}
	if !Requests[w.row.Request].Ends && !untold && !w.lives(id) {
		w.T.Error("the session is lost")
	}
	if data, err := w.Manager.GetByID(bg, w.old); err == nil && strings.Contains(string(data), "ada") {
		w.T.Error("logged in under the old id")
	}
}

// A way is one for the id to travel, with the code of the application that it has.
type way struct {
	name   string
	codes  []string
	client func(c *Code, o *core.Options, from core.Store) client
}

var ways = []way{
	{"cookie", nil, func(*Code, *core.Options, core.Store) client { return &cookies{} }},
	{"Carrier", []string{"Carrier.Get", "Carrier.Set", "Carrier.Reset"}, func(c *Code, o *core.Options, _ core.Store) client {
		o.Keys, o.Carrier = nil, carrier{c}
		return &field{}
	}},
	{"InsecureIDFrom", []string{"InsecureIDFrom"}, func(c *Code, o *core.Options, _ core.Store) client {
		o.InsecureIDFrom = func(ctx context.Context, jar core.Jar) core.ID {
			c.called(ctx, "InsecureIDFrom", nil)
			return core.ID(jar.RequestHeader(fieldName))
		}
		return &proxy{}
	}},
	{"Foreign", []string{"Foreign.ID", "Foreign.Key", "Foreign.Values"}, func(c *Code, o *core.Options, from core.Store) client {
		o.Migrate = core.Migration{From: from, Until: time.Now().Add(24 * time.Hour), Foreign: &core.Foreign{
			Cookie: "other.sid",
			ID:     func(value string) string { c.called(bg, "Foreign.ID", nil); return value },
			Key:    func(id string) string { c.called(bg, "Foreign.Key", nil); return "other:" + id },
			Values: func(data []byte) (any, error) {
				c.called(bg, "Foreign.Values", nil)
				return json.RawMessage(data), nil
			},
		}}
		return &foreign{from: from}
	}},
}

// A client is the browser.
type client interface {
	jar() *jartest.Jar
	take(*jartest.Jar)
	id() core.ID
	next() core.ID // in the cookie beside the first, "" if there is none
}

// cookies is one as they are.
type cookies struct{ jartest.Browser }

func (b *cookies) jar() *jartest.Jar     { return b.Jar("/") }
func (b *cookies) take(jar *jartest.Jar) { b.Take("/", jar.SetCookies...) }
func (b *cookies) id() core.ID           { return b.value("koa.sid") }
func (b *cookies) next() core.ID         { return b.value("koa.sid.next") }

func (b *cookies) value(name string) core.ID {
	v, _ := b.Value("/", name)
	return core.ID(v)
}

const fieldName, goneField = "X-Session", "gone"

// A field is a client that has the id in a field of the header.
type field struct{ held core.ID }

func (f *field) jar() *jartest.Jar {
	return &jartest.Jar{Target: "/", Request: map[string][]string{fieldName: {string(f.held)}}}
}

func (f *field) take(jar *jartest.Jar) {
	switch id := jar.ResponseHeader(fieldName); id {
	case "":
	case goneField:
		f.held = ""
	default:
		f.held = core.ID(id)
	}
}

func (f *field) id() core.ID   { return f.held }
func (f *field) next() core.ID { return "" }

// carrier is that of the application.
type carrier struct{ c *Code }

func (c carrier) Get(jar core.Jar) (core.ID, bool, error) {
	c.c.called(bg, "Carrier.Get", nil)
	return core.ID(jar.RequestHeader(fieldName)), false, nil
}

func (c carrier) Set(jar core.Jar, s *core.Session) error {
	c.c.called(bg, "Carrier.Set", nil)
	jar.SetResponseHeader(fieldName, string(s.ID()))
	return nil
}

func (c carrier) Reset(jar core.Jar, _ *core.Session) error {
	c.c.called(bg, "Carrier.Reset", nil)
	jar.SetResponseHeader(fieldName, goneField)
	return nil
}

// A proxy keeps the cookies of its browser, and tells the application the id.
type proxy struct{ cookies }

func (p *proxy) jar() *jartest.Jar {
	return &jartest.Jar{Target: "/", Request: map[string][]string{fieldName: {string(p.id())}}}
}

// A foreign is a browser whose session is that of another library.
type foreign struct {
	cookies
	from core.Store
}

func (f *foreign) begin(t *testing.T, c *Code) {
	t.Helper()
	id := rand.Text() + rand.Text()
	if err := f.from.Set(bg, "other:"+id, []byte(`{"visits":1,"once":1}`), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	c.IDs[core.ID(id)] = true
	f.Take("/", "other.sid="+id+"; path=/")
}

func (f *foreign) id() core.ID {
	if id := f.cookies.id(); id != "" {
		return id
	}
	return f.value("other.sid")
}
