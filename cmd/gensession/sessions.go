package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gensession/gensession/core"
)

// A session is what is printed of one.
type session struct {
	Fingerprint string          `json:"fingerprint,omitempty"`
	Handle      string          `json:"handle,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Label       string          `json:"label,omitempty"`
	Created     *time.Time      `json:"created,omitempty"`
	LoggedIn    *time.Time      `json:"loggedIn,omitempty"`
	LastUsed    *time.Time      `json:"lastUsed,omitempty"`
	Size        int             `json:"size,omitempty"`
	Moved       bool            `json:"moved,omitempty"`
	Unreadable  string          `json:"unreadable,omitempty"`
	Values      json.RawMessage `json:"values,omitempty"`
}

const sessionRow = "%-11s  %-26s  %-20s  %-20s  %7v  %s"

var sessionHead = []any{"FINGERPRINT", "HANDLE", "CREATED", "LAST USED", "BYTES", "OWNER"}

func (c *command) list(ctx context.Context) error {
	m, closeAll, err := c.manager()
	if err != nil {
		return err
	}
	defer closeAll()
	if c.owner != "" {
		devices, err := m.ListByOwner(ctx, c.owner, nil)
		if err != nil {
			return err
		}
		if len(devices) == 0 {
			return c.noneOf()
		}
		for _, d := range devices {
			s := session{Handle: d.Handle, Owner: c.owner, Label: d.Label, Created: timestamp(d.Created), LastUsed: timestamp(d.LastUsed)}
			if err := c.out.row(s, "%-26s  %-20s  %-20s  %s", []any{"HANDLE", "LOGGED IN", "LAST USED", "LABEL"}, d.Handle, when(d.Created), when(d.LastUsed), orDash(d.Label)); err != nil {
				return err
			}
		}
		return nil
	}
	for s, err := range m.Stored(ctx, "") {
		if err != nil {
			return err
		}
		if s.Note {
			continue
		}
		owner := orDash(s.Owner)
		if s.Err != nil {
			owner = "unreadable: " + s.Err.Error()
		}
		if err := c.out.row(sessionOf(s), sessionRow, sessionHead, s.Print, orDash(s.Handle), when(s.Created), when(s.LastUsed), s.Size, owner); err != nil {
			return err
		}
	}
	return nil
}

func sessionOf(s *core.Stored) session {
	t := session{
		Fingerprint: s.Print, Handle: s.Handle, Owner: s.Owner, Label: s.Label, Size: s.Size, Moved: s.Note,
		Created: timestamp(s.Created), LoggedIn: timestamp(s.LoggedIn), LastUsed: timestamp(s.LastUsed),
	}
	if s.Err != nil {
		t.Unreadable = s.Err.Error()
	}
	return t
}

// meant calls f with the sessions that the command means.
func (c *command) meant(ctx context.Context, m *core.Manager, f func(*core.Stored) error) error {
	n := 0
	for s, err := range m.Stored(ctx, c.print) {
		if err != nil {
			return err
		}
		if c.print == "" && s.Handle != c.handle {
			continue
		}
		n++
		if err := f(s); err != nil {
			return err
		}
	}
	if n == 0 {
		return errNone
	}
	return nil
}

func (c *command) show(ctx context.Context) error {
	m, closeAll, err := c.manager()
	if err != nil {
		return err
	}
	defer closeAll()
	return c.meant(ctx, m, func(s *core.Stored) error {
		t := sessionOf(s)
		if c.values && !s.Note && s.Err == nil {
			values, err := s.Values()
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := json.Compact(&text, values); err != nil {
				return errors.New("the values are no JSON") // whose error quotes them
			}
			t.Values = json.RawMessage(printable(text.String()))
		}
		if c.out.json {
			return c.out.say(t, "")
		}
		for _, line := range []struct{ name, text string }{
			{"fingerprint", s.Print}, {"handle", orDash(s.Handle)}, {"owner", orDash(s.Owner)}, {"label", orDash(s.Label)},
			{"created", when(s.Created)}, {"logged in", when(s.LoggedIn)}, {"last used", when(s.LastUsed)}, {"bytes", fmt.Sprint(s.Size)},
			{"moved", map[bool]string{true: "it has lately got another id, or ended"}[s.Note]},
			{"unreadable", t.Unreadable}, {"values", string(t.Values)},
		} {
			if line.text == "" {
				continue
			}
			if err := c.out.line("%-12s %s", line.name, line.text); err != nil {
				return err
			}
		}
		return nil
	})
}

// An ended says what end has done.
type ended struct {
	Ended int `json:"ended"`
}

func (c *command) end(ctx context.Context) error {
	m, closeAll, err := c.manager()
	if err != nil {
		return err
	}
	defer closeAll()
	n := 0
	switch {
	case c.owner != "" && c.handle != "":
		if err := m.DestroyByHandle(ctx, c.owner, c.handle); errors.Is(err, core.ErrNotFound) {
			return c.noneOf()
		} else if err != nil {
			return err
		}
		n = 1
	case c.owner != "":
		devices, err := m.ListByOwner(ctx, c.owner, nil)
		if err != nil {
			return err
		}
		if err := m.DestroyByOwner(ctx, c.owner, nil); err != nil {
			return err
		}
		if n = len(devices); n == 0 {
			return c.noneOf()
		}
	default:
		if err := c.meant(ctx, m, func(s *core.Stored) error {
			n++
			return s.Destroy(ctx)
		}); err != nil {
			return err
		}
	}
	return c.out.say(ended{n}, "ended: %d", n)
}

// A tally is what count has found.
type tally struct {
	Sessions   int   `json:"sessions"`
	Owned      int   `json:"owned"` // of them
	Unreadable int   `json:"unreadable"`
	Notes      int   `json:"notes"`
	Bytes      int64 `json:"bytes"`
}

func (c *command) count(ctx context.Context) error {
	m, closeAll, err := c.manager()
	if err != nil {
		return err
	}
	defer closeAll()
	var t tally
	for s, err := range m.Stored(ctx, "") {
		if err != nil {
			return err
		}
		t.Bytes += int64(s.Size)
		switch {
		case s.Note:
			t.Notes++
		case s.Err != nil:
			t.Unreadable++
		default:
			t.Sessions++
			if s.Owner != "" {
				t.Owned++
			}
		}
	}
	return c.out.say(t, "sessions: %d (of owners: %d), unreadable: %d, notes of ids that were given up: %d, bytes: %d", t.Sessions, t.Owned, t.Unreadable, t.Notes, t.Bytes)
}
