package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
)

// Many users whose browsers send several requests at once, against the program
// itself. With a server behind them there are three programs, one for each
// HTTP library, and the requests of a user go to them in turn. With SOAK=1 it
// is a hundred thousand increments and ten thousand logouts for each store, if there
// is time for so many.

// parts are those of TestLoad: two on each of five farms.
const parts = 2 * 5

// A farm is programs that share their sessions.
type farm struct {
	bases  []string
	client *http.Client
	turn   atomic.Uint64
}

// TestLoad runs both with every store. With memory, which nobody shares, each
// program is a farm of its own and gets a third of the load.
func TestLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	both := func(t *testing.T, share int, store string, adapters ...string) {
		f := newFarm(t, store, adapters...)
		t.Run("increments", func(t *testing.T) { f.increments(t, share) })
		t.Run("logouts", func(t *testing.T) { f.logouts(t, share) })
	}
	for _, a := range allAdapters {
		t.Run("memory, "+a, func(t *testing.T) { both(t, len(allAdapters), "memory", a) })
	}
	t.Run("redis", func(t *testing.T) { both(t, 1, "redis://"+servers.Redis(t).Addr()+"/0", allAdapters...) })
	t.Run("memcached", func(t *testing.T) { both(t, 1, "memcache://"+servers.Memcached(t).Addr(), allAdapters...) })
}

func newFarm(t *testing.T, store string, adapters ...string) *farm {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	f := &farm{client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	for _, a := range adapters {
		f.bases = append(f.bases, program(t, "-store", store, "-adapter", a, "-keys", "Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"))
	}
	t.Cleanup(transport.CloseIdleConnections) // before the programs are told to stop, which wait for open ones
	return f
}

// program starts the demo as a process of its own.
func program(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil { // the race detector says it here, too
			t.Errorf("the program: %v\n%s", err, complaints.String())
		}
	})
	return address(t, bufio.NewReader(out))
}

// ask sends a request with that Cookie field to the next program.
func (f *farm) ask(path, cookie string) (status int, body string, set []string, err error) {
	base := f.bases[f.turn.Add(1)%uint64(len(f.bases))]
	req, err := http.NewRequest(http.MethodGet, base+path, nil)
	if err != nil {
		return 0, "", nil, err
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	res, err := f.client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), res.Header.Values("Set-Cookie"), err
}

// want asks until it works, since a busy machine may keep a store from
// answering in time; the request must be one that can be sent twice.
func (f *farm) want(path, cookie string) (body string, set []string, err error) {
	for try := 0; ; try++ {
		status, body, set, err := f.ask(path, cookie)
		switch {
		case err != nil:
			return "", nil, err
		case status == http.StatusOK:
			return body, set, nil
		case status != http.StatusServiceUnavailable && status != http.StatusConflict || try == 20:
			return "", nil, fmt.Errorf("%s: %d: %s", path, status, body)
		}
	}
}

// visitor begins a session and returns its Cookie field.
func (f *farm) visitor(path string) (cookie string, err error) {
	_, set, err := f.want(path, "")
	if err == nil && len(set) != 2 {
		err = fmt.Errorf("%s: %d Set-Cookie lines, want 2", path, len(set))
	}
	return field(set), err
}

// field is the Cookie field of a browser that got these lines.
func field(set []string) string {
	var pairs []string
	for _, line := range set {
		pair, _, _ := strings.Cut(line, ";")
		pairs = append(pairs, pair)
	}
	return strings.Join(pairs, "; ")
}

