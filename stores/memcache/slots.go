package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	errBusy = errors.New("Options.MaxConns calls are under way")
	errShut = errors.New("it is closed")
)

// slots bound how many calls are under way at once.
type slots struct {
	taken  chan struct{}
	closed chan struct{}
}

func newSlots(n int) slots {
	return slots{make(chan struct{}, n), make(chan struct{})}
}

// enter waits for a place, not longer than the call may take.
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

// close turns away who waits and who comes, and waits until nobody is inside,
// if that is soon.
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
