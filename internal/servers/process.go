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
	pid  int
	done chan struct{} // closed when the process is gone
}

// launch starts a program that writes into out.
func launch(path string, args []string, dir string, out *os.File) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = ownGroup()
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
		_ = cmd.Wait()
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

// signal sends a signal to the process and its children.
func (p *process) signal(s syscall.Signal) error {
	if !p.alive() {
		return errors.New("servers: the server is not running")
	}
	return signalGroup(p.pid, s)
}

// pause stops the process and waits until it stands still.
func (p *process) pause() error {
	if err := p.signal(sigStop); err != nil {
		return err
	}
	return waitStopped(p.pid)
}

// end sends s, and SIGKILL when that was not enough, and waits for the end.
func (p *process) end(s syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	_ = p.signal(s)
	if p.wait(5 * time.Second) {
		return nil
	}
	_ = p.signal(syscall.SIGKILL)
	if p.wait(5 * time.Second) {
		return nil
	}
	return errors.New("servers: the server does not end")
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
