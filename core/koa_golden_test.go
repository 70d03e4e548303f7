package core_test

import (
	"testing"

	"github.com/gensession/gensession/internal/golden"
)

const recording = "testdata/koa-exchanges.json"

// TestGolden replays the recording on a store with all abilities.
func TestGolden(t *testing.T) {
	t.Parallel()
	golden.Run(t, recording, golden.Server{Serve: golden.InMemory, HandlerErrors: true})
}

// TestGoldenPlainStore replays it on one that can only get, set and destroy.
func TestGoldenPlainStore(t *testing.T) {
	t.Parallel()
	golden.Run(t, recording, golden.Server{Serve: golden.InMemory, HandlerErrors: true, PlainStore: true})
}
