package memcachestore

import (
	"bytes"
	"cmp"
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/gensession/gensession/stores/internal/caught"
)

// A sharedClient is the backend of a client that the user has passed to New. The
// store does not control how long its calls take. So each call runs in its own
// goroutine, and the caller waits for it until its deadline at most. The slots
// limit the number of goroutines.
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
		own.item.Value = bytes.Clone(r.item.Value) // it may be sent after the caller has returned
	}
	done := make(chan error, 1)
	var err error
	caught.Go(func() {
		err = own.send(b.client)
		for pause := 5 * time.Millisecond; refusedConn(err) && r.ctx.Err() == nil && time.Until(r.deadline) > pause+grace; pause = min(2*pause, 50*time.Millisecond) {
			// Another call may give its connection back, or its place at the server.
			time.Sleep(pause/2 + rand.N(pause/2)) // #nosec G404 -- only apart from the others
			err = own.send(b.client)
		}
	}, func(end caught.End) {
		b.slots.leave()
		if end.Err() != nil {
			err = panicked{end}
		}
		done <- err
	})
	waited := wait(r, done)
	if p, ok := waited.(panicked); ok {
		p.end.Raise()
	}
	if waited == nil {
		r.answer, r.answers = own.answer, own.answers
	}
	return waited
}

// panicked is the error of a call whose client has panicked.
type panicked struct{ end caught.End }

func (p panicked) Error() string { return p.end.Err().Error() }

// wait returns the result from done, or the reason for ending earlier.
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

func (b *sharedClient) drop(string) { _ = b.client.Close() }

// probes is the number of keys that a probe reads, so that they belong to several
// servers if there are several.
const probes = 8

// probe reads keys that never exist: a miss is a reply. Ping would need a reply of
// every server.
func (b *sharedClient) probe(ctx context.Context) error {
	answers := make(chan error, probes)
	for i := range probes {
		select {
		case b.probing.taken <- struct{}{}:
		case <-ctx.Done(): // earlier ones still wait
			return ctx.Err()
		}
		var err error
		caught.Go(func() {
			_, err = b.client.Get("gensession:probe:" + strconv.Itoa(i))
		}, func(end caught.End) {
			b.probing.leave()
			answers <- cmp.Or(end.Err(), err)
		})
		if i == 0 {
			// One reply is enough.
			select {
			case err := <-answers:
				if answered(err) {
					return nil
				}
				if !late(err) {
					_ = b.client.Close() // it may have been an old connection
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

// probePatience is how long a probe waits for the first key before it reads the
// others.
const probePatience = 100 * time.Millisecond

func (b *sharedClient) close(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	b.slots.close(ctx.Done())
	b.probing.close(ctx.Done())
}
