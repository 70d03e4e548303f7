package core

import (
	"context"
	"strings"
	"time"
)

// Observe returns a store that calls around for every call of s, for metrics and
// traces. Its capabilities are those of s, as [As] finds them, at the same speed.
//
// around gets the context of the call and the name of the method of [Store],
// [Swapper], [Batcher], [Indexer] or [Toucher] that is called, such as "GetVersion". The
// call gets the context that it returns, which must come from ctx, or deadlines
// are lost. The function that it returns, if it is not nil, gets the error when
// the call is over: [ErrNotFound] and [ErrConflict] are ordinary answers.
// around is called by several goroutines at the same time. It sees no key and no
// payload: an error in which s quotes a key has [key] in its place, and [value] in that
// of what the call writes. Closing s stays the caller's. Observe returns nil if s is nil.
func Observe(s Store, around func(ctx context.Context, method string) (context.Context, func(error))) Store {
	if isNil(s) {
		return nil
	}
	o := observed{s, around}
	swapper, _ := As[Swapper](s)
	batcher, _ := As[Batcher](s)
	indexer, _ := As[Indexer](s)
	toucher, _ := As[Toucher](s)
	keeper := keeperOf(swapper)
	keeps, _ := keeper.(batchKeeper)
	versions, batches, touches := observedVersions{o, swapper}, observedBatches{o, batcher}, observedTouches{o, toucher}
	lists := observedLists{o, indexer}
	switch {
	case keeps != nil && indexer != nil && toucher != nil:
		return &observedKeeper{o, versions, batches, touches, lists, keeper, keeps}
	case indexer != nil && toucher != nil:
		return struct {
			observed
			observedVersions
			observedBatches
			observedLists
			observedTouches
		}{o, versions, batches, lists, touches}
	case indexer != nil:
		return struct {
			observed
			observedVersions
			observedBatches
			observedLists
		}{o, versions, batches, lists}
	case batcher != nil && toucher != nil:
		return struct {
			observed
			observedVersions
			observedBatches
			observedTouches
		}{o, versions, batches, touches}
	case batcher != nil:
		return struct {
			observed
			observedVersions
			observedBatches
		}{o, versions, batches}
	case swapper != nil && toucher != nil:
		return struct {
			observed
			observedVersions
			observedTouches
		}{o, versions, touches}
	case swapper != nil:
		return struct {
			observed
			observedVersions
		}{o, versions}
	case toucher != nil:
		return struct {
			observed
			observedTouches
		}{o, touches}
	}
	return o
}

// unkeyed is err for around, which sees no key: not even what follows a prefix. What a
// call writes is withheld by withholdValue.
func unkeyed(err error, keys ...string) error {
	if err == nil {
		return nil
	}
	for _, key := range keys {
		err = withhold(err, key[strings.LastIndexByte(key, ':')+1:])
	}
	return err
}

func unkeyedOf(err error, writes []Write) error {
	if err == nil {
		return nil
	}
	for _, w := range writes {
		err = withholdValue(unkeyed(err, w.Key), w.Data)
	}
	return err
}

// observed has the calls of every store. What it does not know of, such as
// Notifier, is found in the store itself.
type observed struct {
	store  Store
	around func(ctx context.Context, method string) (context.Context, func(error))
}

func (o observed) Unwrap() Store { return o.store }

// begin returns the context of a call, and what is to be done at its end.
func (o observed) begin(ctx context.Context, method string) (context.Context, func(error)) {
	ctx, end := o.around(ctx, method)
	if end == nil {
		end = func(error) {}
	}
	return ctx, end
}

func (o observed) Get(ctx context.Context, key string) ([]byte, error) {
	ctx, end := o.begin(ctx, "Get")
	data, err := o.store.Get(ctx, key)
	end(unkeyed(err, key))
	return data, err
}

func (o observed) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	ctx, end := o.begin(ctx, "Set")
	err := o.store.Set(ctx, key, data, ttl)
	end(withholdValue(unkeyed(err, key), data))
	return err
}

