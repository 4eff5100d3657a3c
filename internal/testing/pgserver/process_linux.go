package pgserver

import "syscall"

// processAttr gives a child its own process group, so that a Ctrl-C at the
// terminal does not reach it, and the signal that it gets when we die.
func processAttr(deathSignal syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: deathSignal}
}
