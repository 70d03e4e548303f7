// Package load measures whole servers over the loopback, all with the same
// load generator: 64 connections that send a request as soon as they have the
// answer to the last, or 16 requests in one write as soon as they have all
// answers. The latter is no ordinary client, but leaves little of the kernel's
// and the generator's share in what is measured. It needs Linux.
//
//	go test -bench=. -benchtime=3s ./bench/load
//
// Each server is a process of its own on the same machine as the generator, so
// a faster one has less of the processor's time for itself. cpu-µs/op is what
// the server alone used. Koa runs as one process, as node does.
package load
