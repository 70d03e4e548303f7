package memcachestore

import (
	"math"
	"time"
)

// month is the longest time that memcached takes for one: above it a number is
// a date, as seconds since 1970.
const month = 30 * 24 * 60 * 60

// expiration is ttl as memcached wants it. Zero stays zero, which is no end.
//
// memcached compares whole seconds of a clock that ticks once in one. Of n
// seconds the first may therefore be over in a moment, and it takes n + 1 to
// be never early.
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
		return int32(seconds)
	}
	date := now.Unix()
	if now.Nanosecond() > 0 {
		date++
	}
	if date += seconds; date <= math.MaxInt32 {
		return int32(date)
	}
	// The last date, unless the longest time reaches further.
	if math.MaxInt32-now.Unix() > month {
		return math.MaxInt32
	}
	return month
}
