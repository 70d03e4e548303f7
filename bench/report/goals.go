package main

import "fmt"

// A goal is a line of the table of what this project wants to reach.
type goal struct {
	what, want string
	judge      func(r *results) (measured string, met, ok bool)
}

// peer names a benchmark of bench/peers.
func peer(store, op string, callers int, http, lib string) string {
	return fmt.Sprintf("Peers/store=%s/op=%s/callers=%d/http=%s/lib=%s", store, op, callers, http, lib)
}

// times wants ours to take at most a given part of the time of theirs.
func times(least float64, part, ours, theirs, named string) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		a, ok := r.at(part, ours, seconds)
		b, ok2 := r.at(part, theirs, seconds)
		if !ok || !ok2 {
			return "", false, false
		}
		return fmt.Sprintf("**%s** (%s against %s of %s)", ratio(b/a), duration(a), duration(b), named), b/a >= least, true
	}
}

// atMost wants ours to take at most so many times the time of theirs.
func atMost(most float64, part, ours, theirs, named string) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		a, ok := r.at(part, ours, seconds)
		b, ok2 := r.at(part, theirs, seconds)
		if !ok || !ok2 {
			return "", false, false
		}
		return fmt.Sprintf("**%.2f×** (%s against %s of %s)", a/b, duration(a), duration(b), named), a/b <= most, true
	}
}

// byTurns wants a request of ours to take at most so many times what the bare
// client does that the same benchmark calls by turns with it.
func byTurns(most float64, name, ours, client string) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		a, b := turn(name, ours), turn(name, client)
		q, ok := r.quotient(a, b)
		return fmt.Sprintf("**%.2f×** (%s against %s of %s)", q, r.span(a), r.span(b), client), q <= most, ok
	}
}

// timesByTurns is times for two that the same benchmark calls by turns.
func timesByTurns(least float64, name, theirs string) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		a, b := turn(name, "gensession"), turn(name, theirs)
		q, ok := r.quotient(b, a)
		return fmt.Sprintf("**%s** (%s against %s of %s)", ratio(q), r.span(a), r.span(b), text(theirs)), q >= least, ok
	}
}

// turn is the time of one of those that a benchmark calls by turns.
func turn(name, by string) measure { return measure{peers, name, "sec-" + by} }

func fewAllocs(most float64, part, name string) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		n, ok := r.at(part, name, allocs)
		return fmt.Sprintf("**%.0f**", n), n <= most, ok
	}
}

// over wants ours to add little to the bare handler.
func over(most float64, mostAllocs float64, ours, bare string) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		a, ok := r.at(peers, ours, seconds)
		b, ok2 := r.at(peers, bare, seconds)
		n, ok3 := r.at(peers, ours, allocs)
		m, ok4 := r.at(peers, bare, allocs)
		if !ok || !ok2 || !ok3 || !ok4 {
			return "", false, false
		}
		return fmt.Sprintf("**%s, %.0f** over %s", duration(a-b), n-m, duration(b)), a-b <= most && n-m <= mostAllocs, true
	}
}

// value wants a number to be at most so many times that of another, or of 1.
func value(most float64, format, part, name, unit, than, thanUnit string) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		v, ok := r.at(part, name, unit)
		if than == "" {
			return fmt.Sprintf(format, v), v <= most, ok
		}
		w, ok2 := r.at(part, than, thanUnit)
		return fmt.Sprintf(format, v, w), v <= w*most, ok && ok2
	}
}

// notWorse wants a number of the sweeper to be at most that without it. Half of
// apart, which says how much the latter differs before and after, is nothing.
func notWorse(with, without, apart measure) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		q, ok := r.quotient(with, without)
		d, ok2 := r.quotient(apart, without)
		v, _ := r.at(with.part, with.name, with.unit)
		w, _ := r.at(without.part, without.name, without.unit)
		return fmt.Sprintf("**%.2f×** (%.1f µs against %.1f µs ± %.0f %%)", q, v, w, 50*d), q <= 1+d/2, ok && ok2
	}
}

func throughput(least float64, format, ours, theirs string) func(r *results) (string, bool, bool) {
	return func(r *results) (string, bool, bool) {
		a, ok := r.at(load, ours, "req/s")
		b, ok2 := r.at(load, theirs, "req/s")
		if !ok || !ok2 {
			return "", false, false
		}
		return fmt.Sprintf(format, a/b, a, b), a/b >= least, true
	}
}

