package memcachestore

import (
	"math"
	"time"
)

// month is the longest expiration in seconds. memcached takes a larger number for
// a date, in seconds since 1970.
const month = 30 * 24 * 60 * 60

// expired is the expiration of an item that has expired when it is stored.
const expired = -1

// expiration returns ttl in the form of memcached. Zero has no end.
//
// memcached compares whole seconds of a clock that ticks once a second. The first
// second may therefore end at once, and a ttl of n seconds needs n + 1.
func expiration(ttl time.Duration, now time.Time) int32 {
	if ttl <= 0 {
		return 0
	}
	seconds := int64(ttl / time.Second)
	if ttl%time.Second > 0 {
		seconds++
	}
	seconds++
	if seconds <= month {
		return int32(seconds) // #nosec G115 -- at most a month
	}
	date := now.Unix()
	if now.Nanosecond() > 0 {
		date++
	}
	if date += seconds; date <= math.MaxInt32 {
		return int32(date) // #nosec G115 -- compared just now
	}
	// The last date, unless 30 days reach further.
	if math.MaxInt32-now.Unix() > month {
		return math.MaxInt32
	}
	return month
}
