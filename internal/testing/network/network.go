// Package network is a TCP proxy for tests and benchmarks, between a driver and
// PostgreSQL. It stands for a network that takes its time, and counts round trips.
package network

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Network forwards connections to one server. Its methods are safe for
// concurrent use.
type Network struct {
	listener net.Listener
	target   string
	oneWay   time.Duration
	trips    atomic.Int64
	working  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	live   map[net.Conn]bool
}

// Between starts a network to the server of dsn, a URL, and returns it with the
// URL that leads through it. It adds latency to each round trip, half of it in
// each direction. It ends with the test.
func Between(t testing.TB, dsn string, latency time.Duration) (n *Network, through string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Port() == "" {
		t.Fatal("network: the server's DSN is no URL with a host and a port")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n = &Network{listener: listener, target: u.Host, oneWay: latency / 2, live: map[net.Conn]bool{}}
	n.working.Go(n.accept)
	t.Cleanup(n.close)
	u.Host = listener.Addr().String()
	return n, u.String()
}

// RoundTrips returns how many round trips there were on all connections: how often
// a client has sent something, by one write or by many, and the server has
// answered. What comes before the first statement counts too.
func (n *Network) RoundTrips() int { return int(n.trips.Load()) }

func (n *Network) close() {
	n.listener.Close()
	n.mu.Lock()
	n.closed = true
	for c := range n.live {
		c.Close()
	}
	n.mu.Unlock()
	n.working.Wait()
}

func (n *Network) accept() {
	for {
		client, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.working.Go(func() { n.serve(client) })
	}
}

func (n *Network) serve(client net.Conn) {
	defer n.forget(client)
	server, err := net.Dial("tcp", n.target)
	if err != nil {
		return
	}
	defer n.forget(server)
	if !n.keep(client, server) {
		return
	}
	var asked atomic.Bool // the client has sent something that is not answered
	var both sync.WaitGroup
	both.Go(func() { n.forward(server, client, func() { asked.Store(true) }) })
	both.Go(func() {
		n.forward(client, server, func() {
			if asked.CompareAndSwap(true, false) {
				n.trips.Add(1)
			}
		})
	})
	both.Wait()
}

func (n *Network) keep(conns ...net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range conns {
		n.live[c] = true
	}
	return !n.closed
}

func (n *Network) forget(c net.Conn) {
	n.mu.Lock()
	delete(n.live, c)
	n.mu.Unlock()
	c.Close()
}

// forward copies what from sends, each piece when its time has come, until either
// is closed. It calls arrived before each piece.
func (n *Network) forward(to, from net.Conn, arrived func()) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			data := make([]byte, 32<<10)
			size, err := from.Read(data)
			if size > 0 {
				arrived()
				pieces <- piece{data[:size], time.Now().Add(n.oneWay)}
			}
			if err != nil {
				return
			}
		}
	}()
	clock := newClock()
	defer clock.close()
	for p := range pieces {
		if wait := time.Until(p.due); wait > 0 {
			clock.sleep(wait)
		}
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	for range pieces {
	}
}
