package servers

// IsFree reports whether nobody listens on a port of 127.0.0.1.
func IsFree(port int) bool { return isFree(port) }
