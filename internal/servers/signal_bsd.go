//go:build unix && !linux

package servers

import "syscall"

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// waitStopped does nothing: there is no portable way to ask.
func waitStopped(int) error { return nil }