func goals() []goal {
	const (
		net, fast, fiber = "nethttp", "fasthttp", "fiber-v2"
		ours             = "gensession"
	)
	all := []goal{
		{"net/http, read, memory", "≥ 15× scs", times(15, peers, peer("memory", "read", 1, net, ours), peer("memory", "read", 1, net, "scs"), "scs")},
		{"… allocations", "≤ 12", fewAllocs(12, peers, peer("memory", "read", 1, net, ours))},
		{"net/http, write, memory", "≥ 10× scs", times(10, peers, peer("memory", "write", 1, net, ours), peer("memory", "write", 1, net, "scs"), "scs")},
		{"net/http, login, memory", "≥ 6× scs", times(6, peers, peer("memory", "login", 1, net, ours), peer("memory", "login", 1, net, "scs"), "scs")},
		{"… allocations", "≤ 12", fewAllocs(12, peers, peer("memory", "login", 1, net, ours))},
		{"Fiber v2, read, memory", "≥ 20× Fiber's session", times(20, peers, peer("memory", "read", 1, fiber, ours), peer("memory", "read", 1, fiber, "fiber-v2-session"), "Fiber's")},
		{"… allocations", "≤ 8", fewAllocs(8, peers, peer("memory", "read", 1, fiber, ours))},
		{"Fiber v2, write, memory", "≥ 12× Fiber's session", times(12, peers, peer("memory", "write", 1, fiber, ours), peer("memory", "write", 1, fiber, "fiber-v2-session"), "Fiber's")},
		{"fasthttp, read, memory", "ahead of fasthttp/session", times(1, peers, peer("memory", "read", 1, fast, ours), peer("memory", "read", 1, fast, "fasthttp-session"), "fasthttp/session")},
		{"fasthttp, login, memory, allocations", "≤ 12", fewAllocs(12, peers, peer("memory", "login", 1, fast, ours))},
		{"fasthttp, write, memory", "ahead of fasthttp/session", times(1, peers, peer("memory", "write", 1, fast, ours), peer("memory", "write", 1, fast, "fasthttp-session"), "fasthttp/session")},
		{"net/http, deferred and untouched", "≤ 500 ns and 5 allocations over the bare handler", over(500e-9, 5, peer("memory", "untouched", 1, net, ours), "Bare/http="+net)},
		{"Fiber v2, deferred and untouched", "≤ 150 ns and 2 allocations over the bare handler", over(150e-9, 2, peer("memory", "untouched", 1, fiber, ours), "Bare/http="+fiber)},
		{"fasthttp, deferred and untouched", "≤ 150 ns and 2 allocations over the bare handler", over(150e-9, 2, peer("memory", "untouched", 1, fast, ours), "Bare/http="+fast)},
	}
	client := func(server string, callers int) string {
		return fmt.Sprintf("Client/server=%s/op=read/callers=%d", server, callers)
	}
	for _, by := range []struct{ name, text string }{{"nethttp", "net/http"}, {"fasthttp", "fasthttp"}, {"fiber", "Fiber v2"}} {
		all = append(all,
			goal{by.text + ", read, Redis, serial", "≤ 1.15× rueidis' bare GET", byTurns(1.15, client("redis", 1), by.name, "rueidis")},
			goal{by.text + ", read, Redis, 64 callers", "≤ 1.15× rueidis' bare GET", atMost(1.15, peers, client("redis", 64)+"/by="+by.name, client("redis", 64)+"/by=rueidis", "rueidis")})
	}
	all = append(all, goal{"net/http, read, Redis with NearCache, serial", "≥ 30× scs", times(30, peers, peer("redis", "read", 1, net, "gensession-near"), peer("redis", "read", 1, net, "scs"), "scs")})
	for _, op := range []string{"read", "write"} {
		all = append(all,
			goal{"net/http, " + op + ", Redis, 64 callers", "≥ 2.5× the throughput of scs", times(2.5, peers, peer("redis", op, 64, net, ours), peer("redis", op, 64, net, "scs"), "scs")},
			goal{"Fiber v2, " + op + ", Redis, 64 callers", "≥ 2.5× the throughput of Fiber's session", times(2.5, peers, peer("redis", op, 64, fiber, ours), peer("redis", op, 64, fiber, "fiber-v2-session"), "Fiber's")})
	}
	for _, f := range farPairs {
		for _, callers := range []int{1, 64} {
			for _, op := range []struct {
				name  string
				least float64
			}{{"login", 1.35}, {"logout", 0.95}} {
				all = append(all, goal{fmt.Sprintf("%s, %s, Redis 1 ms away, callers: %d", text(f.http), op.name, callers),
					fmt.Sprintf("≥ %.2f× %s", op.least, text(f.lib)), timesByTurns(op.least, farName(op.name, callers, f.http), f.lib)})
			}
		}
	}
	for _, by := range []struct{ name, text string }{{"nethttp", "net/http"}, {"fasthttp", "fasthttp"}, {"fiber", "Fiber v2"}} {
		all = append(all, goal{by.text + ", read, memcached, serial", "≤ 1.15× gomemcache's bare GET",
			byTurns(1.15, client("memcached", 1), by.name, "gomemcache")})
	}
	for _, d := range sqlDatabases {
		for _, op := range sqlOps {
			name := sqlName(d.name, op)
			all = append(all, goal{d.text + ", " + op + ", serial", "≤ 1.25× the bare statement", func(r *results) (string, bool, bool) {
				ours, bare := measure{tables, name, "sec-store"}, measure{tables, name, "sec-bare"}
				q, ok := r.quotient(ours, bare)
				return fmt.Sprintf("**%.2f×** (%s against %s)", q, r.span(ours), r.span(bare)), q <= 1.25, ok
			}})
		}
		all = append(all, goal{d.text + ", a million rows, the longest turn of the sweeper", "≤ 10 ms",
			value(10, "**%.1f ms**", tables, sqlRows(d.name, "sweep", 1_000_000), sweeperTurn, "", "")})
		all = append(all, goal{d.text + ", a million rows, the longest request while the sweeper removes 100,000 of them", "≤ 10 ms",
			func(r *results) (string, bool, bool) {
				with, ok := r.at(tables, sqlRows(d.name, "sweep", 1_000_000), "ms-beside-max")
				without, ok2 := r.at(tables, sqlRows(d.name, "sweep", 1_000_000), "ms-alone-max")
				return fmt.Sprintf("**%.1f ms**, %.1f ms without it", with, without), with <= 10, ok && ok2
			}})
	}
	const million = "Sessions/op=get/sessions=1000000"
	size := func(values, bytes int) string { return fmt.Sprintf("Size/op=read/values=%d/size=%d", values, bytes) }
	return append(all,
		goal{"memory store, a million sessions", "≤ 150 bytes a session beyond key and payload", value(150, "**%.0f**", scale, million, "B/session", "", "")},
		goal{"… get", "≤ 2.5× its cost at a thousand", atMost(2.5, scale, million, "Sessions/op=get/sessions=1000", "a thousand")},
		goal{"… p99.9 of get while half a million expire", "not worse than beside a busy processor, within what that differs by itself", notWorse(measure{scale, sweeping, "µs-sweep-p99.9"}, measure{scale, sweeping, "µs-beside-p99.9"}, measure{scale, sweeping, "µs-apart-p99.9"})},
		// Beside one another on a machine like this the longest get is the machine's: see BenchmarkSweep.
		goal{"… longest that a get waits for the sweeper, the two by turns on one processor", "≤ 1 ms", value(1000, "**%.0f µs**", scale, sweeping, "µs-sweep-turn", "", "")},
		goal{"reading one of 200 values, 16 KiB", "does not decode the others: allocations as with three", value(1.5, "**%.0f** allocations against %.0f", requests, size(200, 16384), allocs, size(3, 256), allocs)},
		goal{"whole server: Fiber v2 with sessions", "≥ 60 % of bare Fiber", throughput(0.6, "**%.2f×** (%.0f against %.0f requests a second)", "Load/server=fiber/sessions=memory/op=read", "Load/server=fiber/sessions=none/op=bare")},
		goal{"… against koa-generic-session on Node", "≥ 10×", throughput(10, "**%.1f×** (%.0f against %.0f requests a second)", "Load/server=fiber/sessions=memory/op=read", "Load/server=koa/sessions=memory/op=read")},
		goal{"… the same with 16 requests at once on each connection", "≥ 10×", throughput(10, "**%.1f×** (%.0f against %.0f requests a second)", "Load/server=fiber/sessions=memory/op=read"+pipelined, "Load/server=koa/sessions=memory/op=read"+pipelined)},
	)
}
