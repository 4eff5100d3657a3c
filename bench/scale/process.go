//go:build unix

package scale

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A process is a member of the fleet, as its parent sees it.
type process struct {
	number  int
	cmd     *exec.Cmd
	stdin   io.Closer
	stderr  bytes.Buffer
	ended   chan struct{} // closed when it has ended and was reaped
	started time.Time

	mu      sync.Mutex // guards what follows
	last    report
	stopped bool // by SIGSTOP
	killed  bool
	err     error // how it ended
}

// start runs command, which must call Member.
func start(command []string, number int, a assignment) (*process, error) {
	p := &process{number: number, ended: make(chan struct{}), started: time.Now()}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	p.cmd.Stderr = &p.stderr
	// A Ctrl-C at the terminal is for the parent, which ends its members.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			var r report
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				continue // cut off by a kill
			}
			p.mu.Lock()
			p.last = r
			p.mu.Unlock()
		}
		err := p.cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if err != nil && !p.killed {
			p.err = fmt.Errorf("member %d: %w: %s", p.number, err, bytes.TrimSpace(p.stderr.Bytes()))
		}
	}()
	text, err := json.Marshal(a)
	if err == nil {
		_, err = stdin.Write(append(text, '\n'))
	}
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("member %d: %w: %s", p.number, err, bytes.TrimSpace(p.stderr.Bytes()))
	}
	return p, nil
}

// leave has the process leave the fleet and end.
func (p *process) leave() { p.stdin.Close() }

// kill ends it at once.
func (p *process) kill() {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	p.cmd.Process.Kill() // fails only if it has ended
	<-p.ended
}

// stop stops it until resume is called.
func (p *process) stop() error {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	return p.cmd.Process.Signal(syscall.SIGSTOP)
}

func (p *process) resume() error {
	p.mu.Lock()
	p.stopped = false
	p.mu.Unlock()
	return p.cmd.Process.Signal(syscall.SIGCONT)
}

func (p *process) state() (last report, stopped bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.stopped
}

// failure returns why it ended, if it should not have.
func (p *process) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
