package servers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ownGroup makes the process end with the test binary, whatever ends that.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
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
			stat, err := os.ReadFile(name)
			if err != nil {
				continue // the thread has ended
			}
			// The state follows the name, which is in parentheses and may have some.
			_, state, _ := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
			if len(state) == 0 || state[0] != 'T' {
				return fmt.Errorf("servers: a thread is in state %.1q", state)
			}
		}
		return err
	})
}
