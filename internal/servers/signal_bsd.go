//go:build unix && !linux

package servers

import "syscall"

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// waitStopped does nothing: there is no portable way to ask.
func waitStopped(int) error { return nil }

// Elsewhere a database runs as the user of the test, who must not be root, and its
// children are not found.
func (d *daemon) attributes() *syscall.SysProcAttr { return ownGroup() }
func (d *daemon) giveAway(string) error            { return nil }
func childrenOf(int) []int                         { return nil }
func ended(int) bool                               { return true }
