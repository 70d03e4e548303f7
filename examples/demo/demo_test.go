package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/internal/servers"
)

// asMain makes the test binary the demo itself.
const asMain = "GENSESSION_DEMO_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	goleak.VerifyTestMain(m,
		// fasthttp's clock of the Date field runs until the program ends, and
		// the cleaner of a worker pool looks only every ten seconds whether
		// its server is still there.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// rueidis asks at first whether the server is a cluster. That client
		// may sleep for up to a second after it was closed.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// start runs the demo on a free port and returns its address.
func start(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, in := io.Pipe()
	var complaints bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), in, &complaints)
		in.Close()
	}()
	t.Cleanup(func() {
		stop()
		if c := <-code; c != 0 {
			t.Errorf("exit code %d: %s", c, complaints.String())
		}
		if rest, _ := io.ReadAll(out); len(rest) > 0 {
			t.Errorf("more output than one line: %q", rest)
		}
	})
	return address(t, out)
}

func address(t *testing.T, out io.Reader) string {
	t.Helper()
	// A byte at a time: a buffered reader would take more than the line.
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := out.Read(b); err != nil || b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	base, ok := strings.CutPrefix(string(line), "listening on ")
	if u, err := url.Parse(base); !ok || err != nil || u.Port() == "0" {
		t.Fatalf("the first line of output is %q, want the address", line)
	}
	return base
}

// A user is a browser, or curl with its jar.
type user struct {
	t      *testing.T
	base   string
	client *http.Client
}

func newUser(t *testing.T, base string) *user {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &user{t, base, &http.Client{Jar: jar, Transport: transport, Timeout: 10 * time.Second}}
}

