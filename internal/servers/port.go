package servers

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports lie below those that Linux gives to outgoing connections, so that
// nobody takes the port of a server that is down, and the port of the cluster
// bus, busOffset above, does too.
const (
	firstPort = 16384
	portCount = 6000
	busOffset = 10000
)

// freePort returns a port of 127.0.0.1 that nobody listens on now, nor on the
// one busOffset above. Another process may take it before the caller does.
func freePort() (int, error) {
	for range 200 {
		port := firstPort + rand.IntN(portCount)
		if isFree(port) && isFree(port+busOffset) {
			return port, nil
		}
	}
	return 0, errNoPort
}

var errNoPort = errors.New("servers: no free port on 127.0.0.1")

// Listen listens on a free port of 127.0.0.1 that the kernel gives to no
// outgoing connection, so that who closes the listener can open it again.
func Listen() (net.Listener, error) {
	for range 200 {
		l, err := net.Listen("tcp", loopback(firstPort+rand.IntN(portCount)))
		if err == nil {
			return l, nil
		}
	}
	return nil, errNoPort
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
