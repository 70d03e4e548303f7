//go:build !linux

package koatest_test

import "syscall"

func endWithUs() *syscall.SysProcAttr { return nil }
