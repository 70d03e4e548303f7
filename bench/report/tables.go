package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

func (r *results) write(w io.Writer) error {
	p := func(format string, a ...any) { fmt.Fprintf(w, format, a...) }
	p("# Results of the benchmarks\n\n")
	p(written+"%s, revision %s.\n\n", time.Now().UTC().Format("2006-01-02"), said("git", "describe", "--always", "--dirty=, with changes"))
	p("- Machine: %s, %d processors, %s\n", r.config["cpu"], runtime.NumCPU(), system())
	p("- %s, %s\n", said("go", "version"), strings.Join(servers(), ", "))
	p("- Libraries: %s\n", strings.Join(versions(), ", "))
	var rounds []string
	for _, part := range parts {
		if r.rounds[part] == 0 {
			continue
		}
		rounds = append(rounds, fmt.Sprintf("%s %d (%.0f %%)", part, r.rounds[part], 100*r.spread(part)))
	}
	p("- Rounds of each part, and how far apart they ordinarily are: %s\n", strings.Join(rounds, ", "))
	for _, n := range r.notes {
		p("- %s\n", n)
	}
	p(`
Each number is the median of the rounds. Numbers are to be compared within a table, which comes from one run; another machine has others, and a busy one strays. The servers run on the same machine.

A request has a session of six values, about 250 bytes as JSON, and goes through the real adapter or middleware, without a network to the browser: *visitor* has no cookie and *untouched* has one, and the handler does not ask for the session (with %[1]sDefer%[1]s for ours); *read* takes one value; *write* reads it, adds one and saves; *login* changes the id; *logout* ends the session. All safety of ours is on: signed cookie, hashed ids, versions. The other libraries are used the fastest way that they document, see [bench/peers](peers/doc.go).

## Goals

`, "`")
	p("| what | goal | measured | met |\n|---|---|---|---|\n")
	reached, of, last, earlier := 0, 0, "", false
	for _, g := range goals() {
		text, met, ok := g.judge(r)
		answer := "no"
		before, had := r.old.goals[goalKey(&last, g.what, g.want)]
		switch {
		case !ok && had:
			text, answer, earlier = before.measured, before.answer, true
			if strings.HasPrefix(answer, "yes") {
				reached++
			}
		case !ok:
			text, answer = "not measured", "?"
		case met:
			answer = "yes"
			reached++
		}
		of++
		p("| %s | %s | %s | %s |\n", g.what, g.want, text, answer)
	}
	p("\n%d of %d are met.", reached, of)
	if earlier {
		p(" What has *before* is from an earlier run, and those that are not measured count as not met.")
	}
	p("\n")

	p("\n## Requests beside other libraries\n\n![a request in memory](charts/requests.svg)\n")
	ops := []string{"visitor", "untouched", "read", "write", "login"}
	for _, http := range []struct{ name, text, ours string }{
		{"nethttp", "net/http", "nethttp"}, {"fasthttp", "fasthttp", "fasthttp"},
		{"fiber-v2", "Fiber v2", "fiber-v2"}, {"fiber-v3", "Fiber v3", "fiber-v2"},
	} {
		p("\n%s, in memory", http.text)
		if http.ours != http.name {
			p(" (ours on Fiber v2)")
		}
		if bare, ok := r.at(peers, "Bare/http="+http.name, seconds); ok {
			p("; a bare handler takes %s", duration(bare))
		}
		p(":\n\n")
		var rows [][]string
		for _, op := range ops {
			row := []string{op}
			ours := peer("memory", op, 1, http.ours, "gensession")
			row = append(row, r.time(peers, ours))
			for _, lib := range libsOn(http.name) {
				store := "memory"
				if lib == "gorilla" {
					store = "cookie"
				}
				theirs := peer(store, op, 1, http.name, lib)
				row = append(row, r.time(peers, theirs), r.ratio(peers, theirs, ours))
			}
			rows = append(rows, row)
		}
		head := []string{"", "gensession"}
		for _, lib := range libsOn(http.name) {
			head = append(head, text(lib), "ratio")
		}
		table(w, head, rows)
	}
	p("\nThe ratio is their time by ours: above 1 we are ahead. gorilla/sessions here keeps the values in the cookie and has no store.\n")

	p("\nOn Redis, requests of one caller, and of 64 at once (the time of all by the number of requests). Cells with two numbers are time and allocations, here and elsewhere:\n\n![throughput on Redis](charts/redis.svg)\n\n")
	var rows [][]string
	for _, callers := range []int{1, 64} {
		for _, op := range ops[2:] {
			for _, http := range []string{"nethttp", "fasthttp", "fiber-v2", "fiber-v3"} {
				ourHTTP := http
				if http == "fiber-v3" {
					ourHTTP = "fiber-v2"
				}
				ours := peer("redis", op, callers, ourHTTP, "gensession")
				for _, lib := range libsOn(http) {
					theirs := peer("redis", op, callers, http, lib)
					if _, ok := r.at(peers, theirs, seconds); ok {
						rows = append(rows, []string{fmt.Sprintf("%s, %d", op, callers), text(http), text(lib), r.time(peers, theirs), r.time(peers, ours), r.ratio(peers, theirs, ours)})
					}
				}
			}
		}
	}
	table(w, []string{"request, callers", "on", "library", "time", "gensession", "ratio"}, rows)

	p("\nReading with %sNearCache%s, a second: ", "`", "`")
	for i, http := range []string{"nethttp", "fasthttp", "fiber-v2"} {
		if i > 0 {
			p("; ")
		}
		p("%s %s by one caller, %s by 64", text(http),
			r.time(peers, peer("redis", "read", 1, http, "gensession-near")), r.time(peers, peer("redis", "read", 64, http, "gensession-near")))
	}
	p(".\n\nBeside the bare clients. With one caller, these and ours are called by turns, in a changing order, each timed by itself; a time is the middle one, a ratio the median of the rounds'. In loops of their own they could not be compared: a call is mostly waiting, and whether the processors of a virtual machine fall asleep meanwhile depends on some µs between two calls. memcached has one thread then, since which of several serves a connection makes as much. A write of the bare client is a GET and a SET.\n\n")
	rows = nil
	adapters := []string{"nethttp", "fasthttp", "fiber"}
	for _, op := range []struct{ name, text string }{{"read", "GET"}, {"write", "GET and SET"}} {
		for _, s := range clients {
			name := fmt.Sprintf("Client/server=%s/op=%s/callers=1", s.server, op.name)
			row := []string{fmt.Sprintf("%s of %s, one caller", op.text, s.client), r.span(turn(name, s.client))}
			for _, by := range adapters {
				cell := ""
				if q, ok := r.quotient(turn(name, by), turn(name, s.client)); ok {
					cell = ratio(q)
				}
				row = append(row, r.span(turn(name, by)), cell)
			}
			rows = append(rows, row)
		}
	}
	for _, s := range clients {
		name := func(by string) string { return fmt.Sprintf("Client/server=%s/op=read/callers=64/by=%s", s.server, by) }
		row := []string{fmt.Sprintf("GET of %s, 64 callers", s.client), r.time(peers, name(s.client))}
		for _, by := range adapters {
			row = append(row, r.time(peers, name(by)), r.ratio(peers, name(by), name(s.client)))
		}
		rows = append(rows, row)
	}
	table(w, []string{"", "bare", "net/http", "ratio", "fasthttp", "ratio", "Fiber v2", "ratio"}, rows)

	p("\n## Round trips\n\nHow many calls of the store a request makes one after the other, loading included: what a request takes on a store that is far away. Where a cell has two numbers, the second is that of KoaCompat. This table is no measurement of time; a test guards it.\n\n%s%s%s", tripsBegin, r.old.trips, tripsEnd)
	r.far(w)

	p("\n## Adapters and stores\n\n")
	rows = nil
	for _, a := range []string{"nethttp", "fasthttp", "fiber"} {
		rows = append(rows, []string{text(a), "none", "bare", r.time(requests, "Request/adapter="+a+"/store=none/op=bare/callers=1"), ""})
		for _, s := range []string{"memory", "redis", "memcache"} {
			for _, op := range ops {
				name := func(callers int) string {
					return fmt.Sprintf("Request/adapter=%s/store=%s/op=%s/callers=%d", a, s, op, callers)
				}
				rows = append(rows, []string{text(a), text(s), op, r.time(requests, name(1)), r.time(requests, name(64))})
			}
		}
	}
	table(w, []string{"adapter", "store", "request", "one caller", "64 callers"}, rows)

	p("\n## Who watches, and sealing\n\nThe same request on fasthttp, in memory, while somebody is told, or while sessions are sealed: the time, and the ratio to nobody. When nobody is told, it costs nothing.\n\n")
	rows = nil
	observed := func(by, op string) string {
		return "Observed/by=" + strings.ReplaceAll(by, " ", "_") + "/op=" + op
	}
	for _, by := range []string{"nobody", "Logger at Info", "Hooks.Event", "core.Observe", "OpenTelemetry, metrics", "OpenTelemetry, metrics and spans", "Options.Seal"} {
		row := []string{by}
		for _, op := range []string{"read", "write", "login"} {
			row = append(row, r.time(requests, observed(by, op)), r.ratio(requests, observed(by, op), observed("nobody", op)))
		}
		rows = append(rows, row)
	}
	table(w, []string{"", "read", "ratio", "write", "ratio", "login", "ratio"}, rows)

	p("\n## Stores\n\nWithout sessions, a call of the store with a payload of so many bytes; *serial* by one caller, *parallel* by as many as there are processors.\n\n")
	rows = nil
	for _, op := range []string{"get", "miss", "set", "swap", "touch", "create+destroy"} {
		for _, size := range []int{256, 4096, 65536} {
			row := []string{fmt.Sprintf("%s, %d", op, size)}
			for _, mode := range []string{"serial", "parallel"} {
				for _, s := range []string{"memory", "redis", "memcache", "sqlite", "postgres", "mariadb"} {
					row = append(row, r.time(stores, fmt.Sprintf("Store/store=%s/op=%s/size=%d/mode=%s", s, op, size, mode)))
				}
			}
			if strings.Join(row[1:], "") != "" {
				rows = append(rows, row)
			}
		}
	}
	table(w, []string{"operation, bytes", "memory, serial", "Redis, serial", "memcached, serial", "SQLite, serial", "PostgreSQL, serial", "MariaDB, serial", "memory, parallel", "Redis, parallel", "memcached, parallel", "SQLite, parallel", "PostgreSQL, parallel", "MariaDB, parallel"}, rows)

	r.databases(w)

	p("\n## Scale\n\nThe memory store with many sessions:\n\n![get and the number of sessions](charts/sessions.svg)\n\n")
	rows = nil
	for _, n := range sessionCounts {
		name := fmt.Sprintf("Sessions/op=get/sessions=%d", n)
		extra := ""
		if v, ok := r.at(scale, name, "B/session"); ok {
			extra = fmt.Sprintf("%.0f", v)
		}
		rows = append(rows, []string{fmt.Sprint(n), r.time(scale, name), r.ratio(scale, name, "Sessions/op=get/sessions=1000"), extra})
	}
	table(w, []string{"sessions", "get", "to a thousand", "bytes a session beyond key and payload"}, rows)
	if a, ok := r.at(scale, sweeping, "µs-sweep-max"); ok {
		b, _ := r.at(scale, sweeping, "µs-beside-max")
		ms, _ := r.at(scale, sweeping, "ms/pass")
		p("\nSweeping out half of a million sessions takes %.0f ms. The longest get meanwhile is ordinarily %.1f ms, and %.1f ms beside a goroutine that keeps a processor busy without touching the store: a machine like this takes a processor away at times, and lets a thread that has slept wait for the next tick of its clock, some 4 ms, as beside any lock that another holds for 10 µs again and again. How long the sweeper keeps its lock does not depend on that and is seen in every pass, so it is measured as the longest turn of sweeper and reader on one processor, in that one of some passes where it was shortest. The p99.9 beside a busy processor is the mean of one before the pass and one after it; ± is half of what they differ, in the middle one of the passes.\n", ms, a/1000, b/1000)
	}
	p("\n## The size of a session\n\nReading one value of a session with many, in memory:\n\n![a read and the size of the session](charts/size.svg)\n\n")
	rows = nil
	for _, s := range sizes {
		row := []string{fmt.Sprint(s.values), fmt.Sprint(s.bytes)}
		for _, l := range sizedLibs {
			row = append(row, r.time(peers, sized(s.values, s.bytes, l.http, l.lib)))
		}
		rows = append(rows, row)
	}
	head := []string{"values", "bytes"}
	for _, l := range sizedLibs {
		head = append(head, l.text)
	}
	table(w, head, rows)

	p("\n## Whole servers\n\nServers over the loopback, under the same 64 connections, in memory. Each sends a request as soon as it has the answer to the last. Most of that is the work of the kernel and of the generator, which share the machine with the server: the faster that is, the more they take from it. So the same is measured with *16 at once*, in one write, the next when all are answered (HTTP/1.1 pipelining), for all servers: no browser does that, but it shows what the servers themselves need. The processor's time is that of the server alone. Koa is one process, as Node does.\n\n![requests a second](charts/load.svg)\n\n")
	rows = nil
	for _, l := range loads {
		row := []string{l.text}
		for _, how := range []string{"", pipelined} {
			a, ok := r.at(load, l.name+how, "req/s")
			b, ok2 := r.at(load, l.name+how, "cpu-µs/op")
			if !ok || !ok2 {
				row = append(row, "", "")
				continue
			}
			row = append(row, fmt.Sprintf("%.0f", a), duration(b/1e6))
		}
		rows = append(rows, row)
	}
	table(w, []string{"server, request", "requests a second", "processor's time a request", "16 at once: requests a second", "processor's time a request"}, rows)
	bare, ok := r.at(load, "Load/server=fiber/sessions=none/op=bare", "req/s")
	koa, ok2 := r.at(load, "Load/server=koa/sessions=memory/op=read", "req/s")
	if ok && ok2 {
		p("\nFiber without any session answers %.1f times as many requests as Koa with its own.\n", bare/koa)
	}
	return nil
}

