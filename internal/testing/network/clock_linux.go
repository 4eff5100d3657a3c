package network

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A clock sleeps for less than a millisecond where time.Sleep in a program that
// has nothing else to do takes one.
type clock struct {
	fd   uintptr
	file *os.File // a timerfd; nil if there is none
}

func newClock() *clock {
	const monotonic, flags = 1, syscall.O_NONBLOCK | syscall.O_CLOEXEC
	fd, _, failed := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, monotonic, flags, 0)
	if failed != 0 {
		return &clock{}
	}
	return &clock{fd, os.NewFile(fd, "timerfd")}
}

func (c *clock) sleep(d time.Duration) {
	if c.file != nil {
		spec := struct{ interval, value syscall.Timespec }{value: syscall.NsecToTimespec(int64(d))}
		_, _, failed := syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, c.fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
		if failed == 0 {
			if _, err := c.file.Read(make([]byte, 8)); err == nil {
				return
			}
		}
	}
	time.Sleep(d)
}

func (c *clock) close() {
	if c.file != nil {
		c.file.Close()
	}
}
