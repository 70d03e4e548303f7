package browsers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// Random handlers: every order of a few calls in one request, from every state that
// a browser can be in, with somebody else's request in between, under many options.
func TestHandlers(t *testing.T) {
	t.Parallel()
	options := map[string]core.Options{
		"default":         {},
		"Defer":           {Defer: true},
		"AllowEmpty":      {AllowEmpty: true},
		"IdleTimeout":     {IdleTimeout: core.DefaultMaxAge, TouchEvery: 1},
		"ResetUnknown":    {ResetUnknown: true},
		"unsigned":        {Cookie: core.CookieOptions{Signed: core.Off}},
		"Refuse":          {OnConflict: core.ConflictRefuse},
		"LastWriteWins":   {OnConflict: core.ConflictLastWriteWins},
		"Overwrite off":   {Cookie: core.CookieOptions{Overwrite: core.Off}},
		"Header":          {Carrier: core.Header("X-Session")},
		"AbsoluteTimeout": {AbsoluteTimeout: 3600e9},
	}
	for name, o := range options {
		t.Run(name, func(t *testing.T) {
			o.RememberFor = 48 * time.Hour
			for _, kind := range stores[:2] {
				if o.Carrier != nil && kind.name != "memory" {
					continue
				}
				store := kind.open(t)
				m := newManager(t, store, o)
				of := len(options)
				seeded(t, 2*of, 6000/of, 2000/of, 400_000/of, func(seed uint64) (problems, log []string) {
					problems, log = handle(t, m, o, seed)
					return problems, append(log, kind.name)
				})
			}
		})
	}
}

// A holder is a browser, or a client that has its id in a field.
type holder struct {
	jartest.Browser
	field string
	byID  bool
}

func (h *holder) jar() *jartest.Jar {
	if h.byID {
		return &jartest.Jar{Request: textproto.MIMEHeader{"X-Session": {h.field}}}
	}
	return h.Jar("/")
}

func (h *holder) take(j *jartest.Jar) {
	h.Take("/", j.SetCookies...)
	if ids := j.Response.Values("X-Session"); len(ids) > 0 {
		h.field = ids[0]
	}
}

func (h *holder) clone() *holder {
	return &holder{Browser: *copied(&h.Browser), field: h.field, byID: h.byID}
}

func (h *holder) id() core.ID {
	if h.byID {
		return core.ID(h.field)
	}
	return idOf(&h.Browser)
}

