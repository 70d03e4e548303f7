// Package bench compares the stores and measures requests through the
// adapters. Its one test guards allocations:
//
//	go test -bench=. ./bench/...
//
// Names can be pivoted by benchstat, such as adapter=fiber/op=read. Each
// benchmark checks that it did the work. The servers are started on free ports
// of the loopback; where one is not installed, its benchmarks say so in a line.
//
// Beside it are modules of their own, whose requirements never reach users:
// bench/peers runs the same requests through other session libraries, and
// bench/report makes RESULTS.md of the output. The folder bench/load measures
// whole servers. make bench runs all of it.
package bench
