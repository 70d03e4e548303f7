package main

import (
	"fmt"
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

// Two rounds of the databases.
const tablesOutput = `goos: linux
cpu: another processor
BenchmarkDatabase/db=postgres/op=get-2 5 0 ns/op 100000 ns-bare 120000 ns-store
BenchmarkBeside/db=postgres/op=get/callers=1-2 5 0 ns/op 100000 ns-gensession 150000 ns-scs-pgxstore 90000 ns-scs-postgresstore
BenchmarkBeside/db=postgres/op=set+destroy/callers=16-2 5 0 ns/op 20000 ns-gensession 30000 ns-scs-pgxstore 10000 ns-scs-postgresstore
BenchmarkBeside/db=sqlite/op=swap/callers=1-2 5 0 ns/op 50000 ns-gensession 40000 ns-scs-sqlite3store
BenchmarkBeside/db=mariadb/op=touch/callers=1-2 5 0 ns/op 50000 ns-gensession 100000 ns-scs-mysqlstore
BenchmarkRows/db=postgres/op=sweep/rows=1000000-2 1 0 ns/op 11.0 ms-alone-max 2.0 ms-alone-p99.9 30.0 ms-beside-max 4.0 ms-beside-p99.9 5000 removed/s 7.5 sweep-max-ms 3.5 sweep-p99-ms
BenchmarkDay-2 1 0 ns/op 5.0 MB-table-before 6.5 MB-table-after 1.0 MB-index-before 1.5 MB-index-after
BenchmarkBeside/db=postgres/op=get/callers=1-2 5 0 ns/op 200000 ns-gensession 300000 ns-scs-pgxstore 180000 ns-scs-postgresstore
`

// A run of one part writes its section, and leaves the others, their goals and charts
// as they are, also what was put in by hand.
func TestReportOfOnePart(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	results := filepath.Join(to, "RESULTS.md")
	write := func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(file string) string {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const trips = tripsBegin + "\n| what a test has written |\n" + tripsEnd
	const byHand = "\nPut in by hand: what watchers cost.\n\n|  | read |\n|---|---|\n| nobody | 1.00× |\n"
	write(results, `# Results of the benchmarks

`+written+`2026-01-02, revision abc.

- Machine: a processor, 2 processors

## Goals

| what | goal | measured | met |
|---|---|---|---|
| net/http, read, memory | ≥ 15× scs | **15.3×** (1.43 µs against 22.0 µs of scs) | yes |
| … allocations | ≤ 12 | **4** | yes |
| net/http, write, memory | ≥ 10× scs | **9.0×** (of scs) | no |
| net/http, login, memory | ≥ 6× scs | not measured | ? |
| … allocations | ≤ 12 | **23** | no |
| PostgreSQL, get, serial | ≤ 1.25× the bare statement | **9.00×** | no |

1 of 3 are met.

## Round trips

`+trips+`
## Who watches, and sealing
`+byHand+`
## Databases

an older table
`)
	chart := filepath.Join(to, "charts", "load.svg")
	write(chart, "a chart from before")
	write(filepath.Join(from, "databases.txt"), tablesOutput)
	if err := report(from, to); err != nil {
		t.Fatal(err)
	}
	text := read(results)
	const note = "\n## Who watches, and sealing\n\nNot measured by the last run; as it was in the results of 2026-01-02, revision abc, a processor, 2 processors.\n"
	for _, want := range []string{
		trips,
		note + byHand,
		"| net/http, read, memory | ≥ 15× scs | **15.3×** (1.43 µs against 22.0 µs of scs) | yes, before |\n| … allocations | ≤ 12 | **4** | yes, before |\n| net/http, write, memory | ≥ 10× scs | **9.0×** (of scs) | no, before |\n| net/http, login, memory | ≥ 6× scs | not measured | ? |\n| … allocations | ≤ 12 | **23** | no, before |\n",
		"| PostgreSQL, get, serial | ≤ 1.25× the bare statement | **1.20×** (120 µs against 100 µs) | yes |\n",
		"| PostgreSQL, a million rows, the longest turn of the sweeper | ≤ 10 ms | **7.5 ms** | yes |\n",
		"| PostgreSQL, a million rows, the longest request while the sweeper removes 100,000 of them | ≤ 10 ms | **30.0 ms**, 11.0 ms without it | no |\n",
		"\n4 of ",
		"| PostgreSQL | get, 1 | scs's pgxstore | 225 µs | 150 µs | 1.50× |\n",
		"| PostgreSQL | get, 1 | scs's postgresstore | 135 µs | 150 µs | 0.90× |\n",
		"| PostgreSQL | set, destroy, 16 | scs's postgresstore | 10.0 µs | 20.0 µs | 0.50× |\n",
		"| SQLite | swap, 1 | scs's sqlite3store | 40.0 µs | 50.0 µs | 0.80× |\n",
		"| MariaDB | touch, 1 | scs's mysqlstore | 100 µs | 50.0 µs | 2.00× |\n",
		"postgres/v3, is not served",
		"| PostgreSQL | 1000000 |  |  |  | 5000 | 3.5 ms | 7.5 ms | 2.0 ms | 4.0 ms | 11.0 ms | 30.0 ms |\n",
		"the table grows from 5.0 to 6.5 MB, and its indexes from 1.0 to 1.5 MB.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the results", want)
		}
	}
	for _, gone := range []string{"an older table", "## Whole servers", "## Stores", "load 0"} {
		if strings.Contains(text, gone) {
			t.Errorf("%q is in the results", gone)
		}
	}
	if read(chart) != "a chart from before" {
		t.Error("the chart of a part that was not measured is lost")
	}
	// Once more, it stays as it is.
	if err := report(from, to); err != nil {
		t.Fatal(err)
	}
	if again := read(results); again != text {
		t.Errorf("the second time it is\n%s\nand was\n%s", again, text)
	}
	// All stores stand in one table.
	var all, row strings.Builder
	for i, store := range []string{"memory", "redis", "memcache", "sqlite", "postgres", "mariadb"} {
		fmt.Fprintf(&all, "BenchmarkStore/store=%s/op=get/size=256/mode=serial-2 100 %d00000 ns/op 8 B/op 1 allocs/op\n", store, i+2)
		fmt.Fprintf(&row, " %d00 µs, 1 |", i+2)
	}
	write(filepath.Join(from, "stores.txt"), all.String())
	if err := report(from, to); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(read(results), "| get, 256 |"+row.String()) {
		t.Errorf("no row of %s in the results", row.String())
	}
	// A measured part has a new section.
	write(filepath.Join(from, "requests.txt"), "BenchmarkObserved/by=nobody/op=read-2 100 1000 ns/op 8 B/op 1 allocs/op\n")
	if err := report(from, to); err != nil {
		t.Fatal(err)
	}
	if text = read(results); strings.Contains(text, note) || !strings.Contains(text, "| nobody | 1.00 µs, 1 | 1.00× |") {
		t.Error("the new section of requests is not there")
	}
}

