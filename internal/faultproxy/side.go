package faultproxy

import (
	"sync"
	"sync/atomic"
)

// side is one direction of all connections.
type side struct {
	bytes atomic.Int64
	cuts  atomic.Int64

	mu      sync.Mutex
	fault   Fault
	turn    int           // counts the faults that were set
	changed chan struct{} // closed when the next one is set
}

func (s *side) set(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setLocked(f)
}

func (s *side) setLocked(f Fault) {
	s.fault = f
	s.turn++
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = make(chan struct{})
}

func (s *side) get() (f Fault, turn int, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault, s.turn, s.changed
}

// mayCut reports whether the cut of a turn is still to be made, and makes it
// the last one when it is to be made once.
func (s *side) mayCut(turn int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != turn {
		return false
	}
	if s.fault.Once {
		s.setLocked(Fault{})
	}
	s.cuts.Add(1)
	return true
}