// The count of each user at the end is the number of increments that were
// sent: none is lost, whatever else the user's requests do at the same time,
// and none is counted twice.
func (f *farm) increments(t *testing.T, share int) {
	atOnce, each := 4, soak.Longer(25, 100)
	var sent, doubtful atomic.Int64
	begun := time.Now()
	var all sync.WaitGroup
	crowd := make(chan struct{}, 6) // of users at a time
	users := 0
	for range soak.Rounds(parts, 15/share, 250/share+1) {
		users++
		crowd <- struct{}{}
		all.Go(func() {
			defer func() { <-crowd }()
			cookie, err := f.visitor("/set?k=user&v=u")
			if err != nil {
				t.Error(err)
				return
			}
			var counted, unknown atomic.Int64
			var browser sync.WaitGroup
			for i := range atOnce {
				browser.Go(func() {
					for n := range each {
						status, body, _, err := f.ask("/get", cookie)
						switch {
						case err != nil:
							t.Error(err)
							return
						case status == http.StatusOK:
							counted.Add(1)
						case status == http.StatusServiceUnavailable && strings.Contains(body, "unknown"):
							unknown.Add(1)
						case status == http.StatusConflict, status == http.StatusServiceUnavailable:
							doubtful.Add(1) // not counted, and said so
						default:
							t.Errorf("/get: %d: %s", status, body)
						}
						if n%5 == i { // another value of the same session
							if _, _, err := f.want(fmt.Sprintf("/set?k=w%d&v=%d", i, n), cookie); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			browser.Wait()
			sent.Add(counted.Load())
			doubtful.Add(unknown.Load())
			body, _, err := f.want("/read", cookie)
			count, _ := strconv.ParseInt(body, 10, 64)
			if low, high := counted.Load(), counted.Load()+unknown.Load(); err != nil || count < low || count > high {
				t.Errorf("a user counts %q, %v, want %d to %d", body, err, low, high)
			}
			body, _, err = f.want("/dump", cookie)
			for i := range atOnce {
				if want := fmt.Sprintf(`"w%d":"%d"`, i, each-5+i); err != nil || !strings.Contains(body, want) {
					t.Errorf("a user has %s, %v, want %s in it", body, err, want)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	t.Logf("%d increments of %d users in %v, %.0f/s; %d were told to have failed", sent.Load(), users, took.Round(time.Millisecond), float64(sent.Load())/took.Seconds(), doubtful.Load())
	if total := int64(users * atOnce * each); doubtful.Load()*10 > total {
		t.Errorf("%d of %d failed: that is no test", doubtful.Load(), total)
	}
}

// After the answer to a logout no request sees the old session, nor does one
// bring it back that was running then. The same for an id that was renewed or
// regenerated.
func (f *farm) logouts(t *testing.T, share int) {
	const busy = 8
	begun := time.Now()
	var during, after atomic.Int64
	var all sync.WaitGroup
	next := make(chan int)
	for range busy {
		all.Go(func() {
			for i := range next {
				end := "/remove"
				switch i % 10 {
				case 8:
					end = "/renew"
				case 9:
					end = "/regenerate"
				}
				d, a, err := f.race(end)
				if err != nil {
					t.Errorf("%s: %v", end, err)
				}
				during.Add(d)
				after.Add(a)
			}
		})
	}
	races := 0
	for i := range soak.Rounds(parts, 200/share, 10_000/share+1) {
		if t.Failed() {
			break
		}
		next <- i
		races++
	}
	close(next)
	all.Wait()
	t.Logf("%d races in %v: %d requests beside the end, %d after it", races, time.Since(begun).Round(time.Millisecond), during.Load(), after.Load())
	if during.Load() == 0 || after.Load() == 0 {
		t.Error("nothing met")
	}
}

// secret is what only the old session has.
const secret = "before"

// race ends a session while four requests that carry its id are on their way,
// each followed by another one.
func (f *farm) race(end string) (during, after int64, err error) {
	cookie, err := f.visitor("/set?k=secret&v=" + secret)
	if err != nil {
		return 0, 0, err
	}
	if _, _, err := f.want("/get", cookie); err != nil {
		return 0, 0, err
	}
	var over atomic.Bool
	var nDuring, nAfter atomic.Int64
	errs := make([]error, 5)
	var all sync.WaitGroup
	for i, path := range []string{"/get", "/set?k=w&v=1", "/read", "/dump"} {
		all.Go(func() {
			for !over.Load() && errs[i] == nil {
				_, errs[i] = f.look(path, cookie, &over, &nDuring, &nAfter)
			}
			if errs[i] == nil {
				_, errs[i] = f.look(path, cookie, &over, &nDuring, &nAfter)
			}
		})
	}
	var fresh []string
	all.Go(func() {
		_, fresh, errs[4] = f.want(end, cookie)
		over.Store(true)
	})
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, 0, err
	}
	// Once more, when all of them have been answered.
	if body, _, err := f.want("/dump", cookie); err != nil || body != "{}" {
		return 0, 0, fmt.Errorf("the old id leads to %s, %v", body, err)
	}
	if end == "/renew" {
		body, _, err := f.want("/dump", field(fresh))
		if err != nil || !strings.Contains(body, secret) {
			return 0, 0, fmt.Errorf("the new id leads to %s, %v", body, err)
		}
	}
	return nDuring.Load(), nAfter.Load(), nil
}

// look sends one request with the old id, and if the end had been answered
// before it began, it must not see the session.
func (f *farm) look(path, cookie string, over *atomic.Bool, during, after *atomic.Int64) (body string, err error) {
	late := over.Load()
	status, body, set, err := f.ask(path, cookie)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusServiceUnavailable:
		return "", nil // a busy machine
	case status != http.StatusOK && status != http.StatusConflict:
		return "", fmt.Errorf("%s: %d: %s", path, status, body)
	case !late:
		during.Add(1)
		return body, nil
	}
	after.Add(1)
	seen := strings.Contains(body, secret)
	switch path {
	case "/read":
		seen = body != "0"
	case "/get":
		seen = status == http.StatusOK && body != "1" // one of its own
	}
	if seen {
		return "", fmt.Errorf("%s after the end: %s", path, body)
	}
	if old, _, _ := strings.Cut(cookie, ";"); strings.Contains(field(set), old) {
		return "", fmt.Errorf("%s after the end sends the old id", path)
	}
	return body, nil
}
