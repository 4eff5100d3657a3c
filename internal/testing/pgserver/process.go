//go:build unix

package pgserver

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A process is a child that runs until it ends by itself or is stopped.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended and was reaped
	err  error         // how it ended; readable once done is closed
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run starts the child and reaps it. It keeps its thread for as long as the
// child lives, because on Linux a child's death signal is sent when the thread
// that started it ends, and not the process.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// ended returns how the child ended, which is never nil. It must have ended.
func (p *process) ended() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// shutdown stops a postgres: as it is meant to be, which lets the backends
// roll back and say goodbye, or harder if that takes too long.
func (p *process) shutdown() {
	for _, step := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{
		{syscall.SIGINT, 15 * time.Second},
		// Five seconds after SIGQUIT, postgres kills the backends that are left.
		{syscall.SIGQUIT, 10 * time.Second},
	} {
		p.cmd.Process.Signal(step.signal) // fails only if it has ended
		select {
		case <-p.done:
			return
		case <-time.After(step.patience):
		}
	}
	p.cmd.Process.Kill()
	<-p.done
}

// killGroup kills the child and what it has started, and waits for the child.
func (p *process) killGroup() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}
