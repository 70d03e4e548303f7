package memcachestore

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// borrowed is a client of the user's. How long its calls take is not in our
// hands, so each runs in a goroutine of its own, which nobody waits for longer
// than the call may take; the slots bound how many there are.
type sharedClient struct {
	client  *memcache.Client
	slots   slots
	probing slots
}

func (b *sharedClient) do(r *request) error {
	if err := b.slots.enter(r); err != nil {
		return err
	}
	own := *r
	if own.verb.writes() {
		own.item.Value = bytes.Clone(r.item.Value) // it may be sent after the caller got its own back
	}
	done := make(chan error, 1)
	go func() {
		err := own.send(b.client)
		b.slots.leave()
		done <- err
	}()
	err := wait(r, done)
	if err == nil {
		r.answer = own.answer
	}
	return err
}

// wait returns what done tells, or why the call had to end before.
func wait(r *request, done <-chan error) error {
	left := time.Until(r.deadline)
	timer := time.NewTimer(min(left, patience))
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	timer.Reset(left - patience)
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return context.DeadlineExceeded
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

func (b *sharedClient) drop(string) { b.client.Close() }

// probes is how many keys a probe asks for, so that they belong to several
// servers if there are several.
const probes = 8

// probe asks for keys that are never there: a miss is an answer. Ping would be
// content with nothing less than all servers.
func (b *sharedClient) probe(ctx context.Context) error {
	answers := make(chan error, probes)
	for i := range probes {
		select {
		case b.probing.taken <- struct{}{}:
		case <-ctx.Done(): // earlier ones still wait
			return ctx.Err()
		}
		go func() {
			_, err := b.client.Get("gensession:probe:" + strconv.Itoa(i))
			b.probing.leave()
			answers <- err
		}()
		if i == 0 {
			// One is enough as long as all is well.
			select {
			case err := <-answers:
				if answered(err) {
					return nil
				}
				if !late(err) {
					b.client.Close() // it may have been an old connection
				}
				answers <- err
			case <-time.After(probePatience):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	var err error
	for range probes {
		select {
		case err = <-answers:
			if answered(err) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// probePatience is how long the first key of a probe is waited for before the
// others are asked for.
const probePatience = 100 * time.Millisecond

func (b *sharedClient) close(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	b.slots.close(ctx.Done())
	b.probing.close(ctx.Done())
}
