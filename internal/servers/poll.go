package servers

import (
	"errors"
	"fmt"
	"time"
)

// stop is an error that ends a poll.
type stop struct{ error }

// poll calls f until it returns nil or a stop, or d has passed.
func poll(d time.Duration, f func() error) error {
	deadline := time.Now().Add(d)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if end, ok := errors.AsType[stop](err); ok {
			return end.error
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("gave up after %v: %w", d, err)
		}
		time.Sleep(pollEvery)
	}
}