// Every section is made of a part that is known, or always.
func TestSections(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "peers.txt"), []byte(output), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := readResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := r.write(&text); err != nil {
		t.Fatal(err)
	}
	_, all := sections(text.String())
	seen := 0
	for _, s := range all {
		if _, ok := partOf[s.heading]; ok {
			seen++
		} else if s.heading != "Goals" && s.heading != "Round trips" {
			t.Errorf("of which part is %q?", s.heading)
		}
	}
	if seen != len(partOf) {
		t.Errorf("%d sections are made of parts, of %d", seen, len(partOf))
	}
}

// resultsOf reads the output of a part.
func resultsOf(t *testing.T, part, output string) *results {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, part+".txt"), []byte(output), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := readResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tablesIn returns the tables of a text, each with its head.
func tablesIn(text string) (all [][]string) {
	in := false
	for line := range strings.Lines(text) {
		row := strings.HasPrefix(line, "|")
		if row && !in {
			all = append(all, nil)
		}
		if in = row; row {
			all[len(all)-1] = append(all[len(all)-1], strings.TrimSuffix(line, "\n"))
		}
	}
	return all
}

// What the databases printed, and the rows that it makes: a cell is empty, or a row is not
// there, where something of it was not measured.
func TestDatabaseTables(t *testing.T) {
	const noRows = "| SQLite | 1000 |  |  |  |  |  |  |  |  |  |  |\n| SQLite | 1000000 |  |  |  |  |  |  |  |  |  |  |\n| PostgreSQL | 1000 |  |  |  |  |  |  |  |  |  |  |\n| PostgreSQL | 1000000 |  |  |  |  |  |  |  |  |  |  |\n| MariaDB | 1000 |  |  |  |  |  |  |  |  |  |  |\n| MariaDB | 1000000 |  |  |  |  |  |  |  |  |  |  |"
	const noBare = "| get |  |  |  |  |  |  |  |  |  |\n| set |  |  |  |  |  |  |  |  |  |\n| swap |  |  |  |  |  |  |  |  |  |\n| touch |  |  |  |  |  |  |  |  |  |"
	for _, c := range []struct {
		name, output       string
		bare, beside, rows string
		day                bool
	}{
		{
			"only the bare driver", `BenchmarkDatabase/db=sqlite/op=get-2 5 0 ns/op 10000 ns-bare 12000 ns-store
BenchmarkDatabase/db=mariadb/op=touch-2 5 0 ns/op 100000 ns-bare 110000 ns-store
`,
			"| get | 10.0 µs | 12.0 µs | 1.20× |  |  |  |  |  |  |\n| set |  |  |  |  |  |  |  |  |  |\n| swap |  |  |  |  |  |  |  |  |  |\n| touch |  |  |  |  |  |  | 100 µs | 110 µs | 1.10× |", "", noRows, false,
		},
		{
			// A ratio is the median of the rounds', not that of the medians; a run that
			// was ended in the middle of a round has one number more of some.
			"rounds", `BenchmarkDatabase/db=postgres/op=set-2 5 0 ns/op 100000 ns-bare 110000 ns-store
BenchmarkDatabase/db=postgres/op=set-2 5 0 ns/op 200000 ns-bare 240000 ns-store
BenchmarkDatabase/db=postgres/op=set-2 5 0 ns/op 400000 ns-bare 440000 ns-store
BenchmarkBeside/db=postgres/op=get/callers=1-2 5 0 ns/op 100000 ns-gensession 200000 ns-scs-pgxstore
BenchmarkBeside/db=postgres/op=get/callers=1-2 5 0 ns/op 100000 ns-gensession
`,
			"| get |  |  |  |  |  |  |  |  |  |\n| set |  |  |  | 200 µs | 240 µs | 1.10× |  |  |  |\n| swap |  |  |  |  |  |  |  |  |  |\n| touch |  |  |  |  |  |  |  |  |  |",
			"| PostgreSQL | get, 1 | scs's pgxstore | 200 µs | 100 µs | 2.00× |", noRows, false,
		},
		{
			"beside one library", `BenchmarkBeside/db=sqlite/op=set+destroy/callers=1-2 5 0 ns/op 50000 ns-gensession 75000 ns-scs-sqlite3store
BenchmarkBeside/db=sqlite/op=get/callers=1-2 5 0 ns/op 10000 ns-gensession 12000 ns-scs-sqlite3store
BenchmarkBeside/db=mariadb/op=get/callers=16-2 5 0 ns/op 10000 ns-scs-mysqlstore
BenchmarkBeside/db=mariadb/op=set/callers=16-2 5 0 ns/op 10000 ns-gensession
BenchmarkBeside/db=oracle/op=set/callers=1-2 5 0 ns/op 10000 ns-gensession 10000 ns-scs-oraclestore
`,
			noBare, "| SQLite | get, 1 | scs's sqlite3store | 12.0 µs | 10.0 µs | 1.20× |\n| SQLite | set, destroy, 1 | scs's sqlite3store | 75.0 µs | 50.0 µs | 1.50× |", noRows, false,
		},
		{
			"rows, and a sweeper that was not seen", `BenchmarkRows/db=sqlite/op=get/rows=1000-2 100 15000 ns/op
BenchmarkRows/db=sqlite/op=touch/rows=1000-2 100 30000 ns/op
BenchmarkRows/db=sqlite/op=sweep/rows=1000-2 1 0 ns/op 2.0 ms-alone-max 8000 removed/s
`,
			noBare, "", strings.Replace(noRows, "| SQLite | 1000 |  |  |  |  |  |  |  |  |  |  |", "| SQLite | 1000 | 15.0 µs |  | 30.0 µs | 8000 |  |  |  |  | 2.0 ms |  |", 1), false,
		},
		{
			"a day", "BenchmarkDay-2 1 0 ns/op 5.0 MB-table-before 6.5 MB-table-after 1.0 MB-index-before 1.5 MB-index-after\n", noBare, "", noRows, true,
		},
		{
			"half a day", "BenchmarkDay-2 1 0 ns/op 5.0 MB-table-before\n", noBare, "", noRows, false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := resultsOf(t, tables, c.output)
			var text strings.Builder
			r.databases(&text)
			all := tablesIn(text.String())
			if len(all) != 3 {
				t.Fatalf("%d tables in\n%s", len(all), text.String())
			}
			for i, want := range []string{c.bare, c.beside, c.rows} {
				if got := strings.Join(all[i][2:], "\n"); got != want {
					t.Errorf("table %d has\n%s\nand not\n%s", i, got, want)
				}
				for _, row := range all[i] {
					if strings.Count(row, "|") != strings.Count(all[i][0], "|") {
						t.Errorf("%q has another number of cells than %q", row, all[i][0])
					}
				}
			}
			if strings.Contains(text.String(), "in fast motion") != c.day {
				t.Errorf("the day: %s", text.String())
			}
		})
	}
}

