package browsers_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// The schedules find faults that are planted: in the server's own handlers, which
// use the API wrongly, or in what stands under tombstones in the store.
func TestPlanted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults  faults
		letters string // of the messages that are expected, one of them
	}{
		// Without a tombstone a late request begins a session in the first cookie.
		"a late answer replaces the login's cookie": {faults{store: edited(func(core.Write) (core.Write, bool) { return core.Write{}, true })}, "a"},
		// A tombstone that names nobody lets the successor of a late logout live.
		"a logout is undone by a Renew": {faults{store: edited(func(w core.Write) (core.Write, bool) {
			w.Data = w.Data[:bytes.IndexByte(w.Data, '\n')]
			return w, false
		})}, "d"},
		"a login that gives up where others write":              {faults{renews: true}, "c"},
		"a long request decides at its end that it is not late": {faults{looksLate: true}, "a"},
		// The same by its response.
		"what a late request stores goes into the first cookie":                           {faults{lines: renamed("koa.sid.late", "koa.sid")}, "a"},
		"what a late request stores goes to where the copy is":                            {faults{lines: renamed("koa.sid.late", "koa.sid.next")}, "a"},
		"no copy of the id for an answer from before":                                     {faults{lines: without("koa.sid.next")}, "a"},
		"the copy of an id that a session got of itself goes to where that of a login is": {faults{lines: copiesTogether, ages: true}, "a"},
		"a swap brings back what a logout has ended": {faults{store: func(s core.Store) core.Store {
			swapper, _ := core.As[core.Swapper](s)
			return reviving{s, swapper}
		}}, "d"},
		"a login that keeps the old id":                             {faults{keepsID: true}, "g"},
		"an id that was given up lives on":                          {faults{store: keeping}, "ehg"},
		"a tombstone that passes before requests that it is for do": {faults{store: edited(func(w core.Write) (core.Write, bool) { w.TTL = time.Second; return w, false })}, "ad"},
	} {
		t.Run(name, func(t *testing.T) {
			const most = 1500
			for seed := range uint64(most) {
				problems, _ := schedule(t, "memory", seed, c.faults)
				if i := slices.IndexFunc(problems, func(p string) bool { return strings.IndexByte(c.letters, p[0]) >= 0 && p[1] == ':' }); i >= 0 {
					t.Logf("seed %d: %s", seed, problems[i])
					return
				}
			}
			t.Errorf("not found in %d schedules", most)
		})
	}
}

// renamed gives a Set-Cookie line of the cookie from, or of its signature, the name
// to, and signs it anew.
func renamed(from, to string) func() func(name, line string) (string, string) {
	return func() func(name, line string) (string, string) {
		id := ""
		return func(name, line string) (string, string) {
			value, attributes, _ := strings.Cut(strings.TrimPrefix(line, name+"="), ";")
			switch name {
			case from:
				id = value
				return to, to + "=" + value + ";" + attributes
			case from + ".sig":
				return to + ".sig", to + ".sig=" + signature(to, id) + ";" + attributes
			}
			return name, line
		}
	}
}

// copiesTogether sends each copy of an id to koa.sid.next.
func copiesTogether() func(name, line string) (string, string) {
	rename, id, copied := renamed("koa.sid.late", "koa.sid.next")(), "", false
	return func(name, line string) (string, string) {
		value, _, _ := strings.Cut(strings.TrimPrefix(line, name+"="), ";")
		switch name {
		case "koa.sid":
			id = value
		case "koa.sid.late":
			copied = value == id
		}
		if copied {
			return rename(name, line)
		}
		return name, line
	}
}

// without sends no cookie of that name.
func without(cookie string) func() func(name, line string) (string, string) {
	return func() func(name, line string) (string, string) {
		return func(name, line string) (string, string) {
			if name == cookie || name == cookie+".sig" {
				return "other", "other=1"
			}
			return name, line
		}
	}
}

// signature is that of a cookie beside koa.sid, with keyA.
func signature(name, value string) string {
	key, err := hkdf.Key(sha256.New, keyA, nil, "gensession cookie signature\x00koa.sid", sha256.Size)
	if err != nil {
		panic(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(name + "=" + value))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// A lineJar changes the Set-Cookie lines.
type lineJar struct {
	*jartest.Jar
	change func(name, line string) (string, string)
}

func (j lineJar) SetCookie(name, line string, replace bool) {
	name, line = j.change(name, line)
	j.Jar.SetCookie(name, line, replace)
}

// reviving is a store in which a swap writes over whatever has become of a session.
type reviving struct {
	core.Store
	core.Swapper
}

func (s reviving) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	now, err := s.Swapper.SetVersion(ctx, key, data, ttl, v)
	if errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrConflict) && v != 0 {
		return 0, s.Store.Set(ctx, key, data, ttl)
	}
	return now, err
}

// A batcher changes the batches of a store.
type batcher struct {
	core.Store
	core.Batcher
	core.Toucher
	batch func(b core.Batcher, ctx context.Context, writes []core.Write) ([]core.Version, error)
}

func (b batcher) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	return b.batch(b.Batcher, ctx, writes)
}

func newBatcher(s core.Store, batch func(b core.Batcher, ctx context.Context, writes []core.Write) ([]core.Version, error)) core.Store {
	inner, _ := core.As[core.Batcher](s)
	toucher, _ := core.As[core.Toucher](s)
	return batcher{s, inner, toucher, batch}
}

// edited wraps a store so that f changes each tombstone, or has it removed.
func edited(f func(w core.Write) (_ core.Write, remove bool)) func(core.Store) core.Store {
	return func(s core.Store) core.Store {
		return newBatcher(s, func(b core.Batcher, ctx context.Context, writes []core.Write) ([]core.Version, error) {
			writes = slices.Clone(writes)
			for i, w := range writes {
				if !w.Note {
					continue
				}
				changed, remove := f(w)
				if remove {
					changed = core.Write{Key: w.Key, Version: w.Version}
				}
				writes[i] = changed
			}
			return b.Batch(ctx, writes...)
		})
	}
}

// keeping wraps a store so that it writes no tombstones, and the old session stays.
func keeping(s core.Store) core.Store {
	return newBatcher(s, func(b core.Batcher, ctx context.Context, writes []core.Write) ([]core.Version, error) {
		kept := slices.DeleteFunc(slices.Clone(writes), func(w core.Write) bool { return w.Note })
		versions, err := b.Batch(ctx, kept...)
		for len(versions) < len(writes) && err == nil {
			versions = append(versions, 1)
		}
		return versions, err
	})
}
