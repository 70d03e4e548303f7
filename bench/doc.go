// Package bench compares the stores and measures requests through the
// adapters. It has benchmarks only:
//
//	go test -bench=. ./bench/...
//
// Names can be pivoted by benchstat, such as adapter=fiber/op=read. Each
// benchmark checks that it did the work.
package bench
