//go:build race

package memcachestore_test

import "time"

// crowdSlack is how late one of thousands of calls may be: the race detector
// makes two processors slow.
const crowdSlack = 3 * time.Second
