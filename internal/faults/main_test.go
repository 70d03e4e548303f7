// Package faults_test does to whole applications what servers and networks do
// to them: a browser's requests on one side, a real server that is ill-treated
// on the other, and an adapter, the core and a store between them.
//
// What the tests do in seconds they do for minutes, and with many more cases, if SOAK=1
// is in the environment: see internal/soak.
package faults_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/internal/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m), lasting()...) }

// lasting are the goroutines that outlive their servers and are no leak:
// fasthttp's clock of the Date field runs until the program ends, and the
// cleaner of a worker pool sleeps for ten seconds before it looks whether its
// server is still there. A cluster client of rueidis that was closed may still
// sleep for some seconds before it finds no map of the slots to refresh.
func lasting() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient).redirectOrNew.func1"),
	}
}

// The bounds that the applications have.
const (
	opTimeout = 500 * time.Millisecond
	// slack is what a busy machine may take beside a time limit.
	slack = 1500 * time.Millisecond
)
