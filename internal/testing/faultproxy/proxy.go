// Package faultproxy is a TCP proxy for tests, between a driver and PostgreSQL,
// that fails in the ways a network does. It can stop forwarding, delay, lose
// connections without a word, and cut them after a number of bytes.
package faultproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// A Proxy forwards connections to one server. Its methods are safe for
// concurrent use.
type Proxy struct {
	listener net.Listener
	target   string
	working  sync.WaitGroup
	ended    chan struct{} // closed by Close

	mu       sync.Mutex // guards what follows
	changed  *sync.Cond // on mu: something that a connection may wait for
	closed   bool
	hole     bool
	delay    time.Duration // of what goes to the client
	holeIn   [2]int        // a hole opens when that many bytes more have gone that way; -1 never
	fakeTLS  bool
	cutAfter int // bytes that each of the next cuts connections may still send
	cuts     int
	live     map[*connection]bool
}

// The ways through a proxy.
const (
	toServer = iota
	toClient
)

// Start starts a proxy to the server of dsn, a URL, and returns it with the URL
// that leads through it. It ends with the test.
func Start(t testing.TB, dsn string) (p *Proxy, through string) {
	t.Helper()
	p, through, err := New(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, through
}

// New is Start for a program that is no test, which has to call Close.
func New(dsn string) (p *Proxy, through string, err error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Port() == "" {
		return nil, "", errors.New("faultproxy: the server's DSN is no URL with a host and a port")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("faultproxy: %w", err)
	}
	p = &Proxy{
		listener: listener,
		target:   u.Host,
		ended:    make(chan struct{}),
		holeIn:   [2]int{-1, -1},
		live:     map[*connection]bool{},
	}
	p.changed = sync.NewCond(&p.mu)
	p.working.Go(p.accept)
	u.Host = listener.Addr().String()
	return p, u.String(), nil
}

// Close ends the proxy and all connections through it.
func (p *Proxy) Close() {
	p.listener.Close()
	close(p.ended)
	p.mu.Lock()
	p.closed = true
	p.changed.Broadcast()
	for c := range p.live {
		c.close()
	}
	p.mu.Unlock()
	p.working.Wait()
}

// Stop stops forwarding, in both directions and for new connections too, until
// Resume is called. Nothing is lost, as TCP sends again what was not
// acknowledged; but nobody hears of anything meanwhile, nor of an end.
func (p *Proxy) Stop() { p.set(func() { p.hole = true }) }

// StopAfter is Stop when n bytes more have been forwarded to the server, or to
// the client.
func (p *Proxy) StopAfter(n int, toTheServer bool) {
	p.set(func() {
		if toTheServer {
			p.holeIn[toServer] = n
		} else {
			p.holeIn[toClient] = n
		}
	})
}

// Stopped reports whether nothing is forwarded.
func (p *Proxy) Stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hole
}

// StopTLS answers new connections that it is ready for TLS, and then nothing.
func (p *Proxy) StopTLS() { p.set(func() { p.fakeTLS = true }) }

// Resume ends what Stop, StopAfter and StopTLS have begun, and what CutAfter has
// not cut yet.
func (p *Proxy) Resume() {
	p.set(func() {
		p.hole, p.holeIn, p.fakeTLS, p.cuts = false, [2]int{-1, -1}, false, 0
		for c := range p.live {
			c.cutting = false
		}
	})
}

// Vanish forgets the connections that there are, as a firewall does: they stay
// open, and nothing comes through them any more, not even their end. New
// connections are forwarded.
func (p *Proxy) Vanish() {
	p.set(func() {
		for c := range p.live {
			c.vanished = true
		}
	})
}

// Bury has the server hear of the end of the connections that have vanished.
func (p *Proxy) Bury() {
	p.set(func() {
		for c := range p.live {
			if c.vanished {
				c.close()
			}
		}
	})
}

// Spoken returns on how many of the connections that have vanished the client
// has sent more than the 5 bytes of a good-bye since.
func (p *Proxy) Spoken() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.live {
		if c.vanished && c.swallowed > 5 {
			n++
		}
	}
	return n
}