var (
	sqlDatabases = []struct{ name, text string }{{"sqlite", "SQLite"}, {"postgres", "PostgreSQL"}, {"mariadb", "MariaDB"}}
	sqlOps       = []string{"get", "set", "swap", "touch"}
)

func sqlName(db, op string) string { return fmt.Sprintf("Database/db=%s/op=%s", db, op) }

func sqlRows(db, op string, rows int) string {
	return fmt.Sprintf("Rows/db=%s/op=%s/rows=%d", db, op, rows)
}

// databases writes what stores/sql costs.
func (r *results) databases(w io.Writer) {
	fmt.Fprint(w, "\n## Databases\n\nThe store beside the bare driver that executes the same statement, by turns; the servers on the same machine, and not waiting for its disk. A payload has 256 bytes.\n\n")
	var rows [][]string
	for _, op := range sqlOps {
		row := []string{op}
		for _, d := range sqlDatabases {
			ours, bare := measure{tables, sqlName(d.name, op), "sec-store"}, measure{tables, sqlName(d.name, op), "sec-bare"}
			cell := ""
			if q, ok := r.quotient(ours, bare); ok {
				cell = ratio(q)
			}
			row = append(row, r.span(bare), r.span(ours), cell)
		}
		rows = append(rows, row)
	}
	table(w, []string{"statement", "SQLite, bare", "store", "ratio", "PostgreSQL, bare", "store", "ratio", "MariaDB, bare", "store", "ratio"}, rows)

	fmt.Fprint(w, "\nBeside the stores of scs on the same server: they take turns with ours, on the same pool of 16 connections (pgxstore: on one of pgx, as large), each caller with a session of its own; with 16 callers *time* is that of all by their number, and *ratio* is their time by ours. scs saves and touches with a Commit, which replaces what another request has saved meanwhile; our *swap* is a save that would notice. Ours on SQLite is a file of stores/sqlite. Ours has a deadline for each call, as the core sets one; scs waits without limit. The driver or database/sql watches a deadline in another goroutine, and to wake that seems to cost much where client and server have a processor each: without it, most of what MariaDB and PostgreSQL differ by with one caller is gone (BenchmarkDeadline). The rest on MariaDB is probably the longer statement, with the version and the server's clock; the text of bench/databases has more. *set, destroy* are two calls. The storage of Fiber, github.com/gofiber/storage/postgres/v3, is not served by the module proxy that these benchmarks are built with, so it is not here.\n\n")
	rows = nil
	for _, d := range sqlDatabases {
		for _, lib := range besideLibs[d.name] {
			for _, callers := range []int{1, 16} {
				for _, op := range besideOps {
					name := besideName(d.name, op.name, callers)
					theirs, ours := measure{tables, name, "sec-" + lib}, measure{tables, name, "sec-gensession"}
					if q, ok := r.quotient(theirs, ours); ok {
						rows = append(rows, []string{d.text, fmt.Sprintf("%s, %d", op.text, callers), strings.Replace(lib, "scs-", "scs's ", 1), r.span(theirs), r.span(ours), ratio(q)})
					}
				}
			}
		}
	}
	table(w, []string{"", "call, callers", "library", "time", "gensession", "ratio"}, rows)

	fmt.Fprint(w, "\nWith many rows, and what the sweeper does to requests when a tenth of them has expired and another tenth was touched since. The servers wait for their disk at each commit, and have a GB of memory. *A turn of the sweeper* is a statement of it, or a transaction: that is how long it can keep a request waiting at a time. It ends with a commit, and is long where that waits for the disk.\n\n")
	rows = nil
	for _, d := range sqlDatabases {
		for _, n := range []int{1000, 1_000_000} {
			row := []string{d.text, fmt.Sprint(n)}
			for _, op := range []string{"get", "set", "touch"} {
				row = append(row, r.time(tables, sqlRows(d.name, op, n)))
			}
			sweep := sqlRows(d.name, "sweep", n)
			for _, unit := range []string{"removed/s", "sweep-p99-ms", sweeperTurn, "ms-alone-p99.9", "ms-beside-p99.9", "ms-alone-max", "ms-beside-max"} {
				cell := ""
				if v, ok := r.at(tables, sweep, unit); ok {
					cell = fmt.Sprintf("%.1f ms", v)
					if unit == "removed/s" {
						cell = fmt.Sprintf("%.0f", v)
					}
				}
				row = append(row, cell)
			}
			rows = append(rows, row)
		}
	}
	table(w, []string{"", "rows", "get", "set", "touch", "removed a second", "p99 of the sweeper's turns", "the longest", "p99.9 of a request without the sweeper", "with it", "longest without it", "with it"}, rows)

	r.day(w)
}

