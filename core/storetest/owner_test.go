package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
)

// What a model has of an Indexer.

// enlist does to the lists what a write says. The lock is held.
func (m *model) enlist(w core.Write) {
	switch {
	case w.Owner == "":
	case w.Data == nil || w.Note:
		delete(m.lists[w.Owner], w.Key)
	default:
		m.enter(w.Owner, w.Key, w.TTL)
	}
}

func (m *model) enter(list, key string, ttl time.Duration) {
	if m.lists == nil {
		m.lists = map[string]map[string]time.Time{}
	}
	if m.lists[list] == nil {
		m.lists[list] = map[string]time.Time{}
	}
	now := expiry(ttl)
	if old, ok := m.lists[list][key]; ok && (old.IsZero() || !now.IsZero() && old.After(now)) {
		return
	}
	m.lists[list][key] = now
}

func (m *model) Owned(ctx context.Context, owner string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key, end := range m.lists[owner] {
		if end.IsZero() || time.Now().Before(end) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func (m *model) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl < 0 {
		return errNegative
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enter(owner, key, ttl)
	return nil
}

func (m *model) Disown(ctx context.Context, owner string, keys ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.lists[owner], key)
	}
	return nil
}

func (m *model) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make([]core.Payload, len(keys))
	for i, key := range keys {
		if r, ok := m.find(key); ok {
			found[i] = core.Payload{Data: append([]byte{}, r.data...), Version: r.version}
		}
	}
	return found, nil
}

func (m *model) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	var keys []string
	for key := range m.records {
		if _, ok := m.find(key); ok && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	m.mu.Unlock()
	for len(keys) > 0 {
		n := min(len(keys), 7)
		if err := f(keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// A listsApart store has lists that are a step of their own, as in a Cluster, and
// can't tell its keys.
type listsApart struct{ *model }

func (s listsApart) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	for _, w := range writes {
		if w.Owner != "" {
			return nil, fmt.Errorf("apart: a list: %w", errors.ErrUnsupported)
		}
	}
	return s.model.Batch(ctx, writes...)
}

func (s listsApart) Keys(context.Context, string, func([]string) error) error {
	return errors.ErrUnsupported
}

// A column store keeps the name of the list with each payload, as a table would.
type column struct {
	*model
	mu    sync.Mutex
	owner map[string]string // by key
}

func newColumn() *column { return &column{model: newModel(), owner: map[string]string{}} }

func (s *column) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions, err := s.model.Batch(ctx, writes...)
	if err != nil {
		return nil, err
	}
	for _, w := range writes {
		switch {
		case w.Data == nil || w.Note:
			delete(s.owner, w.Key)
		case w.Owner != "":
			s.owner[w.Key] = w.Owner
		}
	}
	return versions, nil
}

func (s *column) Owned(ctx context.Context, owner string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key, of := range s.owner {
		if _, err := s.model.Get(ctx, key); err == nil && of == owner {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func (s *column) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.model.Get(ctx, key)
	switch {
	case err == nil:
		s.owner[key] = owner
	case errors.Is(err, core.ErrNotFound):
		err = nil
	}
	return err
}

func (s *column) Disown(ctx context.Context, owner string, keys ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if s.owner[key] == owner {
			delete(s.owner, key)
		}
	}
	return nil
}

// listing is a broken whose lists a bug may replace, too.
type listing struct {
	*broken
	owned   func(ctx context.Context, owner string) ([]string, error)
	own     func(ctx context.Context, owner, key string, ttl time.Duration) error
	disown  func(ctx context.Context, owner string, keys ...string) error
	getMany func(ctx context.Context, keys ...string) ([]core.Payload, error)
	keys    func(ctx context.Context, prefix string, f func(keys []string) error) error
}

func (l *listing) Owned(ctx context.Context, owner string) ([]string, error) {
	return l.owned(ctx, owner)
}
func (l *listing) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	return l.own(ctx, owner, key, ttl)
}
func (l *listing) Disown(ctx context.Context, owner string, keys ...string) error {
	return l.disown(ctx, owner, keys...)
}
func (l *listing) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	return l.getMany(ctx, keys...)
}
func (l *listing) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	return l.keys(ctx, prefix, f)
}

