package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// FillUp leaves the server without memory and without leave to evict: writes
// get OOM, reads and DEL work, nothing is lost. The returned function undoes
// it.
func (s *RedisServer) FillUp() (undo func()) {
	s.tb.Helper()
	return s.configure("maxmemory-policy", "noeviction", "maxmemory", "1")
}

// ReadOnly makes the server a replica of a master that is not there: writes
// get READONLY, reads work. The returned function makes it a master again,
// with its data.
func (s *RedisServer) ReadOnly() (undo func()) {
	s.tb.Helper()
	s.mine()
	s.Do("REPLICAOF", "127.0.0.1", "1")
	return func() { s.tb.Helper(); s.Do("REPLICAOF", "NO", "ONE") }
}

// NoReplicas makes the server want a replica that it does not have: writes
// get NOREPLICAS, reads work. The returned function undoes it.
func (s *RedisServer) NoReplicas() (undo func()) {
	s.tb.Helper()
	return s.configure("min-replicas-to-write", "1")
}

// Misconf makes the server fail to write its snapshot, as on a full disk:
// writes and DEL get MISCONF, reads work. The returned function undoes it.
func (s *RedisServer) Misconf() (undo func()) {
	s.tb.Helper()
	// Redis writes a temporary file and renames it. A folder in the way makes
	// that fail for root too.
	name, ok := s.setting("dbfilename")
	if !ok {
		return func() {}
	}
	snapshot := filepath.Join(s.dir, name)
	if err := os.Rename(snapshot, snapshot+".kept"); err != nil && !os.IsNotExist(err) {
		s.check(err)
	}
	s.check(os.Mkdir(snapshot, 0o700))
	back := s.configure("stop-writes-on-bgsave-error", "yes", "save", "3600 1000000000")
	s.save("err")
	return func() {
		s.tb.Helper()
		s.check(os.Remove(snapshot))
		s.save("ok")
		back()
	}
}

// save asks for a snapshot and waits for its outcome.
func (s *RedisServer) save(status string) {
	s.tb.Helper()
	s.check(poll(kitTimeout, func() error {
		if _, err := s.Try("BGSAVE"); err != nil && !strings.Contains(err.Error(), "in progress") {
			return err
		}
		return poll(time.Second, func() error { return s.wantInfo("persistence", "rdb_bgsave_in_progress", "0") })
	}))
	s.check(poll(kitTimeout, func() error { return s.wantInfo("persistence", "rdb_last_bgsave_status", status) }))
}

// configure sets settings, each a name and a value, and returns what sets
// them back.
func (s *RedisServer) configure(pairs ...string) (undo func()) {
	s.tb.Helper()
	s.mine()
	var old [][2]string
	for i := 0; i < len(pairs); i += 2 {
		if v, ok := s.setting(pairs[i]); ok {
			old = append(old, [2]string{pairs[i], v})
		}
		s.Do("CONFIG", "SET", pairs[i], pairs[i+1])
	}
	return func() {
		s.tb.Helper()
		for i := len(old) - 1; i >= 0; i-- {
			s.Do("CONFIG", "SET", old[i][0], old[i][1])
		}
	}
}

func (s *RedisServer) setting(name string) (string, bool) {
	s.tb.Helper()
	if pair, ok := s.Do("CONFIG", "GET", name).([]any); ok && len(pair) == 2 {
		v, ok := pair[1].(string)
		return v, ok
	}
	return "", false
}

// wantInfo returns nil when INFO shows the field with the value.
func (s *RedisServer) wantInfo(section, field, value string) error {
	v, err := s.Try("INFO", section)
	if err != nil {
		return err
	}
	text, _ := v.(string)
	for line := range strings.Lines(text) {
		if got, ok := strings.CutPrefix(line, field+":"); ok {
			if got = strings.TrimSpace(got); got == value {
				return nil
			}
			return fmt.Errorf("server %s: %s is %s, not %s", s.Addr(), field, strings.TrimSpace(got), value)
		}
	}
	return fmt.Errorf("server %s: INFO %s has no %s", s.Addr(), section, field)
}
