package servers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// ownGroup makes the process end with the test binary, whatever ends that.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// attributes are those of a process of the daemon, which runs as its user.
func (d *daemon) attributes() *syscall.SysProcAttr {
	a := ownGroup()
	if uid, gid, ok := d.identity(); ok {
		a.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	return a
}

// giveAway gives a folder to the user of the daemon.
func (d *daemon) giveAway(dir string) error {
	if uid, gid, ok := d.identity(); ok {
		return os.Chown(dir, int(uid), int(gid))
	}
	return nil
}

// identity returns the user of the daemon, if it is another one than now.
func (d *daemon) identity() (uid, gid uint32, ok bool) {
	if d.user == "" || os.Geteuid() != 0 {
		return 0, 0, false
	}
	u, err := user.Lookup(d.user)
	if err != nil {
		return 0, 0, false
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	group, groupErr := strconv.ParseUint(u.Gid, 10, 32)
	return uint32(id), uint32(group), err == nil && groupErr == nil // #nosec G115 -- 32 bits
}

// childrenOf returns the children of a process, each in the group of its own.
func childrenOf(pid int) []int {
	var all []int
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range names {
		text, _ := os.ReadFile(name)
		for _, field := range bytes.Fields(text) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// ended reports whether a process is gone, or nothing but its number is left.
func ended(pid int) bool {
	state, err := stateOf(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || state == 'Z' || state == 'X'
}

// stateOf returns the state in a file of /proc, 0 if it has none. It follows the
// name, which is in parentheses and may have some.
func stateOf(name string) (byte, error) {
	stat, err := os.ReadFile(name) // #nosec G304 -- of /proc
	if err != nil {
		return 0, err
	}
	_, state, _ := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
	if len(state) == 0 {
		return 0, nil
	}
	return state[0], nil
}

// waitStopped waits until SIGSTOP has reached every thread of a process: the
// call that sends it returns before, and a thread may finish what it is at.
func waitStopped(pid int) error {
	return poll(kitTimeout, func() error {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err == nil && len(tasks) == 0 {
			return stop{errors.New("servers: the server has no threads")}
		}
		for _, name := range tasks {
			state, err := stateOf(name)
			if err == nil && state != 'T' { // else the thread has ended
				return fmt.Errorf("servers: a thread is in state %q", state)
			}
		}
		return err
	})
}
