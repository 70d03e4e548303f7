package servers

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// FillUp fills a server that was started with "-M" for every size of value,
// so that what needs memory gets SERVER_ERROR out of memory. Reads and
// deletes work, but a delete makes room. The returned function takes the
// filling away.
func (s *MemcachedServer) FillUp() (undo func()) {
	s.tb.Helper()
	s.mine()
	settings := s.statistics("stats settings\r\n")
	if settings["evictions"] != "off" {
		s.check(fmt.Errorf("it evicts, and so is never full: start it with -M"))
		return func() {}
	}
	most, err := strconv.Atoi(settings["item_size_max"])
	if err != nil {
		s.check(err)
		return func() {}
	}
	var keys []string
	s.check(s.session(func(c *bufio.ReadWriter) error {
		// Each class of sizes has its own memory. They grow by a quarter.
		for size := 1; size < most-512; size += size/8 + 8 {
			if err := fill(c, size, &keys); err != nil {
				return err
			}
		}
		return nil
	}))
	return func() {
		s.tb.Helper()
		s.check(s.session(func(c *bufio.ReadWriter) error {
			for _, k := range keys {
				fmt.Fprintf(c, "delete %s noreply\r\n", k)
			}
			return answered(c)
		}))
	}
}

// fill stores values of a size until the server refuses one.
func fill(c *bufio.ReadWriter, size int, keys *[]string) error {
	value := bytes.Repeat([]byte{'x'}, size)
	batch := min(128, 1+(128<<10)/size)
	for {
		first := len(*keys)
		for range batch {
			key := fmt.Sprintf("kit-fill-%08d", len(*keys))
			*keys = append(*keys, key)
			fmt.Fprintf(c, "set %s 0 0 %d\r\n%s\r\n", key, size, value)
		}
		if err := c.Flush(); err != nil {
			return err
		}
		full := false
		for range (*keys)[first:] {
			line, err := c.ReadString('\n')
			if err != nil {
				return err
			}
			switch {
			case strings.HasPrefix(line, "SERVER_ERROR out of memory"):
				full = true
			case line != "STORED\r\n":
				return fmt.Errorf("filling up: %q", line)
			}
		}
		if full {
			return nil
		}
	}
}

// answered waits until all that was sent has been done.
func answered(c *bufio.ReadWriter) error {
	if _, err := c.WriteString("version\r\n"); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	_, err := c.ReadString('\n')
	return err
}

// A patient connection has time for each step of a long session, which takes
// as long in all as the machine is busy.
type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetDeadline(time.Now().Add(4 * kitTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetDeadline(time.Now().Add(4 * kitTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

func (s *MemcachedServer) session(f func(*bufio.ReadWriter) error) error {
	c, err := net.DialTimeout("tcp", s.Addr(), kitTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	p := patient{c}
	return f(bufio.NewReadWriter(bufio.NewReader(p), bufio.NewWriterSize(p, 64<<10)))
}

func (s *MemcachedServer) statistics(command string) map[string]string {
	s.tb.Helper()
	all := map[string]string{}
	for line := range strings.Lines(s.Do(command)) {
		if f := strings.Fields(line); len(f) == 3 {
			all[f[1]] = f[2]
		}
	}
	return all
}