func newListing(bug func(l *listing)) core.Store {
	l := &listing{broken: newBroken(func(*broken) {}).(*broken)}
	m := l.model
	l.owned, l.own, l.disown, l.getMany, l.keys = m.Owned, m.Own, m.Disown, m.GetMany, m.Keys
	bug(l)
	return l
}

// listBugs are those that only a list can have.
var listBugs = []struct {
	bug    string
	caught string
	plant  func(l *listing)
}{
	{"Owned tells a key twice", "a list of an owner", func(l *listing) {
		l.owned = func(ctx context.Context, owner string) ([]string, error) {
			keys, err := l.model.Owned(ctx, owner)
			return append(keys, keys...), err
		}
	}},
	{"all lists are one", "a list of an owner", func(l *listing) {
		l.own = func(ctx context.Context, _, key string, ttl time.Duration) error {
			return l.model.Own(ctx, "one", key, ttl)
		}
		l.writes(func(w *core.Write) { w.Owner = strings.Repeat("one", len(w.Owner)/max(len(w.Owner), 1)) })
		l.owned = func(ctx context.Context, _ string) ([]string, error) { return l.model.Owned(ctx, "one") }
		l.disown = func(ctx context.Context, _ string, keys ...string) error { return l.model.Disown(ctx, "one", keys...) }
	}},
	{"Disown does nothing", "a list of an owner", func(l *listing) {
		l.disown = func(ctx context.Context, _ string, _ ...string) error { return ctx.Err() }
	}},
	{"Disown takes all", "a list of an owner", func(l *listing) {
		l.disown = func(ctx context.Context, owner string, keys ...string) error {
			all, _ := l.model.Owned(ctx, owner)
			return l.model.Disown(ctx, owner, all...)
		}
	}},
	{"Disown removes the payload", "a list of an owner", func(l *listing) {
		l.disown = func(ctx context.Context, owner string, keys ...string) error {
			for _, key := range keys {
				l.model.Destroy(ctx, key)
			}
			return l.model.Disown(ctx, owner, keys...)
		}
	}},
	{"a list is lost at a save", "a list is no key", func(l *listing) {
		l.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			l.mu.Lock()
			for _, keys := range l.lists {
				delete(keys, key)
			}
			l.mu.Unlock()
			return l.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a batch without an Owner takes the key out", "a list is no key", func(l *listing) {
		l.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			for _, w := range writes {
				if w.Owner == "" {
					for list := range l.lists {
						l.model.Disown(ctx, list, w.Key)
					}
				}
			}
			return l.model.Batch(ctx, writes...)
		}
	}},
	{"a batch forgets the Owner", "a list of an owner", func(l *listing) { l.writes(func(w *core.Write) { w.Owner = "" }) }},
	{"a note stays in the list", "batch with an owner", func(l *listing) {
		l.writes(func(w *core.Write) {
			if w.Note {
				w.Owner = ""
			}
		})
	}},
	{"a removal stays in the list", "batch with an owner", func(l *listing) {
		l.writes(func(w *core.Write) {
			if w.Data == nil {
				w.Owner = ""
			}
		})
	}},
	{"a batch knows one Owner only", "batch with an owner", func(l *listing) {
		l.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			for i := range writes {
				if writes[i].Owner != "" {
					writes[i].Owner = writes[0].Owner
				}
			}
			return l.model.Batch(ctx, writes...)
		}
	}},
	{"a batch that fails has changed the list", "a batch with an owner that fails", func(l *listing) {
		l.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := l.model.Batch(ctx, writes...)
			if err != nil && ctx.Err() == nil {
				l.mu.Lock()
				for _, w := range writes {
					l.enlist(w)
				}
				l.mu.Unlock()
			}
			return versions, err
		}
	}},
	{"the list is a step of its own", "a batch with an owner is one step", func(l *listing) {
		l.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			bare := append([]core.Write{}, writes...)
			for i := range bare {
				bare[i].Owner = ""
			}
			versions, err := l.model.Batch(ctx, bare...)
			for _, w := range writes {
				if err == nil {
					l.mu.Lock()
					l.enlist(w)
					l.mu.Unlock()
					time.Sleep(time.Microsecond)
				}
			}
			return versions, err
		}
	}},
	{"a list never forgets", "a list forgets", func(l *listing) {
		l.writes(func(w *core.Write) {
			if w.Owner != "" {
				w.TTL = time.Hour
			}
		})
	}},
	{"a later write does not prolong the entry", "a list forgets", func(l *listing) {
		l.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			before := map[string]time.Time{}
			for _, w := range writes {
				if end, ok := l.lists[w.Owner][w.Key]; ok {
					before[w.Key] = end
				}
			}
			versions, err := l.model.Batch(ctx, writes...)
			for _, w := range writes {
				if end, ok := before[w.Key]; ok {
					l.lists[w.Owner][w.Key] = end
				}
			}
			return versions, err
		}
	}},
	{"a list has a thousand keys at most", "many keys of an owner", func(l *listing) {
		l.owned = func(ctx context.Context, owner string) ([]string, error) {
			keys, err := l.model.Owned(ctx, owner)
			return keys[:min(len(keys), 1000)], err
		}
	}},
	{"GetMany leaves out what is missing", "several payloads at once", func(l *listing) {
		l.getMany = func(ctx context.Context, keys ...string) (left []core.Payload, err error) {
			found, err := l.model.GetMany(ctx, keys...)
			for _, p := range found {
				if p.Data != nil {
					left = append(left, p)
				}
			}
			return left, err
		}
	}},
	{"GetMany takes an empty payload for none", "several payloads at once", func(l *listing) {
		l.getMany = func(ctx context.Context, keys ...string) ([]core.Payload, error) {
			found, err := l.model.GetMany(ctx, keys...)
			for i := range found {
				if len(found[i].Data) == 0 {
					found[i] = core.Payload{}
				}
			}
			return found, err
		}
	}},
	{"GetMany shares its payloads", "several payloads at once", func(l *listing) {
		l.getMany = func(ctx context.Context, keys ...string) ([]core.Payload, error) {
			found, err := l.model.GetMany(ctx, keys...)
			for i, key := range keys {
				if r, ok := l.peek(key); ok {
					found[i].Data = r.data
				}
			}
			return found, err
		}
	}},
	{"GetMany answers in the order of the keys' names", "several payloads at once", func(l *listing) {
		l.getMany = func(ctx context.Context, keys ...string) ([]core.Payload, error) {
			found, err := l.model.GetMany(ctx, keys...)
			for i := range found {
				for j := range found[:i] {
					if bytes.Compare(found[i].Data, found[j].Data) < 0 {
						found[i], found[j] = found[j], found[i]
					}
				}
			}
			return found, err
		}
	}},
	{"Keys takes the prefix for a pattern", "all keys", func(l *listing) {
		l.keys = func(ctx context.Context, prefix string, f func([]string) error) error {
			prefix, _, _ = strings.Cut(prefix, "*")
			return l.model.Keys(ctx, strings.TrimSuffix(prefix, "k"), f)
		}
	}},
	{"Keys tells the first ones only", "all keys", func(l *listing) {
		l.keys = func(ctx context.Context, prefix string, f func([]string) error) error {
			once := false
			return l.model.Keys(ctx, prefix, func(keys []string) error {
				if once {
					return nil
				}
				once = true
				return f(keys)
			})
		}
	}},
	{"Keys goes on after an error", "all keys", func(l *listing) {
		l.keys = func(ctx context.Context, prefix string, f func([]string) error) (err error) {
			l.model.Keys(ctx, prefix, func(keys []string) error {
				if failed := f(keys); err == nil {
					err = failed
				}
				return nil
			})
			return err
		}
	}},
	{"a login leaves the list of before", "owners and a store that stops", func(l *listing) {
		l.writes(func(w *core.Write) {
			if w.Version != 0 && !w.Note {
				w.Owner = ""
			}
			if w.Note && w.Owner != "" {
				w.Owner += "x"
			}
		})
		l.disown = func(context.Context, string, ...string) error { return nil }
	}},
	{"a list knows a new key a moment later", "owners beside each other", func(l *listing) {
		l.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			bare := append([]core.Write{}, writes...)
			for i := range bare {
				bare[i].Owner = ""
			}
			versions, err := l.model.Batch(ctx, bare...)
			if err == nil {
				time.AfterFunc(time.Millisecond, func() {
					l.mu.Lock()
					defer l.mu.Unlock()
					for _, w := range writes {
						l.enlist(w)
					}
				})
			}
			return versions, err
		}
	}},
	{"Own ignores the context", "lists and a context that has ended", func(l *listing) {
		l.own = func(_ context.Context, owner, key string, ttl time.Duration) error {
			return l.model.Own(bg, owner, key, ttl)
		}
	}},
}