func (u *user) do(method, path string, header ...string) (*http.Response, string) {
	u.t.Helper()
	req, err := http.NewRequest(method, u.base+path, nil)
	if err != nil {
		u.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := u.client.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return res, string(body)
}

// get asks for path and wants it to work.
func (u *user) get(path string, header ...string) string {
	u.t.Helper()
	res, body := u.do(http.MethodGet, path, header...)
	if res.StatusCode != http.StatusOK {
		u.t.Fatalf("%s: %s: %s", path, res.Status, body)
	}
	return body
}

// wants asks for each path in turn: path, answer, path, answer.
func (u *user) wants(pairs ...string) {
	u.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := u.get(pairs[i]); got != pairs[i+1] {
			u.t.Errorf("%s answers %q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

func (u *user) cookies() string {
	at, _ := url.Parse(u.base)
	var pairs []string
	for _, c := range u.client.Jar.Cookies(at) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

var (
	allAdapters = []string{"fiber", "fasthttp", "nethttp"}
	shapeOfID   = regexp.MustCompile(`^[A-Za-z0-9_-]{32}$`)
)

// eachAdapter runs the test on the demo with each HTTP library.
func eachAdapter(t *testing.T, flags []string, test func(t *testing.T, base string)) {
	for _, a := range allAdapters {
		t.Run(a, func(t *testing.T) {
			t.Parallel()
			test(t, start(t, append([]string{"-adapter", a}, flags...)...))
		})
	}
}

func TestRoutes(t *testing.T) {
	for _, flags := range [][]string{nil, {"-defer"}, {"-rolling"}, {"-koa", "-keys", "keys"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) { eachAdapter(t, flags, routes) })
	}
}

// The same on real servers: sessions that outlive the demo.
func TestStores(t *testing.T) {
	redis, memcached := servers.Redis(t).Addr(), servers.Memcached(t).Addr()
	for _, store := range []string{
		"redis://" + redis + "/1", "memcache://" + memcached, "memcache://" + memcached + "," + servers.Memcached(t).Addr(),
		"sqlite:" + filepath.Join(t.TempDir(), "sessions.db"), servers.Postgres(t).URL(), servers.MariaDB(t).URL(),
	} {
		t.Run(store, func(t *testing.T) {
			flags := []string{"-store", store, "-keys", "Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"}
			eachAdapter(t, flags, routes)
			first := newUser(t, start(t, flags...))
			first.wants("/get", "1", "/get", "2")
			second := newUser(t, start(t, append(flags, "-adapter", "nethttp")...))
			if got := second.get("/get", "Cookie", first.cookies()); got != "3" {
				t.Errorf("another process counts %s, want 3", got)
			}
		})
	}
	t.Run("down at the start", func(t *testing.T) {
		gone := servers.Redis(t)
		gone.Kill()
		base := start(t, "-store", "redis://"+gone.Addr())
		done := make(chan string)
		go func() { done <- newUser(t, base).get("/get") }() // K43: waits
		gone.Restart()
		if got := <-done; got != "1" {
			t.Errorf("/get = %q, want 1", got)
		}
	})
}

func routes(t *testing.T, base string) {
	u := newUser(t, base)
	u.wants("/read", "0")
	if c := u.cookies(); c != "" {
		t.Errorf("reading set a cookie")
	}
	u.wants("/get", "1", "/get", "2", "/get", "3", "/read", "3")

	id := u.get("/id")
	if !shapeOfID.MatchString(id) {
		t.Errorf("/id: the id has not the shape of one")
	}
	if !strings.Contains(u.cookies(), "koa.sid="+id+";") {
		t.Errorf("/id is not what the cookie carries")
	}

	u.wants("/set?k=name&v=J%C3%BCrgen+%3Cb%3E", "set")
	before := u.cookies()
	renewed := u.get("/renew")
	if renewed == id || u.get("/id") != renewed {
		t.Errorf("/renew did not give a new id")
	}
	old := newUser(t, base)
	if got := old.get("/read", "Cookie", before); got != "0" {
		t.Errorf("the id from before /renew still works")
	}
	var values map[string]any
	if err := json.Unmarshal([]byte(u.get("/dump")), &values); err != nil || values["name"] != "Jürgen <b>" || values["count"] != 3.0 {
		t.Errorf("/dump after /renew: %v, %v", values, err)
	}

	fresh := u.get("/regenerate")
	if fresh == renewed || u.get("/id") != fresh {
		t.Errorf("/regenerate did not give a new id")
	}
	u.wants("/read", "4", "/dump", `{"count":4}`)

	before = u.cookies()
	u.wants("/remove", "removed", "/read", "0", "/dump", "{}")
	if got := old.get("/read", "Cookie", before); got != "0" {
		t.Errorf("the session still works after /remove")
	}
	u.wants("/get", "1")
}

func TestErrors(t *testing.T) {
	eachAdapter(t, nil, func(t *testing.T, base string) {
		u := newUser(t, base)
		for _, c := range []struct {
			method, path string
			status       int
			says         string
		}{
			{"GET", "/nowhere", 404, "no such page"},
			{"GET", "/get/", 404, "no such page"},
			{"POST", "/get", 405, "only GET"},
			{"GET", "/set", 400, "say what to set"},
			{"GET", "/set?v=1", 400, "say what to set"},
			{"GET", "/set?k=cookie&v=1", 400, "reserved"},
			{"GET", "/set?k=_gs&v=1", 400, "reserved"},
			{"GET", "/set?k=%zz", 400, "query"},
		} {
			res, body := u.do(c.method, c.path)
			if res.StatusCode != c.status || !strings.Contains(body, c.says) {
				t.Errorf("%s %s: %s: %q, want %d and %q", c.method, c.path, res.Status, body, c.status, c.says)
			}
			if kind := res.Header.Get("Content-Type"); kind != text {
				t.Errorf("%s %s: Content-Type %q", c.method, c.path, kind)
			}
		}
		if u.cookies() != "" {
			t.Errorf("a wrong request began a session")
		}
		u.wants("/get", "1") // and none of them harmed the server
	})
}

func TestPage(t *testing.T) {
	eachAdapter(t, nil, func(t *testing.T, base string) {
		u := newUser(t, base)
		if page := u.get("/"); !strings.Contains(page, "no session yet") || u.cookies() != "" {
			t.Errorf("the page of a new visitor: %s", page)
		}
		u.get("/set?k=x&v=" + url.QueryEscape(`<script>alert("1")</script>`))
		res, page := u.do("GET", "/")
		if res.Header.Get("Content-Type") != html || res.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("the header of the page: %v", res.Header)
		}
		if strings.Contains(page, "<script") {
			t.Errorf("the page runs what was stored")
		}
		if !strings.Contains(page, "alert(") || !strings.Contains(page, "id:") {
			t.Errorf("the page does not show the session: %s", page)
		}
		if strings.Contains(page, u.get("/id")) {
			t.Errorf("the page shows the secret id")
		}
		for _, link := range regexp.MustCompile(`action="([^"]+)"`).FindAllStringSubmatch(page, -1) {
			if res, _ := u.do("GET", link[1]); res.StatusCode != 200 && link[1] != "/set" {
				t.Errorf("the button %s: %s", link[1], res.Status)
			}
		}
	})
}

// Two users at once, each with a count of their own.
func TestUsersDoNotMix(t *testing.T) {
	eachAdapter(t, nil, func(t *testing.T, base string) {
		var wg sync.WaitGroup
		for i := range 2 {
			u := newUser(t, base)
			wg.Go(func() {
				name := strconv.Itoa(i)
				u.wants("/set?k=name&v="+name, "set")
				for n := 1; n <= 20; n++ {
					u.wants("/get", strconv.Itoa(n), "/dump", `{"name":"`+name+`","count":`+strconv.Itoa(n)+`}`)
				}
			})
		}
		wg.Wait()
	})
}

// K2, K4, K5: the cookies of -koa are those of the original.
func TestKoa(t *testing.T) {
	eachAdapter(t, []string{"-koa", "-keys", "keys,keykeys"}, func(t *testing.T, base string) {
		u := newUser(t, base)
		res, _ := u.do("GET", "/get")
		id := u.get("/id")
		mac := hmac.New(sha1.New, []byte("keys"))
		mac.Write([]byte("koa.sid=" + id))
		want := []string{"koa.sid=" + id, "koa.sid.sig=" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))}
		lines := res.Header.Values("Set-Cookie")
		attributes := regexp.MustCompile(`^; path=/; expires=[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT; httponly$`)
		if len(lines) != 2 {
			t.Fatalf("%d Set-Cookie lines, want 2", len(lines))
		}
		for i, line := range lines {
			if rest, ok := strings.CutPrefix(line, want[i]); !ok || !attributes.MatchString(rest) {
				t.Errorf("Set-Cookie line %d is not the original's", i)
			}
		}
	})
}

// K46: with -defer a request that never asks for its session costs nothing.
// Without it, one with an unknown id is told to forget it.
func TestDefer(t *testing.T) {
	for _, c := range []struct {
		flag  string
		lines int
	}{{"-defer=false", 2}, {"-defer", 0}} {
		t.Run(c.flag, func(t *testing.T) {
			eachAdapter(t, []string{"-koa", "-keys", "keys", c.flag}, func(t *testing.T, base string) {
				// K5's example: an id that the store has never seen.
				cookie := "koa.sid=seeded; koa.sid.sig=34Caw-ta-vPGVbrG5wkOhvc1U_4"
				res, _ := newUser(t, base).do("GET", "/nowhere", "Cookie", cookie)
				if n := len(res.Header.Values("Set-Cookie")); n != c.lines {
					t.Errorf("%d Set-Cookie lines, want %d", n, c.lines)
				}
			})
		})
	}
}

// K24: -rolling sends the cookie again with every request.
func TestRolling(t *testing.T) {
	for _, c := range []struct {
		flag  string
		lines int
	}{{"-rolling=false", 0}, {"-rolling", 2}} {
		t.Run(c.flag, func(t *testing.T) {
			eachAdapter(t, []string{c.flag}, func(t *testing.T, base string) {
				u := newUser(t, base)
				u.get("/get")
				res, _ := u.do("GET", "/read")
				if n := len(res.Header.Values("Set-Cookie")); n != c.lines {
					t.Errorf("%d Set-Cookie lines, want %d", n, c.lines)
				}
			})
		})
	}
}

func TestTTL(t *testing.T) {
	eachAdapter(t, []string{"-ttl", "1s"}, func(t *testing.T, base string) {
		u := newUser(t, base)
		u.wants("/get", "1")
		for deadline := time.Now().Add(10 * time.Second); u.get("/read") != "0"; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the session outlives its ttl")
			}
		}
	})
}

