//go:build !unix

package scale

import (
	"fmt"
	"runtime"
	"time"
)

// A process would be a member of the fleet.
type process struct {
	number  int
	ended   chan struct{}
	started time.Time
}

func start([]string, int, assignment) (*process, error) {
	return nil, fmt.Errorf("on %s no members are started", runtime.GOOS)
}

func (p *process) leave()                             {}
func (p *process) kill()                              {}
func (p *process) stop() error                        { return nil }
func (p *process) resume() error                      { return nil }
func (p *process) state() (last report, stopped bool) { return report{}, false }
func (p *process) failure() error                     { return nil }
