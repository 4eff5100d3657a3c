//go:build unix

package socket

import (
	"net"
	"syscall"
)

// Unread reports whether conn holds bytes that nobody has read, or its end, or
// an error. It does not wait and takes nothing from conn. It answers false for
// a conn that is no socket of the system's. It takes about a microsecond.
//
// What is unread need not be the end: the server also sends notifications and
// changes of its settings unasked. A ping tells.
func Unread(conn net.Conn) bool {
	if encrypted, ok := conn.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		conn = encrypted.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	unread := false
	// Not raw.Read, which waits for other readers: pgx leaves one in the
	// background after a slow write.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		// Go's sockets do not block: EAGAIN is what they answer when there is
		// nothing to read.
		unread = err != syscall.EAGAIN && err != syscall.EWOULDBLOCK
	})
	return unread || err != nil
}
