// Package duration finds times among the options of a store that nobody can mean.
package duration

import (
	"fmt"
	"time"
)

// Check is why d can't be meant as the value of that option, nil if it can, as zero,
// the default. A number of seconds or milliseconds of another language is mostly
// shorter than a millisecond; what was multiplied by its unit twice is negative or
// beyond a century.
func Check(option string, d, most time.Duration) error {
	switch {
	case d < 0:
		return fmt.Errorf("%s is negative: omit it for the default", option)
	case d > 0 && d < time.Millisecond:
		return fmt.Errorf("%s of %v is shorter than a millisecond: a number without a unit counts nanoseconds; write %d * time.Millisecond or time.Second", option, d, int64(d))
	case d > most:
		return fmt.Errorf("%s of %v is longer than %v: a time that was multiplied by its unit twice is so long", option, d, most)
	}
	return nil
}