// day writes how much larger a day of touches makes a table.
func (r *results) day(w io.Writer) {
	var mb []any
	for _, unit := range []string{"B-table-before", "B-table-after", "B-index-before", "B-index-after"} {
		v, ok := r.at(tables, "Day", unit)
		if !ok {
			return
		}
		mb = append(mb, v/1e6)
	}
	fmt.Fprintf(w, "\nPostgreSQL keeps old versions of rows. When each of 10,000 sessions is touched 24 times in fast motion, the table grows from %.1f to %.1f MB, and its indexes from %.1f to %.1f MB.\n", mb...)
}

// besideOps are the calls that are measured beside the stores of scs.
var besideOps = []struct{ name, text string }{
	{"get", "get"}, {"set", "set"}, {"swap", "swap"}, {"touch", "touch"}, {"set+destroy", "set, destroy"},
}

var besideLibs = map[string][]string{
	"sqlite": {"scs-sqlite3store"}, "postgres": {"scs-postgresstore", "scs-pgxstore"}, "mariadb": {"scs-mysqlstore"},
}

func besideName(db, op string, callers int) string {
	return fmt.Sprintf("Beside/db=%s/op=%s/callers=%d", db, op, callers)
}

// sweeperTurn is the unit of the longest turn of a database's sweeper.
const sweeperTurn = "sweep-max-ms"