// K8: the error says what is wrong, and nothing is stored or sent.
func TestSecureOverHTTP(t *testing.T) {
	eachAdapter(t, []string{"-secure"}, func(t *testing.T, base string) {
		u := newUser(t, base)
		u.wants("/read", "0")
		res, body := u.do("GET", "/get")
		if res.StatusCode != 500 || !strings.Contains(body, "did not come over TLS") {
			t.Errorf("%s: %s", res.Status, body)
		}
		if len(res.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("a cookie was sent all the same")
		}
	})
}

func TestFlags(t *testing.T) {
	long := "Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-h"}, 0, "-adapter"},
		{[]string{"-nonsense"}, 2, "not defined"},
		{[]string{"extra"}, 2, "unexpected argument"},
		{[]string{"-adapter", "gin"}, 2, "fiber, fasthttp and nethttp"},
		{[]string{"-store", "redis://user:secret@local host:6379/%zz"}, 2, "redisstore: "},
		{[]string{"-store", "redis://"}, 2, "-store"},
		{[]string{"-store", "memcached://localhost"}, 2, "host:port"},
		{[]string{"-store", "mongodb://user:secret@localhost"}, 2, "memory"},
		{[]string{"-store", "sqlite:"}, 2, "memory"},
		{[]string{"-store", "mysql://user:secret@local host/%zz"}, 2, "no URL"},
		{[]string{"-store", "postgres://user:secret@local host/%zz"}, 2, "postgres"},
		{[]string{"-keys", "short"}, 2, "at least 32"},
		{[]string{"-keys", long + ",short"}, 2, "Keys[1]"},
		{[]string{"-keys", ""}, 2, "at least 32"},
		{[]string{"-koa", "-keys", "short,"}, 2, "0 bytes"},
		{[]string{"-ttl", "soon"}, 2, "parse error"},
		{[]string{"-ttl", "-1s"}, 2, "negative"},
		{[]string{"-addr", "nowhere"}, 1, "missing port"},
	} {
		var out, complaints bytes.Buffer
		code := run(t.Context(), c.args, &out, &complaints)
		if code != c.code || !strings.Contains(complaints.String(), c.says) || out.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d and %q, got %s%s", c.args, code, c.code, c.says, &out, &complaints)
		}
		if strings.Contains(complaints.String(), "secret") {
			t.Errorf("%q: the password is in the message", c.args)
		}
	}
}