// CutAfter cuts the next connections, as many as times says, on which the
// client sends something, after n bytes of that have been forwarded.
func (p *Proxy) CutAfter(n, times int) { p.set(func() { p.cutAfter, p.cuts = n, times }) }

// CutAll cuts the connections that there are.
func (p *Proxy) CutAll() {
	p.set(func() {
		for c := range p.live {
			c.close()
		}
	})
}

// Delay has each piece of what the server sends arrive later by d.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.working.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

// connection is one client's. The proxy's mutex guards its fields.
type connection struct {
	proxy          *Proxy
	client, server *net.TCPConn // server is nil before it is dialled
	vanished       bool
	swallowed      int // bytes that came from the client after that
	cutting        bool
	left           int // bytes that may still go to the server, where cutting
}

func (c *connection) close() {
	c.client.Close()
	if c.server != nil {
		c.server.Close()
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	c := &connection{proxy: p, client: client}
	p.mu.Lock()
	p.live[c] = true
	fake := p.fakeTLS
	if !fake && !c.wait() {
		fake = true // it is closed, or has vanished
	}
	closed := p.closed
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		c.close()
		delete(p.live, c)
		p.mu.Unlock()
	}()
	if closed {
		return
	}
	if fake {
		if _, err := io.ReadFull(client, make([]byte, 8)); err == nil {
			client.Write([]byte{'S'})
		}
		io.Copy(io.Discard, client) // until somebody closes it
		return
	}
	server, err := net.DialTimeout("tcp", p.target, 10*time.Second)
	if err != nil {
		return
	}
	p.mu.Lock()
	c.server = server.(*net.TCPConn)
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { c.pump(c.server, client, toServer) })
	both.Go(func() { c.pump(client, c.server, toClient) })
	both.Wait()
}

// wait waits until nothing keeps the connection from being forwarded. It
// returns false if that will never be. The proxy's mutex is locked.
func (c *connection) wait() bool {
	for {
		switch {
		case c.proxy.closed || c.vanished:
			return false
		case !c.proxy.hole:
			return true
		}
		c.proxy.changed.Wait()
	}
}

func (c *connection) pump(to, from *net.TCPConn, way int) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		rest := b[:n]
		if way == toClient && n > 0 {
			c.proxy.waitDelay()
		}
		for len(rest) > 0 {
			m, cut := c.admit(len(rest), way)
			if m > 0 {
				if _, err := to.Write(rest[:m]); err != nil {
					break
				}
				rest = rest[m:]
			}
			if cut {
				c.proxy.mu.Lock()
				c.close()
				c.proxy.mu.Unlock()
				return
			}
			if m == 0 {
				break // it has vanished
			}
		}
		if err != nil {
			c.proxy.mu.Lock()
			forward := c.wait()
			for !forward && !c.proxy.closed {
				c.proxy.changed.Wait()
			}
			c.proxy.mu.Unlock()
			if errors.Is(err, io.EOF) {
				to.CloseWrite()
			} else {
				to.SetLinger(0) // a reset stays one
				to.Close()
			}
			return
		}
	}
}

func (p *Proxy) waitDelay() {
	p.mu.Lock()
	d := p.delay
	p.mu.Unlock()
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ended:
	}
}

// admit waits until some of n bytes may go that way, and returns how many, and
// whether to cut the connection after them. It is 0 if none ever will.
func (c *connection) admit(n, way int) (m int, cut bool) {
	p := c.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.wait() {
		if way == toServer {
			c.swallowed += n
		}
		return 0, false
	}
	if way == toServer && p.cuts > 0 && !c.cutting {
		p.cuts--
		c.cutting, c.left = true, p.cutAfter
	}
	if way == toServer && c.cutting {
		if n >= c.left {
			return c.left, true
		}
		c.left -= n
	}
	switch left := p.holeIn[way]; {
	case left < 0:
	case n < left:
		p.holeIn[way] -= n
	case left > 0:
		n = left
		p.hole, p.holeIn[way] = true, -1
	default:
		p.hole, p.holeIn[way] = true, -1
		if !c.wait() {
			return 0, false
		}
	}
	return n, false
}
