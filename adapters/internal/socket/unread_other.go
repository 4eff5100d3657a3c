//go:build !unix

package socket

import "net"

// Unread answers false: there is no looking into a socket on this system.
func Unread(net.Conn) bool { return false }
