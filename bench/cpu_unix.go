//go:build unix

package bench

import (
	"syscall"
	"time"
)

// CPUTime returns the CPU time that this process has used so far, in user and
// in kernel mode, and whether it is known.
func CPUTime() (time.Duration, bool) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, false
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), true
}
