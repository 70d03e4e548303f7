package redisstore_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/golden"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// TestGolden replays the recorded exchanges of the original with a real Redis,
// which must have the same keys, values and ttl after each, and fail alike.
func TestGolden(t *testing.T) { replay(t, false) }

// TestGoldenPlainStore replays them with a store that can only get, set and
// destroy.
func TestGoldenPlainStore(t *testing.T) { replay(t, true) }

func replay(t *testing.T, plain bool) {
	server := servers.Redis(t)
	golden.Run(t, "../../core/testdata/koa-exchanges.json", golden.Server{
		Serve:         golden.InMemory,
		HandlerErrors: true,
		PlainStore:    plain,
		Backend: func(t *testing.T) golden.Backend {
			server.Do("FLUSHALL")
			w := &watched{server: server, store: patient(t, server.Addr())}
			t.Cleanup(func() { w.RefuseWrites(false) })
			return w
		},
	})
}

// A watched store is one with the eyes of an administrator on its server.
type watched struct {
	server *servers.RedisServer
	store  *redisstore.Store
	undo   func() // nil while the server takes writes
}

func (w *watched) Store() core.Store { return w.store }

func (w *watched) Put(r golden.Record) {
	switch {
	case r.Value == golden.List:
		w.server.Do("RPUSH", r.Key, "an element")
	case r.PTTL < 0:
		w.server.Do("SET", r.Key, r.Value)
	default:
		w.server.Do("PSETEX", r.Key, strconv.FormatInt(r.PTTL, 10), r.Value)
	}
}

func (w *watched) Records() []golden.Record {
	var all []golden.Record
	keys, _ := w.server.Do("KEYS", "*").([]any)
	for _, k := range keys {
		r := golden.Record{Key: k.(string), Value: golden.List}
		r.PTTL, _ = w.server.Do("PTTL", r.Key).(int64)
		if w.server.Do("TYPE", r.Key) != "list" {
			r.Value, _ = w.server.Do("GET", r.Key).(string)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b golden.Record) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func (w *watched) RefuseWrites(refuse bool) {
	if w.undo != nil {
		w.undo()
		w.undo = nil
	}
	if refuse {
		w.undo = w.server.NoReplicas()
	}
}
