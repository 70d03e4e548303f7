// Package soak says how long those tests go on that do more with SOAK=1 in the
// environment, as make soak has it: SOAKTIME each.
package soak

import (
	"fmt"
	"iter"
	"os"
	"time"
)

// On reports whether tests are to do more than usual.
var On = os.Getenv("SOAK") == "1"

// Time is how long a test goes on that would find something to do for hours: SOAKTIME,
// or two minutes.
var Time = duration(os.Getenv("SOAKTIME"))

func duration(text string) time.Duration {
	if text == "" {
		return 2 * time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		panic(fmt.Sprintf("SOAKTIME is %q, and should be a time like 30m", text))
	}
	return d
}

// Longer is what a test takes: quick, or long with SOAK=1.
func Longer[T any](quick, long T) T {
	if On {
		return long
	}
	return quick
}

// A Share is the time for one of the parts of a test, which begins with it.
type Share struct {
	few, many int
	over      time.Time
}

// NewShare begins one of so many parts that share Time. They may run beside each other.
// It has few rounds, and with SOAK=1 as many as there is time for: few at least, many
// at most.
func NewShare(parts, few, many int) Share {
	return Share{few, many, time.Now().Add(Time / time.Duration(parts))}
}

// Rounds counts the rounds, from 0.
func (s Share) Rounds() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; i < s.few || On && i < s.many && time.Now().Before(s.over); i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// Rounds counts those of a part that begins now: see NewShare.
func Rounds(parts, few, many int) iter.Seq[int] { return NewShare(parts, few, many).Rounds() }
