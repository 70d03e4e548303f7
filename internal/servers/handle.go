package servers

import (
	"errors"
	"sync"
	"syscall"
	"testing"
)

// handle is what one test holds of a daemon.
type handle struct {
	*daemon
	tb     testing.TB
	shared bool
}

// own starts a daemon that ends with the test.
func own(tb testing.TB, d *daemon) handle {
	tb.Helper()
	h := attach(tb, d)
	if err := d.boot(); err != nil {
		tb.Fatal(err)
	}
	return h
}

// attach makes a daemon, started or not, end with the test.
func attach(tb testing.TB, d *daemon) handle {
	tb.Helper()
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("%s on port %d printed:\n%s", d.path, d.port, tail(d.output()))
		}
		if err := d.discard(); err != nil {
			tb.Error(err)
		}
	})
	return handle{daemon: d, tb: tb}
}

// bootAll starts attached daemons at the same time.
func bootAll(tb testing.TB, all ...*daemon) {
	tb.Helper()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, d := range all {
		wg.Go(func() { errs[i] = d.boot() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		tb.Fatal(err)
	}
}

// Addr returns the address of the server, as 127.0.0.1:16384. It stays the
// same over restarts.
func (h handle) Addr() string { return loopback(h.port) }

// Port returns the port of the server.
func (h handle) Port() int { return h.port }

// Kill ends the server by SIGKILL and waits until it is gone.
func (h handle) Kill() {
	h.tb.Helper()
	h.mine()
	h.check(h.end(syscall.SIGKILL))
}

// Start starts a server again that was killed, on the same port.
func (h handle) Start() {
	h.tb.Helper()
	h.mine()
	h.check(h.start())
}

// Pause stops the server by SIGSTOP: it accepts connections, by way of the
// kernel, and answers nothing. On Linux all its threads stand still when Pause
// returns; elsewhere one may still finish what it is at.
func (h handle) Pause() {
	h.tb.Helper()
	h.mine()
	h.check(h.pause())
}

// Resume lets a paused server go on, with all that was sent to it meanwhile.
func (h handle) Resume() {
	h.tb.Helper()
	h.check(h.signal(sigCont))
}

// Alive reports whether the server runs, paused or not.
func (h handle) Alive() bool { return h.running() }

// Output returns what the server has printed.
func (h handle) Output() string { return h.output() }

// check reports an error without ending the goroutine, which may not be the
// one of the test.
func (h handle) check(err error) {
	if err != nil {
		h.tb.Helper()
		h.tb.Errorf("server %s: %v", h.Addr(), err)
	}
}

// mine reports the ill-treatment of a server that other tests use.
func (h handle) mine() {
	if h.shared {
		h.tb.Helper()
		h.tb.Error("servers: a shared server was ill-treated; start one of your own")
	}
}

func tail(s string) string {
	const most = 8 << 10
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}