// far writes what requests take on a Redis that is a millisecond away.
func (r *results) far(w io.Writer) {
	fmt.Fprint(w, "\n## Redis a millisecond away\n\nBehind a relay that sends what Redis answers later. The two libraries take turns in one benchmark; *time* is that of a request, with 64 callers the time of all by their number, and the ratio is the median of the rounds'. *PING* is a bare one, of one caller. With 64 callers the relay needs a good part of the machine, and more of it for a library with a connection for each caller.\n\n")
	var rows [][]string
	for _, op := range []string{"read", "write", "login", "logout"} {
		for _, callers := range []int{1, 64} {
			for _, f := range farPairs {
				name := farName(op, callers, f.http)
				theirs, ours := turn(name, f.lib), turn(name, "gensession")
				if q, ok := r.quotient(theirs, ours); ok {
					rows = append(rows, []string{fmt.Sprintf("%s, %d", op, callers), text(f.http), r.span(turn(name, "ping")), text(f.lib), r.span(theirs), r.span(ours), ratio(q)})
				}
			}
		}
	}
	table(w, []string{"request, callers", "on", "PING", "library", "time", "gensession", "ratio"}, rows)
}

var farPairs = []struct{ http, lib string }{{"nethttp", "scs"}, {"fiber-v2", "fiber-v2-session"}}