func TestRandomKeyIsSaid(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, c := range []struct {
		args  []string
		lines int
	}{{nil, 1}, {[]string{"-keys", "Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"}, 0}} {
		var complaints bytes.Buffer
		args := append([]string{"-addr", "127.0.0.1:0"}, c.args...)
		if code := run(ctx, args, io.Discard, &complaints); code != 0 {
			t.Errorf("%q: exit code %d: %s", args, code, &complaints)
		}
		if n := strings.Count(complaints.String(), "\n"); n != c.lines {
			t.Errorf("%q: %d lines, want %d: %s", args, n, c.lines, &complaints)
		}
	}
}

// Already done when it starts, the demo ends at once, with each library.
func TestEndsBeforeItServes(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, a := range allAdapters {
		var complaints bytes.Buffer
		if code := run(ctx, []string{"-addr", "127.0.0.1:0", "-adapter", a}, io.Discard, &complaints); code != 0 {
			t.Errorf("%s: exit code %d: %s", a, code, &complaints)
		}
	}
}

// The program itself, ended by the signals of a terminal and of a supervisor.
func TestSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-addr", "127.0.0.1:0")
			cmd.Env = append(os.Environ(), asMain+"=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			u := newUser(t, address(t, bufio.NewReader(out)))
			u.wants("/get", "1", "/get", "2")
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("after the signal: %v", err)
			}
		})
	}
}
