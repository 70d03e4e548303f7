package servers

// IsFree reports whether nobody listens on a port of 127.0.0.1.
func IsFree(port int) bool { return isFree(port) }

// PID returns the process of the server.
func (h handle) PID() int { return h.p.pid }
