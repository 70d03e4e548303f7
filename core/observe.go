package core

import (
	"context"
	"errors"
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
// the call is over, also by a panic: [ErrNotFound] and [ErrConflict] are ordinary answers.
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

// errNoReturn is what around gets of a call that has panicked.
var errNoReturn = errors.New("the store has panicked")

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

func (o observed) Get(ctx context.Context, key string) (data []byte, err error) {
	ctx, end := o.begin(ctx, "Get")
	err = errNoReturn
	defer func() { end(unkeyed(err, key)) }()
	return o.store.Get(ctx, key)
}

func (o observed) Set(ctx context.Context, key string, data []byte, ttl time.Duration) (err error) {
	ctx, end := o.begin(ctx, "Set")
	err = errNoReturn
	defer func() { end(withholdValue(unkeyed(err, key), data)) }()
	return o.store.Set(ctx, key, data, ttl)
}

func (o observed) Destroy(ctx context.Context, key string) (err error) {
	ctx, end := o.begin(ctx, "Destroy")
	err = errNoReturn
	defer func() { end(unkeyed(err, key)) }()
	return o.store.Destroy(ctx, key)
}

// The capabilities, each for itself.

type observedVersions struct {
	o observed
	s Swapper
}

func (v observedVersions) GetVersion(ctx context.Context, key string) (data []byte, now Version, err error) {
	ctx, end := v.o.begin(ctx, "GetVersion")
	err = errNoReturn
	defer func() { end(unkeyed(err, key)) }()
	return v.s.GetVersion(ctx, key)
}

func (v observedVersions) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, old Version) (now Version, err error) {
	ctx, end := v.o.begin(ctx, "SetVersion")
	err = errNoReturn
	defer func() { end(withholdValue(unkeyed(err, key), data)) }()
	return v.s.SetVersion(ctx, key, data, ttl, old)
}

type observedBatches struct {
	o observed
	s Batcher
}

func (b observedBatches) Batch(ctx context.Context, writes ...Write) (versions []Version, err error) {
	ctx, end := b.o.begin(ctx, "Batch")
	err = errNoReturn
	defer func() { end(unkeyedOf(err, writes)) }()
	return b.s.Batch(ctx, writes...)
}

func (b observedBatches) Append(ctx context.Context, key string, suffix []byte) (data []byte, now Version, err error) {
	ctx, end := b.o.begin(ctx, "Append")
	err = errNoReturn
	defer func() { end(withholdValue(unkeyed(err, key), suffix)) }()
	return b.s.Append(ctx, key, suffix)
}

type observedLists struct {
	o observed
	s Indexer
}

func (l observedLists) Owned(ctx context.Context, owner string) (keys []string, err error) {
	ctx, end := l.o.begin(ctx, "Owned")
	err = errNoReturn
	defer func() { end(unkeyed(err, owner)) }()
	return l.s.Owned(ctx, owner)
}

func (l observedLists) Own(ctx context.Context, owner, key string, ttl time.Duration) (err error) {
	ctx, end := l.o.begin(ctx, "Own")
	err = errNoReturn
	defer func() { end(unkeyed(err, owner, key)) }()
	return l.s.Own(ctx, owner, key, ttl)
}

func (l observedLists) Disown(ctx context.Context, owner string, keys ...string) (err error) {
	ctx, end := l.o.begin(ctx, "Disown")
	err = errNoReturn
	defer func() { end(unkeyed(unkeyed(err, owner), keys...)) }()
	return l.s.Disown(ctx, owner, keys...)
}

func (l observedLists) GetMany(ctx context.Context, keys ...string) (found []Payload, err error) {
	ctx, end := l.o.begin(ctx, "GetMany")
	err = errNoReturn
	defer func() { end(unkeyed(err, keys...)) }()
	return l.s.GetMany(ctx, keys...)
}

func (l observedLists) Keys(ctx context.Context, prefix string, f func(keys []string) error) (err error) {
	ctx, end := l.o.begin(ctx, "Keys")
	err = errNoReturn
	defer func() { end(err) }()
	return l.s.Keys(ctx, prefix, f)
}

type observedTouches struct {
	o observed
	s Toucher
}

func (t observedTouches) Touch(ctx context.Context, key string, ttl time.Duration) (err error) {
	ctx, end := t.o.begin(ctx, "Touch")
	err = errNoReturn
	defer func() { end(unkeyed(err, key)) }()
	return t.s.Touch(ctx, key, ttl)
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

func (k *observedKeeper) View(ctx context.Context, key string) (text string, now Version, err error) {
	ctx, end := k.begin(ctx, "GetVersion")
	err = errNoReturn
	defer func() { end(unkeyed(err, key)) }()
	return k.keeper.View(ctx, key)
}

func (k *observedKeeper) Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v Version) (now Version, err error) {
	ctx, end := k.begin(ctx, "SetVersion")
	err = errNoReturn
	defer func() { end(unkeyed(err, text[:keyLen])) }()
	return k.keeper.Keep(ctx, text, keyLen, ttl, v)
}

func (k *observedKeeper) KeepBatch(ctx context.Context, writes []Write) (versions []Version, err error) {
	ctx, end := k.begin(ctx, "Batch")
	err = errNoReturn
	defer func() { end(unkeyedOf(err, writes)) }()
	return k.batches.KeepBatch(ctx, writes)
}
