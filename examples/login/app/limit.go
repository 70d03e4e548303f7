package app

import (
	"sync"
	"time"
)

// A Limit bounds how often something may be tried: Burst times at once, and then
// once in Every. It counts in the memory of this process; with several of them,
// each allows as much. The zero Limit with Burst and Every is ready to use.
type Limit struct {
	Burst int
	Every time.Duration

	mu   sync.Mutex
	free map[string]time.Time // when all tries are there again
}

// maxLimited is how many keys are remembered.
const maxLimited = 100_000

// Wait counts a try of key, and returns zero if it may be made, else how long to
// wait, and then it does not count.
func (l *Limit) Wait(key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if len(l.free) >= maxLimited {
		for k, at := range l.free {
			if !at.After(now) {
				delete(l.free, k)
			}
		}
		if len(l.free) >= maxLimited {
			return l.Every // under attack: better nobody than everybody
		}
	}
	at := l.free[key]
	if at.Before(now) {
		at = now
	}
	at = at.Add(l.Every)
	if over := at.Sub(now) - time.Duration(l.Burst)*l.Every; over > 0 {
		return over
	}
	if l.free == nil {
		l.free = make(map[string]time.Time)
	}
	l.free[key] = at
	return 0
}
