package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// Bench measures the stores that newStore returns: get, miss, set, create with
// destroy, swap and touch, with payloads of several sizes, by one caller and by
// GOMAXPROCS callers, or more if newStore calls b.SetParallelism. The names suit
// -col and -row of benchstat: op=get/size=256/mode=serial.
//
// Bench checks the result of each operation, so that a store that quickly returns
// an error or nothing fails.
func Bench(b *testing.B, newStore func(b *testing.B) core.Store) {
	for _, op := range benchOps {
		for _, size := range op.sizes {
			for _, mode := range []string{"serial", "parallel"} {
				b.Run(fmt.Sprintf("op=%s/size=%d/mode=%s", op.name, size, mode), func(b *testing.B) {
					s := &bench{
						store:  newStore(b),
						prefix: "storetest:" + rand.Text() + ":",
						data:   bytes.Repeat([]byte(`{"a":1,"b":"x"}`), size/15+1)[:size],
					}
					s.swapper, _ = core.As[core.Swapper](s.store)
					s.toucher, _ = core.As[core.Toucher](s.store)
					if why := op.needs(s); why != "" {
						b.Skip(why)
					}
					b.ReportAllocs()
					if mode == "serial" {
						s.serial(b, op)
					} else {
						s.parallel(b, op)
					}
				})
			}
		}
	}
}

// A bench is the store of one measurement, and what is written to it.
type bench struct {
	store   core.Store
	swapper core.Swapper
	toucher core.Toucher
	prefix  string
	data    []byte
}

// A benchOp is one operation. Each caller begins with prepare, on a key of its
// own, and then repeats step, which keeps in the version what it needs.
type benchOp struct {
	name    string
	sizes   []int
	needs   func(s *bench) string // why this store can't, or nothing
	prepare func(s *bench, key string) (core.Version, error)
	step    func(s *bench, key string, v core.Version) (core.Version, error)
}

var (
	benchSizes = []int{256, 4096, 65536}
	errBench   = errors.New("it did not do what is measured")
)

const benchTTL = time.Hour

func nothing(*bench) string { return "" }

func prepareSet(s *bench, key string) (core.Version, error) {
	return 0, s.store.Set(context.Background(), key, s.data, benchTTL)
}

func prepareNothing(*bench, string) (core.Version, error) { return 0, nil }

var benchOps = []benchOp{{
	"get", benchSizes, nothing, prepareSet,
	func(s *bench, key string, _ core.Version) (core.Version, error) {
		data, err := s.store.Get(context.Background(), key)
		if err == nil && len(data) != len(s.data) {
			err = errBench
		}
		return 0, err
	},
}, {
	"miss", benchSizes[:1], nothing, prepareNothing,
	func(s *bench, key string, _ core.Version) (core.Version, error) {
		if _, err := s.store.Get(context.Background(), key); !errors.Is(err, core.ErrNotFound) {
			return 0, errBench
		}
		return 0, nil
	},
}, {
	"set", benchSizes, nothing, prepareSet,
	func(s *bench, key string, _ core.Version) (core.Version, error) {
		return 0, s.store.Set(context.Background(), key, s.data, benchTTL)
	},
}, {
	// As one operation, since a Destroy needs something to destroy.
	"create+destroy", benchSizes, nothing, prepareNothing,
	func(s *bench, key string, _ core.Version) (core.Version, error) {
		err := s.store.Set(context.Background(), key, s.data, benchTTL)
		if err == nil {
			err = s.store.Destroy(context.Background(), key)
		}
		return 0, err
	},
}, {
	"swap", benchSizes,
	func(s *bench) string {
		if s.swapper == nil {
			return "no core.Swapper"
		}
		return ""
	},
	func(s *bench, key string) (core.Version, error) { return s.swap(key, 0) },
	(*bench).swap,
}, {
	"touch", benchSizes[:1],
	func(s *bench) string {
		if s.toucher == nil {
			return "no core.Toucher"
		}
		return ""
	},
	prepareSet,
	func(s *bench, key string, _ core.Version) (core.Version, error) {
		return 0, s.toucher.Touch(context.Background(), key, benchTTL)
	},
}}

// swap is what the core does: it reads the version only if it was not told.
func (s *bench) swap(key string, v core.Version) (core.Version, error) {
	now, err := s.swapper.SetVersion(context.Background(), key, s.data, benchTTL, v)
	if err == nil && now == 0 {
		_, now, err = s.swapper.GetVersion(context.Background(), key)
	}
	return now, err
}

func (s *bench) serial(b *testing.B, op benchOp) {
	const keys = 512 // or the caches would know the only one too well
	names, versions := make([]string, keys), make([]core.Version, keys)
	for i := range names {
		var err error
		names[i] = s.prefix + strconv.Itoa(i)
		if versions[i], err = op.prepare(s, names[i]); err != nil {
			b.Fatal(err)
		}
	}
	var err error
	n := 0
	for b.Loop() {
		i := n % keys
		n++
		if versions[i], err = op.step(s, names[i], versions[i]); err != nil {
			b.Fatal(err)
		}
	}
	s.worked(b, op, names[0])
}

func (s *bench) parallel(b *testing.B, op benchOp) {
	var callers atomic.Int64
	b.RunParallel(func(p *testing.PB) {
		key := s.prefix + strconv.FormatInt(callers.Add(1), 10)
		v, err := op.prepare(s, key)
		for err == nil && p.Next() {
			v, err = op.step(s, key, v)
		}
		if err != nil {
			b.Error(err)
		}
	})
	s.worked(b, op, s.prefix+"1")
}

// worked looks at what the operations have left behind.
func (s *bench) worked(b *testing.B, op benchOp, key string) {
	b.Helper()
	data, err := s.store.Get(context.Background(), key)
	switch op.name {
	case "miss", "create+destroy":
		if !errors.Is(err, core.ErrNotFound) {
			b.Error(errBench)
		}
	default:
		if err != nil || !bytes.Equal(data, s.data) {
			b.Error(errBench, err)
		}
	}
}
