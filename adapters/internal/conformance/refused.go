package conformance

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// testRefusedSetting connects to what refuses client_connection_check_interval,
// as PostgreSQL before 14 and PgBouncer do.
func testRefusedSetting(t *testing.T, d Driver) {
	dsn := database(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var refused atomic.Int64
	server := u.Host
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer client.Close()
				relay(client, server, "client_connection_check_interval", &refused)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	u.Host = listener.Addr().String()
	db, err := d.Open(withOption(u.String(), "application_name", "gated"), poolgate.Config{Gate: gate.Config{Limit: 2}})
	if err != nil {
		t.Fatal(err)
	}
	f := watch(t, d, dsn, db)
	f.usable(t)
	f.usable(t)
	if n := refused.Load(); n == 0 || n > 2 {
		t.Errorf("%d connections were refused; at first each caller may find out, later nobody", n)
	}
	if f.version(t) >= 140000 {
		if got := scalar[string](t, f, "show client_connection_check_interval"); got != "0" {
			t.Errorf("it is %s", got)
		}
	}
}

// relay forwards a connection to server, unless its first message has the
// setting, which it refuses.
func relay(client net.Conn, server, setting string, refused *atomic.Int64) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(client, head); err != nil {
		return
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(client, body); err != nil {
		return
	}
	if bytes.Contains(body, []byte(setting)) {
		refused.Add(1)
		fields := "SFATAL\x00VFATAL\x00C08P01\x00Munsupported startup parameter: " + setting + "\x00\x00"
		answer := binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(fields)))
		client.Write(append(answer, fields...))
		return
	}
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer upstream.Close()
	upstream.Write(append(head, body...))
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{upstream, client}, {client, upstream}} {
		both.Go(func() {
			io.Copy(way[0], way[1])
			way[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}