// Goals of what was not measured are neither met nor missed.
func TestDatabaseGoals(t *testing.T) {
	r := resultsOf(t, tables, `BenchmarkDatabase/db=sqlite/op=get-2 5 0 ns/op 10000 ns-bare 12600 ns-store
BenchmarkDatabase/db=mariadb/op=get-2 5 0 ns/op 10000 ns-bare 12500 ns-store
BenchmarkRows/db=postgres/op=sweep/rows=1000000-2 1 0 ns/op 11.0 ms-alone-max 30.0 ms-beside-max
BenchmarkRows/db=mariadb/op=sweep/rows=1000000-2 1 0 ns/op 9.9 sweep-max-ms
`)
	got := map[string]string{}
	for _, g := range goals() {
		text, met, ok := g.judge(r)
		if ok {
			got[g.what] = fmt.Sprint(met, " ", text)
		}
	}
	for what, want := range map[string]string{
		"SQLite, get, serial":  "false **1.26×** (12.6 µs against 10.0 µs)",
		"MariaDB, get, serial": "true **1.25×** (12.5 µs against 10.0 µs)",
		"PostgreSQL, a million rows, the longest request while the sweeper removes 100,000 of them": "false **30.0 ms**, 11.0 ms without it",
		"MariaDB, a million rows, the longest turn of the sweeper":                                  "true **9.9 ms**",
	} {
		if got[what] != want {
			t.Errorf("%s: %q, not %q", what, got[what], want)
		}
		delete(got, what)
	}
	if len(got) > 0 {
		t.Errorf("also judged: %q", got)
	}
}
