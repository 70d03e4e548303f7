package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTime = 30 * time.Second
	pollEvery = 2 * time.Millisecond
)

// daemon is a server program with a port and a folder that outlast its runs.
type daemon struct {
	path  string
	dir   string
	port  int
	args  func(port int) []string
	files func(dir string) error // writes what the program reads; may be nil
	ready func(pid int) error    // nil once the process answers on the port
	log   *os.File

	user   string // who it runs as if the test runs as root; "" for the same
	family bool   // its children have groups of their own, and share its fate

	mu sync.Mutex
	p  *process
}

// boot makes the folder and starts the daemon on a free port.
func (d *daemon) boot() error {
	dir, err := os.MkdirTemp("", "gensession-"+filepath.Base(d.path)+"-")
	if err != nil {
		return err
	}
	d.dir = dir
	if d.log, err = os.OpenFile(filepath.Join(dir, "output"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	if err = d.giveAway(dir); err != nil {
		return err
	}
	if d.files != nil {
		if err = d.files(dir); err != nil {
			return err
		}
	}
	for range 8 {
		if d.port, err = freePort(); err != nil {
			return err
		}
		if err = d.start(); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

var errPortTaken = errors.New("servers: the port is taken")

// runAs runs another program to its end, as the user of the daemon.
func (d *daemon) runAs(path string, args ...string) error {
	before := len(d.output())
	p, err := launch(path, args, d.dir, d.log, d.attributes())
	if err != nil {
		return err
	}
	if !p.wait(time.Minute) {
		err = p.end(syscall.SIGKILL)
		return errors.Join(fmt.Errorf("servers: %s does not end", filepath.Base(path)), err)
	}
	if p.failed != nil {
		return fmt.Errorf("servers: %s: %w\n%s", filepath.Base(path), p.failed, d.output()[before:])
	}
	return nil
}

// start runs the program on its port and waits until it answers.
func (d *daemon) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.p != nil && d.p.alive() {
		return errors.New("servers: the server is running already")
	}
	before := len(d.output())
	p, err := launch(d.path, d.args(d.port), d.dir, d.log, d.attributes())
	if err != nil {
		return err
	}
	p.family = d.family
	d.p = p
	err = poll(startTime, func() error {
		if !p.alive() {
			return stop{errors.New("ended")}
		}
		return d.ready(p.pid)
	})
	if err == nil {
		return nil
	}
	if end := p.end(syscall.SIGKILL); end != nil {
		return end
	}
	said := d.output()[before:]
	if strings.Contains(said, "in use") {
		return errPortTaken
	}
	return fmt.Errorf("servers: %s did not start: %w\n%s", filepath.Base(d.path), err, said)
}

// end stops the run with a signal; a daemon that does not run is fine.
func (d *daemon) end(s syscall.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.p == nil {
		return nil
	}
	return d.p.end(s)
}

func (d *daemon) signal(s syscall.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.signal(s)
}

func (d *daemon) pause() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.pause()
}

func (d *daemon) running() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p != nil && d.p.alive()
}

// discard ends the daemon and removes its folder.
func (d *daemon) discard() error {
	err := d.end(syscall.SIGKILL)
	if d.log != nil {
		d.log.Close()
	}
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}

// output returns what the runs have printed so far.
func (d *daemon) output() string {
	if d.log == nil {
		return ""
	}
	b, _ := os.ReadFile(d.log.Name())
	return string(b)
}
