package faultproxy

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// mixer changes which connection gets which replies.
type mixer struct {
	mixed atomic.Int64

	mu    sync.Mutex
	match func(reply []byte) bool
	swap  bool
	twice int
	first *waiting
}

// waiting is a reply that waits for another to be exchanged with.
type waiting struct {
	link  *link
	chunk []byte
	other chan []byte // closed without a value when there will be none
}

// SwapReplies exchanges the next two replies, each a chunk, that go to two
// different connections and that match; nil matches all. The first waits for
// the second, until [Proxy.Clear] or the end of its connection.
func (p *Proxy) SwapReplies(match func(reply []byte) bool) {
	p.mixer.arm(func(m *mixer) { m.match, m.swap = match, true })
}

// DuplicateReplies sends each of the next n replies twice that match; nil
// matches all.
func (p *Proxy) DuplicateReplies(n int, match func(reply []byte) bool) {
	p.mixer.arm(func(m *mixer) { m.match, m.twice = match, n })
}

func (m *mixer) clear() { m.arm(func(*mixer) {}) }

func (m *mixer) arm(set func(*mixer)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first != nil {
		close(m.first.other)
	}
	m.match, m.swap, m.twice, m.first = nil, false, 0, nil
	set(m)
}

// mix returns what to send to a link in the place of a reply.
func (m *mixer) mix(k *link, chunk []byte) []byte {
	m.mu.Lock()
	if !m.swap && m.twice == 0 || m.match != nil && !m.match(chunk) {
		m.mu.Unlock()
		return chunk
	}
	if m.twice > 0 {
		m.twice--
		m.mu.Unlock()
		m.mixed.Add(1)
		return bytes.Repeat(chunk, 2)
	}
	if w := m.first; w != nil && w.link != k {
		m.first, m.swap = nil, false
		w.other <- bytes.Clone(chunk)
		m.mu.Unlock()
		m.mixed.Add(2)
		return w.chunk
	}
	w := &waiting{link: k, chunk: bytes.Clone(chunk), other: make(chan []byte, 1)}
	m.first = w
	m.mu.Unlock()
	select {
	case other, ok := <-w.other:
		if ok {
			return other
		}
	case <-k.gone:
		m.forget(w)
	}
	return chunk
}

func (m *mixer) forget(w *waiting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first == w {
		m.first = nil
	}
}