func farName(op string, callers int, http string) string {
	return fmt.Sprintf("Far/op=%s/callers=%d/http=%s", op, callers, http)
}

var clients = []struct{ server, client string }{{"redis", "rueidis"}, {"memcached", "gomemcache"}}

const (
	sweeping  = "Sweep/sessions=1000000"
	pipelined = "/pipeline=16"
)

var sessionCounts = []int{1e3, 1e4, 1e5, 1e6}

var sizes = []struct{ values, bytes int }{{3, 256}, {12, 1024}, {50, 4096}, {200, 16384}, {800, 65536}}

var sizedLibs = []struct{ http, lib, text string }{
	{"nethttp", "gensession", "gensession, net/http"}, {"nethttp", "scs", "scs"},
	{"fiber-v2", "gensession", "gensession, Fiber v2"}, {"fiber-v2", "fiber-v2-session", "Fiber v2's session"},
	{"fasthttp", "gensession", "gensession, fasthttp"}, {"fasthttp", "fasthttp-session", "fasthttp/session"},
}

func sized(values, bytes int, http, lib string) string {
	return fmt.Sprintf("Size/values=%d/size=%d/http=%s/lib=%s", values, bytes, http, lib)
}

var loads = []struct{ name, text, short string }{
	{"Load/server=fiber/sessions=none/op=bare", "Fiber v2, bare", "Fiber v2\nbare"},
	{"Load/server=fiber/sessions=memory/op=read", "Fiber v2 with gensession, read", "Fiber v2\nread"},
	{"Load/server=fiber/sessions=memory/op=write", "Fiber v2 with gensession, write", "Fiber v2\nwrite"},
	{"Load/server=nethttp/sessions=none/op=bare", "net/http, bare", "net/http\nbare"},
	{"Load/server=nethttp/sessions=memory/op=read", "net/http with gensession, read", "net/http\nread"},
	{"Load/server=nethttp/sessions=memory/op=write", "net/http with gensession, write", "net/http\nwrite"},
	{"Load/server=koa/sessions=none/op=bare", "Koa, bare", "Koa\nbare"},
	{"Load/server=koa/sessions=memory/op=read", "Koa with koa-generic-session, read", "Koa\nread"},
	{"Load/server=koa/sessions=memory/op=write", "Koa with koa-generic-session, write", "Koa\nwrite"},
}

