// Package socket looks into the sockets of idle connections.
//
// A connection that the server has closed looks like any other until it is
// used. A driver that finds out by sending a statement cannot know any more
// whether the server has run it, so it must not try it again on another
// connection, and the caller gets the error. Here it is found out before, by one
// system call and without a round trip: an idle connection has nothing to read,
// and one that was closed has.
package socket
