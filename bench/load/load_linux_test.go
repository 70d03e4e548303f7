package load

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/bench/internal/drive"
)

// asServer makes the test binary a server: its value is one's name.
const asServer = "GENSESSION_BENCH_SERVER"

func TestMain(m *testing.M) {
	if name := os.Getenv(asServer); name != "" {
		fmt.Fprintln(os.Stderr, serve(name))
		os.Exit(1)
	}
	drive.Tell("node", "npm")
	os.Exit(m.Run())
}

const connections, pipeline = 64, 16

// BenchmarkLoad measures servers: server=fiber/sessions=memory/op=read. With
// /pipeline=16 a connection sends so many requests at once.
func BenchmarkLoad(b *testing.B) {
	for _, server := range []string{"fiber", "nethttp", "koa"} {
		for _, sessions := range []string{"none", "memory"} {
			b.Run("server="+server+"/sessions="+sessions, func(b *testing.B) {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), asServer+"="+server+"/"+sessions)
				if server == "koa" {
					installed, err := modules()
					if err != nil {
						// go test does not show why a benchmark skips.
						fmt.Println("not measured: Koa:", err)
						b.SkipNow()
					}
					cmd = exec.Command("node", "koa.js", sessions)
					cmd.Env = append(os.Environ(), "NODE_ENV=production", "NODE_PATH="+installed)
				}
				addr, pid := start(b, cmd)
				ops := []string{"read", "write"}
				if sessions == "none" {
					ops = []string{"bare"}
				}
				for _, op := range ops {
					b.Run("op="+op, func(b *testing.B) { load(b, addr, pid, op, 1) })
					b.Run(fmt.Sprintf("op=%s/pipeline=%d", op, pipeline), func(b *testing.B) { load(b, addr, pid, op, pipeline) })
				}
			})
		}
	}
}

// load sends the requests, each connection in a session of its own.
func load(b *testing.B, addr string, pid int, op string, atOnce int) {
	g, err := newGenerator()
	if err != nil {
		b.Fatal(err)
	}
	defer g.close()
	// Sessions and connections begin before the time that counts.
	for range connections {
		c, err := g.connect(addr)
		if err != nil {
			b.Fatal(err)
		}
		cookie := ""
		if op != "bare" {
			c.ask("/fill", "", 1)
			if err := g.run(1, c); err != nil {
				b.Fatal(err)
			}
			if cookie = c.cookie(); cookie == "" {
				b.Fatal("the session began without a cookie")
			}
			c.sent, c.answered = 0, 0
		}
		c.ask("/"+op, cookie, atOnce)
	}
	// A server of JavaScript gets faster while it learns what is asked of it.
	if err := g.run(connections*20, g.conns...); err != nil {
		b.Fatal(err)
	}
	before := cpu(pid)
	b.ResetTimer()
	if err := g.run(b.N, g.conns...); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	used := cpu(pid) - before
	for _, c := range g.conns {
		want := map[string]int{"read": 1, "write": c.sent + 1}[op]
		if c.answered != c.sent || string(c.body) != strconv.Itoa(want) {
			b.Errorf("%s: %d answers to %d requests, the last %q, want %d", op, c.answered, c.sent, c.body, want)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	if used > 0 {
		b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
	}
}

// start runs a server that prints where it listens, and ends it with the
// benchmark.
func start(b *testing.B, cmd *exec.Cmd) (addr string, pid int) {
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	in, err := cmd.StdinPipe() // nothing goes in, but its end tells that we are gone
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	late := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer late.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
		b.Fatalf("%s did not start: %s", filepath.Base(cmd.Path), &complaints)
	}
	return addr, cmd.Process.Pid
}

// cpu is the processor's time that a process has used, zero where the system
// does not tell.
func cpu(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// After the name in brackets, the 12th and 13th field, in hundredths of a
	// second: the kernel shows it so on every machine.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