func libsOn(http string) []string {
	return map[string][]string{
		"nethttp":  {"scs", "gorilla"},
		"fasthttp": {"fasthttp-session"},
		"fiber-v2": {"fiber-v2-session"},
		"fiber-v3": {"fiber-v3-session"},
	}[http]
}

// text is how a name of the benchmarks is written.
func text(name string) string {
	if t, ok := map[string]string{
		"nethttp": "net/http", "fiber": "Fiber v2", "fiber-v2": "Fiber v2", "fiber-v3": "Fiber v3",
		"redis": "Redis", "memcache": "memcached", "gorilla": "gorilla/sessions",
		"fasthttp-session": "fasthttp/session", "fiber-v2-session": "Fiber v2's session", "fiber-v3-session": "Fiber v3's session",
	}[name]; ok {
		return t
	}
	return name
}

// time is a cell with the time of an operation and its allocations.
func (r *results) time(part, name string) string {
	s, ok := r.at(part, name, seconds)
	if !ok {
		return ""
	}
	n, ok := r.at(part, name, allocs)
	if !ok {
		return duration(s)
	}
	return fmt.Sprintf("%s, %.0f", duration(s), n)
}

// span is a cell with the median of a measure in seconds.
func (r *results) span(m measure) string {
	s, ok := r.at(m.part, m.name, m.unit)
	if !ok {
		return ""
	}
	return duration(s)
}

