// Package allocs counts allocations for tests that compare two paths.
package allocs

import "testing"

// Fewest returns how many allocations f makes at least, in n calls. It is not for
// parallel tests.
//
// The average that testing.AllocsPerRun returns is not that of f alone: with the
// race detector a sync.Pool drops every fourth object by chance, and a goroutine
// that an earlier test has left may allocate, too.
func Fewest(n int, f func()) float64 {
	fewest := testing.AllocsPerRun(1, f)
	for range n - 1 {
		fewest = min(fewest, testing.AllocsPerRun(1, f))
	}
	return fewest
}
