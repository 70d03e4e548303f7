package sqlitestore

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// SQLite goes on writing to a file that has been removed or replaced, and says nothing:
// at the next start all would be lost, and meanwhile another process would have other
// sessions, or mix the log of this file into the other one.

// checkEvery is how often is looked whether the file is still in its place.
const checkEvery = time.Second

var errMoved = errors.New("another file is in its place, or none: put it back, or start this process again")

// A place is where a file was when it was opened.
type place struct {
	path string
	file os.FileInfo

	begun  time.Time
	looked atomic.Int64 // when, since begun
	moved  atomic.Bool
	mu     sync.Mutex // held by the one who looks
}

func newPlace(path string, file os.FileInfo) *place {
	return &place{path: path, file: file, begun: time.Now()}
}

// check returns an error if the file is no longer in its place.
func (p *place) check() error {
	if now := time.Since(p.begun); now-time.Duration(p.looked.Load()) >= checkEvery && p.mu.TryLock() {
		p.look()
		p.looked.Store(int64(now))
		p.mu.Unlock()
	}
	if p.moved.Load() {
		return errMoved
	}
	return nil
}

func (p *place) look() {
	there, err := os.Stat(p.path)
	switch {
	case err == nil:
		p.moved.Store(!os.SameFile(there, p.file))
	case errors.Is(err, fs.ErrNotExist):
		p.moved.Store(true)
	}
}
