package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two rounds of some benchmarks, and what a missing server says.
const output = `goos: linux
cpu: a processor
not measured: what needs memcached, which is not in PATH
BenchmarkPeers/store=memory/op=read/callers=1/http=nethttp/lib=scs-2 100 30000 ns/op 8 B/op 268 allocs/op
BenchmarkPeers/store=memory/op=read/callers=1/http=nethttp/lib=gensession-2 100 1000 ns/op 8 B/op 13 allocs/op
BenchmarkClient/server=redis/op=read/callers=1-2 100 99000 ns/op 11000 ns-nethttp 10000 ns-rueidis
BenchmarkFar/op=login/callers=1/http=nethttp-2 100 99000 ns/op 2000000 ns-gensession 1000000 ns-ping 3000000 ns-scs
PASS
BenchmarkPeers/store=memory/op=read/callers=1/http=nethttp/lib=scs-2 100 34000 ns/op 8 B/op 268 allocs/op
BenchmarkPeers/store=memory/op=read/callers=1/http=nethttp/lib=gensession-2 100 3000 ns/op 8 B/op 13 allocs/op
BenchmarkClient/server=redis/op=read/callers=1-2 100 99000 ns/op 39000 ns-nethttp 30000 ns-rueidis
`

func TestReport(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := report(from, to); err == nil {
		t.Error("nothing to report is no error")
	}
	if err := os.WriteFile(filepath.Join(from, "peers.txt"), []byte(output), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "RESULTS.md"), []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := report(from, to); err == nil {
		t.Error("the table of round trips is lost")
	}
	trips := tripsBegin + "what a test has written\n" + tripsEnd
	if err := os.WriteFile(filepath.Join(to, "RESULTS.md"), []byte("old\n"+trips+"old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := report(from, to); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(to, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- Machine: a processor, ",
		"- not measured: what needs memcached",
		"- not measured: load\n",
		"peers 2 (",
		"| net/http, read, memory | ≥ 15× scs | **16.0×** (2.00 µs against 32.0 µs of scs) | yes |\n",
		"| … allocations | ≤ 12 | **13** | no |\n",
		"| net/http, write, memory | ≥ 10× scs | not measured | ? |\n",
		"| net/http, read, Redis, serial | ≤ 1.15× rueidis' bare GET | **1.20×** (25.0 µs against 20.0 µs of rueidis) | no |\n",
		"| GET of rueidis, one caller | 20.0 µs | 25.0 µs | 1.20× |",
		"| net/http, login, Redis 1 ms away, callers: 1 | ≥ 1.35× scs | **1.50×** (2.00 ms against 3.00 ms of scs) | yes |\n",
		"| login, 1 | net/http | 1.00 ms | scs | 3.00 ms | 2.00 ms | 1.50× |\n",
		"\n" + trips,
		"\n2 of ",
		"| read | 2.00 µs, 13 | 32.0 µs, 268 | 16.0× |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the results", want)
		}
	}
	for _, name := range []string{"requests", "redis", "sessions", "size", "load"} {
		chart, err := os.ReadFile(filepath.Join(to, "charts", name+".svg"))
		if err != nil || !strings.HasPrefix(string(chart), "<?xml") {
			t.Errorf("%s: %v, %.20q", name, err, chart)
		}
	}
}