func (o observed) Destroy(ctx context.Context, key string) error {
	ctx, end := o.begin(ctx, "Destroy")
	err := o.store.Destroy(ctx, key)
	end(unkeyed(err, key))
	return err
}

// The capabilities, each for itself.

type observedVersions struct {
	o observed
	s Swapper
}

func (v observedVersions) GetVersion(ctx context.Context, key string) ([]byte, Version, error) {
	ctx, end := v.o.begin(ctx, "GetVersion")
	data, now, err := v.s.GetVersion(ctx, key)
	end(unkeyed(err, key))
	return data, now, err
}

func (v observedVersions) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, old Version) (Version, error) {
	ctx, end := v.o.begin(ctx, "SetVersion")
	now, err := v.s.SetVersion(ctx, key, data, ttl, old)
	end(withholdValue(unkeyed(err, key), data))
	return now, err
}

type observedBatches struct {
	o observed
	s Batcher
}

func (b observedBatches) Batch(ctx context.Context, writes ...Write) ([]Version, error) {
	ctx, end := b.o.begin(ctx, "Batch")
	versions, err := b.s.Batch(ctx, writes...)
	end(unkeyedOf(err, writes))
	return versions, err
}

func (b observedBatches) Append(ctx context.Context, key string, suffix []byte) ([]byte, Version, error) {
	ctx, end := b.o.begin(ctx, "Append")
	data, now, err := b.s.Append(ctx, key, suffix)
	end(withholdValue(unkeyed(err, key), suffix))
	return data, now, err
}

type observedLists struct {
	o observed
	s Indexer
}

func (l observedLists) Owned(ctx context.Context, owner string) ([]string, error) {
	ctx, end := l.o.begin(ctx, "Owned")
	keys, err := l.s.Owned(ctx, owner)
	end(unkeyed(err, owner))
	return keys, err
}

func (l observedLists) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	ctx, end := l.o.begin(ctx, "Own")
	err := l.s.Own(ctx, owner, key, ttl)
	end(unkeyed(err, owner, key))
	return err
}

func (l observedLists) Disown(ctx context.Context, owner string, keys ...string) error {
	ctx, end := l.o.begin(ctx, "Disown")
	err := l.s.Disown(ctx, owner, keys...)
	end(unkeyed(unkeyed(err, owner), keys...))
	return err
}

func (l observedLists) GetMany(ctx context.Context, keys ...string) ([]Payload, error) {
	ctx, end := l.o.begin(ctx, "GetMany")
	found, err := l.s.GetMany(ctx, keys...)
	end(unkeyed(err, keys...))
	return found, err
}

func (l observedLists) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	ctx, end := l.o.begin(ctx, "Keys")
	err := l.s.Keys(ctx, prefix, f)
	end(err)
	return err
}

type observedTouches struct {
	o observed
	s Toucher
}

func (t observedTouches) Touch(ctx context.Context, key string, ttl time.Duration) error {
	ctx, end := t.o.begin(ctx, "Touch")
	err := t.s.Touch(ctx, key, ttl)
	end(unkeyed(err, key))
	return err
}

// observedKeeper is for a store in this process. It has the methods of a keeper
// itself, since keeperOf does not take embedded ones.
type observedKeeper struct {
	observed
	observedVersions
	observedBatches
	observedTouches
	observedLists
	keeper  keeper
	batches batchKeeper
}

func (k *observedKeeper) View(ctx context.Context, key string) (string, Version, error) {
	ctx, end := k.begin(ctx, "GetVersion")
	text, now, err := k.keeper.View(ctx, key)
	end(unkeyed(err, key))
	return text, now, err
}

func (k *observedKeeper) Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v Version) (Version, error) {
	ctx, end := k.begin(ctx, "SetVersion")
	now, err := k.keeper.Keep(ctx, text, keyLen, ttl, v)
	end(unkeyed(err, text[:keyLen]))
	return now, err
}

func (k *observedKeeper) KeepBatch(ctx context.Context, writes []Write) ([]Version, error) {
	ctx, end := k.begin(ctx, "Batch")
	versions, err := k.batches.KeepBatch(ctx, writes)
	end(unkeyedOf(err, writes))
	return versions, err
}