func (r *results) ratio(part, theirs, ours string) string {
	a, ok := r.at(part, ours, seconds)
	b, ok2 := r.at(part, theirs, seconds)
	if !ok || !ok2 {
		return ""
	}
	return ratio(b / a)
}

func ratio(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f×", v)
	}
	return fmt.Sprintf("%.1f×", v)
}

// duration writes seconds with three digits.
func duration(s float64) string {
	switch a := max(s, -s); {
	case a < 1e-6:
		return fmt.Sprintf("%.0f ns", s*1e9)
	case a < 10e-6:
		return fmt.Sprintf("%.2f µs", s*1e6)
	case a < 100e-6:
		return fmt.Sprintf("%.1f µs", s*1e6)
	case a < 1e-3:
		return fmt.Sprintf("%.0f µs", s*1e6)
	default:
		return fmt.Sprintf("%.2f ms", s*1e3)
	}
}

func table(w io.Writer, head []string, rows [][]string) {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// said is the first line that a program prints, or nothing.
func said(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(bytes.TrimSpace(line))
}

func system() string {
	name := runtime.GOOS
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
				name = strings.Trim(strings.TrimSpace(v), `"`)
			}
		}
	}
	return name + " on " + runtime.GOARCH
}

func servers() []string {
	var all []string
	if f := strings.Fields(said("redis-server", "--version")); len(f) > 2 {
		all = append(all, "Redis "+strings.TrimPrefix(f[2], "v="))
	}
	if f := strings.Fields(said("memcached", "--version")); len(f) > 1 {
		all = append(all, f[0]+" "+f[1])
	}
	if f := strings.Fields(said("psql", "--version")); len(f) > 2 {
		all = append(all, "PostgreSQL "+f[2])
	}
	if f := strings.Fields(said("mariadb", "--version")); len(f) > 4 {
		all = append(all, "MariaDB "+strings.TrimSuffix(f[4], "-MariaDB,"))
	}
	return append(all, "Node "+strings.TrimPrefix(said("node", "--version"), "v"))
}

// versions are those of the libraries that are compared: what bench/peers and
// bench/databases require themselves.
func versions() []string {
	var all []string
	for _, dir := range []string{"../peers", "../databases"} {
		cmd := exec.Command("go", "mod", "edit", "-json")
		cmd.Dir = dir
		out, err := cmd.Output()
		var mod struct {
			Require []struct {
				Path, Version string
				Indirect      bool
			}
		}
		if err != nil || json.Unmarshal(out, &mod) != nil {
			return []string{"unknown"}
		}
		for _, m := range mod.Require {
			if !m.Indirect && !strings.HasPrefix(m.Path, "github.com/gensession/") {
				all = append(all, strings.TrimPrefix(m.Path, "github.com/")+" "+m.Version)
			}
		}
	}
	return append(all, koaVersions()...)
}

// koaVersions are those that the tests beside Koa pin.
func koaVersions() []string {
	text, err := os.ReadFile("../../internal/koatest/app/package.json")
	if err != nil {
		return nil
	}
	var pinned struct{ Dependencies map[string]string }
	if json.Unmarshal(text, &pinned) != nil {
		return nil
	}
	return []string{"koa " + pinned.Dependencies["koa"], "koa-generic-session " + pinned.Dependencies["koa-generic-session"]}
}
