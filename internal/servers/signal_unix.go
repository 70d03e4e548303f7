//go:build unix

package servers

import "syscall"

const (
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)

func signalGroup(pid int, s syscall.Signal) error { return syscall.Kill(-pid, s) }
