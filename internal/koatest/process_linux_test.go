package koatest_test

import "syscall"

// endWithUs makes a process end with the test binary, whatever ends that.
func endWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