func handle(t *testing.T, m *core.Manager, o core.Options, seed uint64) (problems, log []string) {
	r := rand.New(rand.NewPCG(seed, 7))
	problem := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }
	do := func(b *holder, h handler, deliver bool) error {
		x := begin(m, b.jar()).run(t, h).commit()
		if deliver {
			b.take(x.jar)
		}
		return x.err
	}
	login := func(name string) handler {
		return func(_ *core.Visit, s *core.Session) {
			must2(s.Login(core.LoginOptions{}), user.Set(s, name))
		}
	}
	whoIs := func(b *holder) (name string) {
		x := begin(m, b.jar())
		if x.err != nil {
			problem("reading: %v", x.err)
			return ""
		}
		s, err := x.visit.Session(x.ctx)
		must2(err)
		name = user.Get(s)
		x.visit.Abandon()
		return name
	}

	// What the browser has before.
	b := &holder{byID: o.Carrier != nil}
	states := []string{"nothing", "live", "live", "live", "ended", "given up", "second"}
	state := states[r.IntN(len(states))]
	log = append(log, "from "+state)
	if state != "nothing" {
		_ = do(b, set(t, 1), true)
	}
	switch state {
	case "ended":
		must2(m.DestroyByID(bg, b.id()))
	case "given up", "second":
		_ = do(b, login("ada"), false)
		if state == "second" && !b.byID {
			_ = do(b, set(t, 2), true)
		}
	}
	planted, old := b.clone(), b.id()

	x := begin(m, b.jar())
	failed := false // any call
	note := func(call string, err error) error {
		log = append(log, fmt.Sprintf("%s: %v", call, err))
		if err != nil {
			failed = true
		}
		return err
	}
	want, changedID, signed, destroyed, never, handlerFailed := "", false, false, false, false, false
	everNever := false
	stored := "" // the user that a Save has stored
	ids := map[core.ID]bool{}
	get := func() *core.Session {
		s, err := x.visit.Session(x.ctx)
		must2(err)
		return s
	}
	other := ""
	if r.IntN(3) == 0 && old != "" {
		other = []string{"DestroyByID", "login", "save", "renew", "logout"}[r.IntN(5)]
	}
	steps := 1 + r.IntN(5)
	at := r.IntN(steps)
	if x.err != nil {
		problem("Begin: %v", x.err)
		return problems, log
	}
	if o.Defer && r.IntN(4) == 0 {
		if r.IntN(2) == 0 {
			if note("Visit.Destroy", x.visit.Destroy(x.ctx)) == nil {
				destroyed = true
			}
		} else {
			note("Visit.Replace", x.visit.Replace(x.ctx, map[string]int{"visits": 5}))
		}
	} else if r.IntN(2) == 0 || !o.Defer {
		get()
	}
	for i := range steps {
		if i == at && other != "" {
			somebody := planted.clone()
			switch other {
			case "DestroyByID":
				_ = m.DestroyByID(bg, old)
			case "login":
				_ = do(somebody, login("eve"), true)
			case "save":
				_ = do(somebody, set(t, 7), true)
			case "renew":
				_ = do(somebody, func(_ *core.Visit, s *core.Session) { _ = s.Renew(bg) }, true)
			case "logout":
				_ = do(somebody, func(_ *core.Visit, s *core.Session) { must2(s.Destroy(bg)) }, true)
			}
			log = append(log, "beside: "+other)
		}
		s := get()
		switch call := r.IntN(13); call {
		case 0, 1:
			name := fmt.Sprint("user", i)
			if note("set user", user.Set(s, name)) == nil {
				want = name
			}
		case 2, 3, 4:
			lo := core.LoginOptions{DropValues: r.IntN(3) == 0}
			if r.IntN(3) == 0 {
				lo.Remember = true
			}
			if err := note(fmt.Sprintf("Login%+v", lo), s.Login(lo)); err != nil {
				problem("Login: %v", err)
			} else {
				if destroyed {
					want = ""
				}
				signed, destroyed, changedID = true, false, true
			}
		case 5:
			if note("Renew", s.Renew(bg)) == nil {
				changedID = true
				if signed && !never {
					signed, stored = false, want
				}
			}
		case 6:
			if note("Reset", s.Reset(bg)) == nil {
				changedID, signed, destroyed, want, stored = true, false, false, "", ""
			}
		case 7:
			if note("Destroy", s.Destroy(bg)) == nil {
				changedID, signed, destroyed, want, stored = true, false, true, "", ""
			}
		case 8, 9:
			was := signed
			if err := note("Save", s.Save(bg)); err == nil && !never {
				signed, stored = false, want
			} else if was && err != nil && !failedBefore(log) {
				problem("Save with a login: %v", err)
			}
		case 10:
			_, err := visits.Update(s, func(n int) int { return n + 1 })
			note("Update", err)
		case 11:
			if r.IntN(4) == 0 {
				s.SetSaveMode(core.SaveNever)
				never, everNever = true, true
				log = append(log, "SaveNever")
			} else {
				s.SetSaveMode(core.SaveAlways)
				never = false
				log = append(log, "SaveAlways")
			}
		case 12:
			c := s.Cookie()
			c.MaxAge = 7200e9
			note("SetCookie", s.SetCookie(c))
		}
		ids[s.ID()] = true
	}
	if r.IntN(8) == 0 {
		x.visit.HandlerFailed()
		handlerFailed = true
		log = append(log, "the handler failed")
	}
	login2 := signed
	x.commit()
	s := get()
	ids[s.ID()] = true
	log = append(log, fmt.Sprintf("commit: %v, %s", x.err, x.cookies()))
	b.take(x.jar)
	if x.err != nil && !failed {
		switch {
		case o.OnConflict == core.ConflictRefuse && errors.Is(x.err, core.ErrConflict) && !login2:
		default:
			problem("commit: %v", x.err)
		}
	}
	got := whoIs(b)
	switch {
	case everNever || handlerFailed || failed || x.err != nil:
	case changedID && !destroyed && got != want && (login2 || other == ""):
		if !(got == stored && !login2) {
			problem("the browser is %q, want %q", got, want)
		}
	case destroyed && got != "":
		problem("logged in after Destroy: %q", got)
	}
	if changedID && !everNever && !handlerFailed && x.err == nil && !failed {
		if p := whoIs(planted); p != "" && p != "eve" {
			problem("who has the planted id is %q", p)
		}
		if old != "" && lives(t, m, old) {
			problem("the old id lives")
		}
	}
	if login2 && x.err != nil { // nothing of the login is stored
		if p := whoIs(planted); p != "" && p != "eve" {
			problem("the login failed, and who has the planted id is %q", p)
		}
	}
	n := 0
	for id := range ids {
		if id != "" && id != old && lives(t, m, id) {
			n++
		}
	}
	if n > 1 {
		problem("%d sessions of one request live", n)
	}
	// The next login always works.
	if err := do(b, login("ada"), true); err != nil {
		problem("the next login: %v", err)
	}
	if got := whoIs(b); got != "ada" {
		problem("after the next login the browser is %q", got)
	}
	if err := do(b, func(_ *core.Visit, s *core.Session) { must2(s.Destroy(context.Background())) }, true); err != nil {
		problem("the next logout: %v", err)
	}
	if got := whoIs(b); got != "" {
		problem("after the next logout the browser is %q", got)
	}
	return problems, log
}

// failedBefore reports whether a call before the last one failed.
func failedBefore(log []string) bool {
	for _, l := range log[:len(log)-1] {
		if !strings.HasSuffix(l, ": <nil>") && !strings.HasPrefix(l, "from ") && !strings.HasPrefix(l, "Save") && !strings.HasPrefix(l, "beside") && strings.Contains(l, ": ") {
			return true
		}
	}
	return false
}
