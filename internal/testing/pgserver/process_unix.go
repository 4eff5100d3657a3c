//go:build unix && !linux

package pgserver

import "syscall"

// processAttr gives a child its own process group, so that a Ctrl-C at the
// terminal does not reach it. That we die it learns from the watchdog alone.
func processAttr(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
