package servers

import "syscall"

// ownGroup makes the process end with the test binary, whatever ends that.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
