package servers

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is one run of a server program.
type process struct {
	pid    int
	family bool          // signals go to its children too
	done   chan struct{} // closed when the process is gone
	failed error         // how it ended; for after done
}

// launch starts a program that writes into out.
func launch(path string, args []string, dir string, out *os.File, attributes *syscall.SysProcAttr) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = attributes
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(cmd, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run keeps its thread for as long as the process lives: Linux ends the
// process with the thread that started it.
func (p *process) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := cmd.Start()
	if err == nil {
		p.pid = cmd.Process.Pid
	}
	started <- err
	if err == nil {
		p.failed = cmd.Wait()
	}
}

// alive reports whether the process has not ended.
func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signalFamily sends a signal to a process, and then to its children, which can then
// not become more.
func signalFamily(pid int, s syscall.Signal) error {
	children := childrenOf(pid)
	err := signalGroup(pid, s)
	for _, child := range append(children, childrenOf(pid)...) {
		_ = signalGroup(child, s) // it may have ended
	}
	return err
}

// signal sends a signal to the process and its children.
func (p *process) signal(s syscall.Signal) error {
	if !p.alive() {
		return errors.New("servers: the server is not running")
	}
	if p.family {
		return signalFamily(p.pid, s)
	}
	return signalGroup(p.pid, s)
}

// pause stops the process and waits until it stands still.
func (p *process) pause() error {
	if err := p.signal(sigStop); err != nil {
		return err
	}
	for _, child := range p.children() {
		_ = waitStopped(child) // it may have ended
	}
	return waitStopped(p.pid)
}

// end sends s, and SIGKILL when that was not enough, and waits for the end.
func (p *process) end(s syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	children := p.children()
	_ = p.signal(s)
	if !p.wait(5 * time.Second) {
		children = append(children, p.children()...)
		_ = p.signal(syscall.SIGKILL)
		if !p.wait(5 * time.Second) {
			return errors.New("servers: the server does not end")
		}
	}
	return poll(5*time.Second, func() error { // they may have its memory and its port
		for _, child := range children {
			if !ended(child) {
				_ = signalGroup(child, syscall.SIGKILL)
				return errors.New("servers: a child of the server does not end")
			}
		}
		return nil
	})
}

// children returns those that share its fate.
func (p *process) children() []int {
	if !p.family {
		return nil
	}
	return childrenOf(p.pid)
}

func (p *process) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}
