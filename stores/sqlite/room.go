package sqlitestore

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A removal is written to the log first, and for that a full disk has no room. So a file
// of some size lies beside the database, and is made shorter when a removal is refused.
// Then the log moves into the database, which may have to grow for that, and begins again
// from its start: from now on a removal overwrites what the log already has, and needs
// no room at all. That holds as long as nothing is stored that makes the database grow.
// So payloads are refused until the file has its size again.

// reserved is the size of the file, and part is by how much it becomes shorter at a time,
// since others take what becomes free. The log is moved once it has 1 MB, and cut to
// that (see dsn), so that the database grows by less.
const (
	reserved = 2 << 20
	part     = reserved / 8
)

// lookEvery is how often the file is looked for, which another process may have made
// shorter.
const lookEvery = time.Second

// room is what the connections of a process know of the reserve.
type room struct {
	path  string
	spent atomic.Bool
	next  atomic.Int64 // when to look again, in nanoseconds since 1970
	mu    sync.Mutex
}

func newRoom(path string) *room {
	r := &room{path: path}
	r.look(time.Now())
	return r
}

// forPayload reports whether a payload may be stored.
func (r *room) forPayload() bool {
	if now := time.Now(); now.UnixNano() >= r.next.Load() {
		r.look(now)
	}
	return !r.spent.Load()
}

// look gives the file its size. It is filled at random, since there are file systems that
// store nothing for zeros.
func (r *room) look(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.UnixNano() < r.next.Load() {
		return
	}
	defer r.next.Store(now.Add(lookEvery).UnixNano())
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil { // there may be no room for its name; else it is not possible at all
		r.spent.Store(errors.Is(err, syscall.ENOSPC))
		return
	}
	info, err := f.Stat()
	if err == nil && info.Size() < reserved {
		missing := make([]byte, reserved-info.Size())
		_, _ = rand.NewChaCha8([32]byte{}).Read(missing) // which returns no error
		_, err = f.WriteAt(missing, info.Size())
		if err = errors.Join(err, f.Sync()); err != nil {
			err = errors.Join(err, f.Truncate(info.Size()))
		}
	}
	r.spent.Store(errors.Join(err, f.Close()) != nil)
}

// give makes the file shorter, and reports whether the next try may have room.
func (r *room) give() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next.Store(time.Now().Add(lookEvery).UnixNano())
	unaware := !r.spent.Swap(true) // of another process that has done so
	info, err := os.Stat(r.path)
	if err != nil || info.Size() == 0 {
		return unaware
	}
	return os.Truncate(r.path, max(0, info.Size()-part)) == nil || unaware
}
