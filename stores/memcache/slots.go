package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	errBusy = errors.New("Options.MaxConns calls are in progress")
	errShut = errors.New("it is closed")
)

// slots limit the number of concurrent calls.
type slots struct {
	taken  chan struct{}
	closed chan struct{}
}

func newSlots(n int) slots {
	return slots{make(chan struct{}, n), make(chan struct{})}
}

// enter waits for a slot, at most until the deadline of the call.
func (s slots) enter(r *request) error {
	select {
	case s.taken <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(time.Until(r.deadline))
	defer timer.Stop()
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-timer.C:
		return unsent{fmt.Errorf("%w: %w", context.DeadlineExceeded, errBusy)}
	case <-r.ctx.Done():
		return unsent{r.ctx.Err()}
	case <-s.closed:
		return unsent{errShut}
	}
}

func (s slots) leave() { <-s.taken }

// close makes waiting and later calls fail, and waits until the calls in progress
// end or limit is closed.
func (s slots) close(limit <-chan struct{}) {
	close(s.closed)
	for range cap(s.taken) {
		select {
		case s.taken <- struct{}{}:
		case <-limit:
			return
		}
	}
}
