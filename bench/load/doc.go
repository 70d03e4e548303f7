// Package load measures whole servers over the loopback, all with the same
// load generator: 64 connections that send a request as soon as they have the
// answer to the last.
//
//	go test -bench=. -benchtime=3s ./bench/load
//
// Each server is a process of its own on the same machine as the generator, so
// a faster one has less of the processor's time for itself. cpu-µs/op is what
// the server alone used. Koa runs as one process, as node does.
package load
